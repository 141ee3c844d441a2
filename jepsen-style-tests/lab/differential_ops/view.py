"""What is seen of a list's directory, as root: of the paths that an operation names, and of all of it."""

import os
import stat

from .operations import attributes, digest, spelled_out, told_by_tool, value_of

# They are told the paths of all files and directories at once.
TOOLS = ["mfsgetgoal", "mfsgettrashtime", "mfsgeteattr"]
OF_DIRECTORIES = ["mfsgetquota -n", "mfsdirinfo -n"]
OF_FILES = ["mfsfileinfo"]


def near(base, operation):
    """The attributes of what an operation names, and of the directories above it."""
    found = {}
    wanted = {""}
    for path in [operation.get("path"), operation.get("to"), *operation.get("paths", [])]:
        while path and path.strip("/"):
            wanted.add(path)
            path = os.path.dirname(path.rstrip("/"))
    for path in sorted(wanted):
        try:
            found[path] = attributes(os.lstat(os.path.join(base, spelled_out(path))))
        except OSError as error:
            found[path] = {"error": os.strerror(error.errno)}
    return found


def walk(base):
    """All paths below, with their directory's own first."""
    yield ""
    for above, directories, files in os.walk(base):
        directories.sort()
        for name in sorted(directories + files):
            yield os.path.relpath(os.path.join(above, name), base)


def whole(base):
    """All of it: attributes, targets, content, extended attributes."""
    found = {}
    for path in list(walk(base)):
        entry = os.path.join(base, path)
        told = attributes(os.lstat(entry))
        if told["type"] == "l":
            told["target"] = os.readlink(entry)
        if told["type"] == "-" and told["size"] == 0:
            pass
        elif told["type"] == "-" and told["size"] <= 8 << 20:
            with open(entry, "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                told["content"] = digest(file.read())
        elif told["type"] == "-":
            told["content"] = ends(entry, told["size"])
        for name in sorted(os.listxattr(entry, follow_symlinks=False)):
            told[name] = value_of(name, os.getxattr(entry, name, follow_symlinks=False))
        found[path] = told
    return found


def ends(path, size):
    """Of a long file, which is hole for the most part: its beginning and its end."""
    with open(path, "rb") as file:
        first = file.read(1 << 20)
        file.seek(size - (1 << 20))
        return f"{digest(first)} .. {digest(file.read())}"


def by_tools(base):
    """What MooseFS's tools say of it, line by line."""
    kinds = {path: stat.S_IFMT(os.lstat(os.path.join(base, path)).st_mode) for path in walk(base)}
    files = [os.path.join(base, path) for path, kind in kinds.items() if kind == stat.S_IFREG]
    directories = [os.path.join(base, path) for path, kind in kinds.items() if kind == stat.S_IFDIR]
    found = {}
    for tools, paths in ((TOOLS, files + directories), (OF_DIRECTORIES, directories), (OF_FILES, files)):
        for tool in tools if paths else []:
            found[tool] = told_by_tool(tool.split(), sorted(paths), base)
    return found


def in_trash(trash, prefix, inodes):
    """What lies in the trash of these, by the lists' directories: paths, each as often as it is there."""
    found = {}
    for bucket in sorted({f"{inode % 4096:03X}" for inode in inodes}):
        for entry in os.listdir(os.path.join(trash, bucket)):
            _, _, path = entry.partition("|")
            directory, _, rest = path.partition("|")
            if directory.startswith(prefix):
                found.setdefault(directory, []).append(rest)
    return {directory: sorted(paths) for directory, paths in found.items()}


def undelete(trash, inode):
    """Brings a file back whose number was seen; False when it is not in the trash."""
    bucket = os.path.join(trash, f"{inode % 4096:03X}")
    for entry in os.listdir(bucket):
        if entry.startswith(f"{inode:08X}|"):
            os.rename(os.path.join(bucket, entry), os.path.join(bucket, "undel", entry))
            return True
    return False
