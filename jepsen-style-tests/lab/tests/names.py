"""Names and the tree; what files hold does not matter here."""

import errno
import os
import stat

from .harness import describe, difference, test, tree, write


def make_empty(path):
    """An empty file that was not there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))


@test("names", data=False, quick=True)
def names(t):
    """mkdir, create, rename, rmdir, unlink, links of all kinds, names that are strange"""
    for number in range(20):
        os.makedirs(f"{t.a}/d{number}/x/y")
        make_empty(f"{t.a}/d{number}/x/y/file")
        os.rename(f"{t.a}/d{number}/x", f"{t.a}/d{number}/z")
    t.until("renamed directories are at the other mount", lambda: os.path.exists(f"{t.b}/d19/z/y/file"))
    os.rename(f"{t.b}/d0/z", f"{t.b}/d1/moved")
    os.rename(f"{t.b}/d2/z/y/file", f"{t.b}/d3/z/y/file")
    os.symlink("../d1/moved", f"{t.b}/d4/link")
    os.symlink("x" * 1000, f"{t.b}/d4/long")
    for name in ["with space", "ümläut", "-dash", "new\nline", "z" * 255, "a'\"\\$`"]:
        make_empty(f"{t.b}/d5/{name}")
    t.refused(errno.ENAMETOOLONG, "a name of 256 bytes", lambda: make_empty(f"{t.a}/{'z' * 256}"))
    t.refused(errno.ENOTEMPTY, "rmdir of what is not empty", lambda: os.rmdir(f"{t.b}/d1"))
    t.refused(errno.EEXIST, "mkdir of what is there", lambda: os.mkdir(f"{t.b}/d1"))
    t.refused(errno.EISDIR, "rename of a file over a directory", lambda: os.rename(f"{t.b}/d5/-dash", f"{t.b}/d0"))
    t.refused(errno.EINVAL, "rename into itself", lambda: os.rename(f"{t.b}/d1", f"{t.b}/d1/moved/in"))
    os.unlink(f"{t.b}/d6/z/y/file")
    os.rmdir(f"{t.b}/d6/z/y")
    wanted = tree(t.b)
    t.spoil(lambda: os.rename(f"{t.b}/d7", f"{t.b}/other"))
    t.until("the other mount shows it all", lambda: not difference(tree(t.a), wanted))
    t.equal(os.path.realpath(f"{t.a}/d4/link"), f"{t.a}/d1/moved", "a symbolic link leads to")


@test("special-files", data=False)
def special_files(t):
    """fifos, sockets and devices have their kind and numbers at the other mount"""
    os.mkfifo(f"{t.a}/fifo", 0o640)
    os.mknod(f"{t.a}/socket", stat.S_IFSOCK | 0o600)
    os.mknod(f"{t.a}/device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.mknod(f"{t.a}/block", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    t.spoil(lambda: (os.unlink(f"{t.a}/device"), os.mknod(f"{t.a}/device", stat.S_IFCHR, os.makedev(1, 5))))
    t.until("they are at the other mount", lambda: os.path.lexists(f"{t.b}/block"))
    t.equal(describe(f"{t.b}/fifo")[0], "prw-r-----", "the fifo is")
    t.equal(describe(f"{t.b}/socket")[0], "srw-------", "the socket is")
    t.equal(os.lstat(f"{t.b}/device").st_rdev, os.makedev(1, 3), "the device has the number")
    t.equal(os.lstat(f"{t.b}/block").st_rdev, os.makedev(7, 200), "the block device has the number")


@test("hard-links", data=False, quick=True)
def hard_links(t):
    """names of one file: counts, attributes, and what is left when some go"""
    make_empty(f"{t.a}/one")
    os.mkdir(f"{t.a}/sub")
    for name in ["two", "sub/three", "sub/four"]:
        os.link(f"{t.a}/one", f"{t.a}/{name}")
    t.until("four names at the other mount", lambda: os.path.exists(f"{t.b}/sub/four"))
    t.until("a count of four", lambda: os.stat(f"{t.b}/one").st_nlink == 4)
    inodes = {os.stat(f"{t.b}/{name}").st_ino for name in ["one", "two", "sub/three", "sub/four"]}
    t.equal(len(inodes), 1, "how many files the four names are")
    os.unlink(f"{t.b}/one")
    os.chmod(f"{t.b}/two", 0o600)
    t.spoil(lambda: os.unlink(f"{t.a}/sub/four"))
    t.until("a count of three", lambda: os.stat(f"{t.a}/sub/three").st_nlink == 3)
    t.until("the mode is that of all names", lambda: os.stat(f"{t.a}/sub/four").st_mode & 0o777 == 0o600)
    t.until("the name is gone", lambda: not os.path.exists(f"{t.a}/one"))
    t.refused(errno.EPERM, "a link to a directory", lambda: os.link(f"{t.a}/sub", f"{t.a}/again"))
    if not t.has_data:
        return
    write(f"{t.a}/two", b"written by one name")
    with open(f"{t.b}/sub/four", "rb") as file:
        t.equal(file.read(), b"written by one name", "read by another name at the other mount")


@test("many-names", data=False)
def many_names(t):
    """a directory of many empty files, listed at both mounts"""
    count = 100_000 if t.options.long else t.options.files
    for number in range(count):
        make_empty(f"{t.a}/{number:06}")
    t.spoil(lambda: os.unlink(f"{t.a}/{count // 2:06}"))
    wanted = {f"{number:06}" for number in range(count)}
    t.until("all are listed at the other mount", lambda: set(os.listdir(t.b)) == wanted)
    for number in range(0, count, 2):
        os.unlink(f"{t.b}/{number:06}")
    wanted = {f"{number:06}" for number in range(1, count, 2)}
    t.until("half of them are left", lambda: set(os.listdir(t.a)) == wanted)
    t.say(f"{count} files made and listed, half of them removed")
