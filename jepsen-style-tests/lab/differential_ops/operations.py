"""The operations: each is one call of an application, or one of MooseFS's tools, and gives what the caller sees.

An operation is a dictionary: `op`, `as` (the user, root when it is left out), `mount` (1 or 2), and what the call
takes. Paths are relative to the directory of the list; `<255x>` in one stands for 255 times x.
Knows nothing of two file systems.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import random
import re
import stat
import subprocess

from . import acl

LIBC = ctypes.CDLL(None, use_errno=True)
AT_FDCWD = -100
AT_SYMLINK_NOFOLLOW = 0x100
UTIME_NOW = (1 << 30) - 1
UTIME_OMIT = (1 << 30) - 2
RENAME_FLAGS = {"noreplace": 1, "exchange": 2}
OPEN_FLAGS = {
    "r": os.O_RDONLY,
    "w": os.O_WRONLY,
    "rw": os.O_RDWR,
    "create": os.O_CREAT,
    "excl": os.O_EXCL,
    "trunc": os.O_TRUNC,
    "append": os.O_APPEND,
    "directory": os.O_DIRECTORY,
    "nofollow": os.O_NOFOLLOW,
}
XATTR_FLAGS = {"create": os.XATTR_CREATE, "replace": os.XATTR_REPLACE}
TYPES = {
    "file": stat.S_IFREG,
    "fifo": stat.S_IFIFO,
    "socket": stat.S_IFSOCK,
    "char": stat.S_IFCHR,
    "block": stat.S_IFBLK,
}
ACCESS = {"r": os.R_OK, "w": os.W_OK, "x": os.X_OK}
LOCKS = {"shared": fcntl.LOCK_SH, "exclusive": fcntl.LOCK_EX, "unlock": fcntl.LOCK_UN}
TOOL_SECONDS = 60


class Timespec(ctypes.Structure):
    """A time as utimensat(2) takes it."""

    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def spelled_out(path):
    """A path with its long names."""
    return re.sub(r"<(\d+)(.)>", lambda found: found[2] * int(found[1]), path)


def content(size, fill=0):
    """The bytes of a file: what a number makes of them."""
    return random.Random(fill).randbytes(size)


def digest(data):
    """Bytes as they are compared."""
    return f"{len(data)} bytes, {hashlib.sha256(data).hexdigest()[:12]}" if data else "nothing"


def checked(code, path):
    """Raises what a call of C answered."""
    if code != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def attributes(found):
    """What stat(2) tells, without what two file systems cannot have in common."""
    told = {
        "type": stat.filemode(found.st_mode)[0],
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "uid": found.st_uid,
        "gid": found.st_gid,
        "nlink": found.st_nlink,
        "size": found.st_size,
        "ino": found.st_ino,
        "atime": int(found.st_atime),
        "mtime": int(found.st_mtime),
        "ctime": int(found.st_ctime),
    }
    if stat.S_ISREG(found.st_mode):
        told["blocks"] = found.st_blocks
    if stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode):
        told["rdev"] = f"{os.major(found.st_rdev)}:{os.minor(found.st_rdev)}"
    return told


def value_of(name, data):
    """The value of an extended attribute as it is compared."""
    if name in acl.NAMES.values():
        return acl.decoded(data)
    return data.decode() if len(data) < 40 and data.isascii() else digest(data)


class Actor:
    """One process with its open files."""

    def __init__(self, roots):
        self.roots = roots
        # By the list's directory and the name that it gave them.
        self.files = {}

    def carry_out(self, directory, operation):
        """The result: `ok` with what was told, or `error` with the name of the errno."""
        umask = operation.get("umask", "0022")
        os.umask(int(umask, 8))
        try:
            return {"ok": getattr(self, "do_" + operation["op"])(At(self.roots, directory, operation))}
        except OSError as error:
            return {"error": errno.errorcode.get(error.errno, str(error.errno))}
        except (ValueError, OverflowError) as error:
            # What Python itself refuses.
            return {"error": str(error)}

    def _file(self, at):
        try:
            return self.files[at.directory, at.given["file"]]
        except KeyError:
            raise OSError(errno.EBADF, "no such open file") from None

    # Names.

    def do_mkdir(self, at):
        os.mkdir(at.path(), at.mode(0o777))

    def do_rmdir(self, at):
        os.rmdir(at.path())

    def do_create(self, at):
        os.close(os.open(at.path(), os.O_WRONLY | os.O_CREAT | at.flags(), at.mode(0o666)))

    def do_mknod(self, at):
        device = os.makedev(*map(int, at.given.get("device", "0:0").split(":")))
        os.mknod(at.path(), TYPES[at.given["type"]] | at.mode(0o666), device)

    def do_symlink(self, at):
        os.symlink(spelled_out(at.given["target"]), at.path())

    def do_link(self, at):
        os.link(at.path(), at.path("to"), follow_symlinks=False)

    def do_unlink(self, at):
        os.unlink(at.path())

    def do_rename(self, at):
        flags = sum(RENAME_FLAGS[word] for word in at.given.get("flags", "").split())
        if not flags:
            os.rename(at.path(), at.path("to"))
            return
        one, other = os.fsencode(at.path()), os.fsencode(at.path("to"))
        checked(LIBC.renameat2(AT_FDCWD, one, AT_FDCWD, other, flags), at.path())

    # Attributes.

    def do_stat(self, at):
        return attributes(os.stat(at.path(), follow_symlinks=at.given.get("follow", False)))

    def do_access(self, at):
        return os.access(at.path(), sum(ACCESS[letter] for letter in at.given["want"]))

    def do_chmod(self, at):
        os.chmod(at.path(), at.mode())

    def do_chown(self, at):
        os.lchown(at.path(), at.given.get("uid", -1), at.given.get("gid", -1))

    def do_utime(self, at):
        times = at.times()
        checked(LIBC.utimensat(AT_FDCWD, os.fsencode(at.path()), times, AT_SYMLINK_NOFOLLOW), at.path())

    def do_truncate(self, at):
        os.truncate(at.path(), at.given["size"])

    def do_readlink(self, at):
        return os.readlink(at.path())

    def do_readdir(self, at):
        with os.scandir(at.path()) as entries:
            return sorted(entry.name for entry in entries)

    # Content, by path and of open files.

    def do_read(self, at):
        file = os.open(at.path(), os.O_RDONLY | os.O_NONBLOCK)
        try:
            return self._read(file, at)
        finally:
            os.close(file)

    @staticmethod
    def _read(file, at):
        # What the kernel has of it would be read without the mount, and change no time: whether it may keep that
        # is not the same at both (docs/compatibility.md).
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return digest(os.pread(file, at.given.get("size", 1 << 20), at.given.get("offset", 0)))

    def do_write(self, at):
        file = os.open(at.path(), os.O_WRONLY | os.O_NONBLOCK | at.flags(), at.mode(0o666))
        try:
            self._written(file, at)
        finally:
            os.close(file)

    @staticmethod
    def _written(file, at):
        data = content(at.given["size"], at.given.get("fill", 0))
        if "offset" in at.given:
            os.pwrite(file, data, at.given["offset"])
        else:
            os.write(file, data)
        # So that its errors, and its times, are this operation's.
        os.fsync(file)

    def do_open(self, at):
        file = os.open(at.path(), at.flags() | os.O_NONBLOCK, at.mode(0o666))
        old = self.files.pop((at.directory, at.given["file"]), None)
        self.files[at.directory, at.given["file"]] = file
        if old is not None:
            os.close(old)

    def do_close(self, at):
        file = self._file(at)
        del self.files[at.directory, at.given["file"]]
        os.close(file)

    def do_close_all(self, at):
        for key in [key for key in self.files if key[0] == at.directory]:
            os.close(self.files.pop(key))

    def do_fread(self, at):
        return self._read(self._file(at), at)

    def do_fwrite(self, at):
        self._written(self._file(at), at)

    def do_fstat(self, at):
        return attributes(os.fstat(self._file(at)))

    def do_ftruncate(self, at):
        os.ftruncate(self._file(at), at.given["size"])

    def do_fchmod(self, at):
        os.fchmod(self._file(at), at.mode())

    def do_fchown(self, at):
        os.fchown(self._file(at), at.given.get("uid", -1), at.given.get("gid", -1))

    def do_futime(self, at):
        checked(LIBC.futimens(self._file(at), at.times()), "")

    def do_seek_end(self, at):
        return os.lseek(self._file(at), 0, os.SEEK_END)

    def do_flock(self, at):
        fcntl.flock(self._file(at), LOCKS[at.given["lock"]] | fcntl.LOCK_NB)

    def do_lock_range(self, at):
        kind = LOCKS[at.given["lock"]]
        if kind != fcntl.LOCK_UN:
            kind |= fcntl.LOCK_NB
        fcntl.lockf(self._file(at), kind, at.given.get("size", 0), at.given.get("offset", 0))

    # Extended attributes and ACLs.

    def do_setxattr(self, at):
        value = content(at.given["size"]) if "size" in at.given else at.given["value"].encode()
        os.setxattr(at.path(), spelled_out(at.given["name"]), value, at.xattr_flags(), follow_symlinks=False)

    def do_getxattr(self, at):
        name = spelled_out(at.given["name"])
        return value_of(name, os.getxattr(at.path(), name, follow_symlinks=False))

    def do_listxattr(self, at):
        return sorted(os.listxattr(at.path(), follow_symlinks=False))

    def do_removexattr(self, at):
        os.removexattr(at.path(), spelled_out(at.given["name"]), follow_symlinks=False)

    def do_setacl(self, at):
        os.setxattr(at.path(), acl.NAMES[at.given["kind"]], acl.encoded(at.given["acl"]), follow_symlinks=False)

    def do_getacl(self, at):
        return acl.decoded(os.getxattr(at.path(), acl.NAMES[at.given["kind"]], follow_symlinks=False))

    def do_removeacl(self, at):
        os.removexattr(at.path(), acl.NAMES[at.given["kind"]], follow_symlinks=False)

    # MooseFS's own.

    def do_tool(self, at):
        words = at.given["tool"].split()
        if not re.fullmatch(r"mfs[a-z]+", words[0]):
            raise OSError(errno.EINVAL, "no tool of MooseFS")
        return told_by_tool(words, [at.under(path) for path in at.given["paths"]], at.under(""))

    def do_behind(self, at):
        """Another operation, of which nothing is told: for the self-test."""
        self.carry_out(at.directory, at.given["then"])

    def do_wait(self, at):
        """Nothing: time passes between any two operations."""


def told_by_tool(words, paths, base):
    """What a tool printed and how it ended, without what is another's in each file system."""
    try:
        done = subprocess.run(
            [*words, *paths], stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return ["hangs"]
    said = (done.stdout + done.stderr).decode(errors="replace").replace(base.rstrip("/"), ".")
    # Numbers of chunks, and the places of their copies, of which there may be more in a moment.
    said = re.sub(r"[0-9A-F]{16}_[0-9A-F]{8} / \(id:\d+ ver:\d+\)|0x[0-9a-f]+", "(a chunk)", said)
    said = re.sub(r"(?m)^\s*(copy \d+:|no valid copies|chunks with).*\n", "", said)
    # Root of the file system: the list's directory has the same name at both.
    lines = [" ".join(line.split()) for line in said.splitlines()]
    return [f"code {done.returncode}", *lines]


class At:
    """What one operation takes, and where."""

    def __init__(self, roots, directory, operation):
        self.root = roots[operation.get("mount", 1) - 1]
        self.directory = directory
        self.given = operation

    def under(self, path):
        """A path in the list's directory."""
        return os.path.join(self.root, self.directory, spelled_out(path))

    def path(self, key="path"):
        """The path that the operation names."""
        return self.under(self.given[key])

    def mode(self, default=None):
        """The mode."""
        return int(self.given["mode"], 8) if "mode" in self.given or default is None else default

    def flags(self):
        """Flags of open(2)."""
        flags = 0
        for word in self.given.get("flags", "").split():
            flags |= OPEN_FLAGS[word]
        return flags

    def xattr_flags(self):
        """Flags of setxattr(2)."""
        return sum(XATTR_FLAGS[word] for word in self.given.get("flags", "").split())

    def times(self):
        """Two times: seconds, `now`, or left as they are."""
        found = []
        for key in ("atime", "mtime"):
            value = self.given.get(key)
            if value is None:
                found.append(Timespec(0, UTIME_OMIT))
            else:
                found.append(Timespec(0, UTIME_NOW) if value == "now" else Timespec(value, 0))
        return (Timespec * 2)(*found)
