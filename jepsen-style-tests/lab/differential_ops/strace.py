"""What a program did below a directory, by a log of strace, as a list of operations.

Not its bytes: written data is as long as it was. Reads, and calls that failed, are left out but for `stat`.
"""

import os
import re
import subprocess

from moosefs_lab.packages import ensure

CALLS = "%file,write,pwrite64,ftruncate,fchmod,fchown,utimensat,close,dup,dup2,dup3,fcntl,fsetxattr"
LINE = re.compile(r"(?:\[pid\s+\d+\]|\d+)?\s*(?:[\d.:]+\s+)?(\w+)\((.*)\)\s+=\s+(-?\d+|\?)(.*)$")
TEXT = re.compile(r'"((?:[^"\\]|\\.)*)"')
KINDS = {"S_IFREG": "file", "S_IFIFO": "fifo", "S_IFSOCK": "socket", "S_IFCHR": "char", "S_IFBLK": "block"}
OF_FILE = re.compile(r"^(\d+)<([^>]*)>")
AT = re.compile(r"^(?:AT_FDCWD|\d+)(?:<([^>]*)>)?")


def record(command, directory):
    """Runs a program in a directory; its operations."""
    ensure([("strace", "strace")])
    log = os.path.join(directory, "..", f"{os.path.basename(directory)}.log")
    try:
        subprocess.run(
            ["strace", "-f", "-y", "-s", "200", "-e", f"trace={CALLS}", "-o", log, *command], cwd=directory, check=True
        )
        return read(log, directory)
    finally:
        if os.path.exists(log):
            os.unlink(log)


def words(text):
    """The arguments of a call, by the commas between them."""
    found, depth, is_quoted, begin = [], 0, False, 0
    at = 0
    while at < len(text):
        letter = text[at]
        if is_quoted:
            if letter == "\\":
                at += 1
            elif letter == '"':
                is_quoted = False
        elif letter == '"':
            is_quoted = True
        elif letter in "[{(<":
            depth += 1
        elif letter in "]})>":
            depth -= 1
        elif letter == "," and depth == 0:
            found.append(text[begin:at].strip())
            begin = at + 1
        at += 1
    return [*found, text[begin:].strip()]


class Log:
    """A log on its way to a list."""

    def __init__(self, directory):
        self.directory = os.path.realpath(directory)
        self.operations = []
        # How much was written to a path so far, where nothing says at which offset.
        self.written = {}

    def below(self, text, at=None):
        """A path of the log in the directory; None when it is outside."""
        found = TEXT.search(text)
        path = found[1] if found else text
        base = AT.match(at)[1] if at and AT.match(at) else None
        path = os.path.normpath(os.path.join(base or self.directory, path))
        inside = os.path.relpath(path, self.directory)
        return None if inside == "." or inside.startswith("..") else inside

    def add(self, name, path, **more):
        """One operation more, if it is within."""
        operation = {"op": name, "path": path, **more}
        # A look that was just taken shows nothing new.
        is_new = name != "stat" or operation not in self.operations[-6:]
        if path is not None and is_new and all(value is not None for value in more.values()):
            self.operations.append(operation)

    def call(self, name, given, code):
        """What one call was."""
        if name.endswith("at") or name in ("renameat2", "utimensat"):
            self.call_at(name, given, code)
        elif name in ("mkdir", "chmod", "creat", "mknod"):
            self.call_at({"creat": "openat"}.get(name, name + "at"), ["AT_FDCWD", *given], code)
        elif name in ("unlink", "rmdir", "open", "lstat", "stat", "readlink"):
            whole = {"unlink": "unlinkat", "rmdir": "rmdir", "open": "openat"}.get(name, "stat")
            self.call_at(whole, ["AT_FDCWD", *given], code)
        elif name in ("rename", "link"):
            self.call_at(name + "at", ["AT_FDCWD", given[0], "AT_FDCWD", given[1]], code)
        elif name == "symlink":
            self.call_at("symlinkat", [given[0], "AT_FDCWD", given[1]], code)
        elif found := OF_FILE.match(given[0]):
            self.call_of_file(name, self.below(found[2]), given, code)

    def call_at(self, name, given, code):
        """One with a directory and a path."""
        if name == "symlinkat":
            self.add("symlink", self.below(given[2], given[1]), target=TEXT.search(given[0])[1])
            return
        path = self.below(given[1], given[0])
        if name == "openat":
            flags = given[2]
            if "O_CREAT" in flags or "O_TRUNC" in flags:
                words_of = [word for word, flag in (("excl", "O_EXCL"), ("trunc", "O_TRUNC")) if flag in flags]
                if "O_CREAT" in flags:
                    self.add("create", path, mode=given[3].zfill(4), flags=" ".join(words_of))
                else:
                    self.add("write", path, size=0, flags="trunc")
                self.written[path] = 0
        elif name == "mknodat":
            kind, _, mode = given[2].partition("|")
            self.add("mknod", path, type=KINDS[kind], mode=mode.zfill(4))
        elif name == "mkdirat":
            self.add("mkdir", path, mode=given[2].zfill(4))
        elif name == "rmdir" or (name == "unlinkat" and "AT_REMOVEDIR" in given[-1]):
            self.add("rmdir", path)
        elif name == "unlinkat":
            self.add("unlink", path)
        elif name in ("renameat", "renameat2", "linkat"):
            to = self.below(given[3], given[2])
            self.add("link" if name == "linkat" else "rename", path, to=to)
            if name != "linkat":
                self.written[to] = self.written.pop(path, 0)
        elif name in ("fchmodat", "chmodat"):
            self.add("chmod", path, mode=given[2].zfill(4))
        elif name == "fchownat":
            self.add("chown", path, uid=int(given[2]), gid=int(given[3]))
        elif name == "utimensat":
            if '"' not in given[1]:
                path = self.below(AT.match(given[0])[1] or "")
            self.add("utime", path, **times(given[2]))
        elif name in ("stat", "newfstatat", "fstatat"):
            self.add("stat", path if '"' in given[1] else None)

    def call_of_file(self, name, path, given, code):
        """One of an open file."""
        if name in ("write", "pwrite64"):
            offset = int(given[3]) if name == "pwrite64" else self.written.get(path, 0)
            self.add("write", path, size=code, offset=offset)
            if name == "write":
                self.written[path] = offset + code
        elif name == "ftruncate":
            self.add("truncate", path, size=int(given[1]))
        elif name == "fchmod":
            self.add("chmod", path, mode=given[1].zfill(4))
        elif name == "fchown":
            self.add("chown", path, uid=int(given[1]), gid=int(given[2]))


def times(text):
    """The two times of utimensat(2); those that are left alone are left out."""
    found = re.findall(r"UTIME_NOW|UTIME_OMIT|tv_sec=\d+", text)
    if len(found) != 2:
        return {"atime": "now", "mtime": "now"}
    told = {"atime": found[0], "mtime": found[1]}
    numbers = {key: "now" if word == "UTIME_NOW" else word for key, word in told.items() if word != "UTIME_OMIT"}
    return {key: word if word == "now" else int(word.removeprefix("tv_sec=")) for key, word in numbers.items()}


def read(path, directory):
    """The operations of a log below a directory."""
    log = Log(directory)
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            found = LINE.match(line.strip())
            if found and found[3] not in ("?", "-1"):
                log.call(found[1], words(found[2]), int(found[3]))
    return log.operations
