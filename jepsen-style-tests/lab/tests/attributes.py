"""Modes, owners, times, extended attributes, lists of access: nothing that a file holds."""

import errno
import os
import shutil
import struct

from moosefs_lab import Unavailable, packages

from .harness import as_user, test
from .names import make_empty


@test("attributes", data=False, quick=True)
def attributes(t):
    """modes, owners and times, and that they hold for other users"""
    make_empty(f"{t.a}/file")
    os.mkdir(f"{t.a}/closed", 0o700)
    make_empty(f"{t.a}/closed/in")
    os.chmod(f"{t.a}/file", 0o4640)
    os.chown(f"{t.a}/file", 1234, 5678)
    os.chmod(f"{t.a}/file", 0o640)
    os.utime(f"{t.a}/file", (1_000_000_000, 1_100_000_000))
    os.chmod(t.a, 0o755)
    t.spoil(lambda: os.chmod(f"{t.a}/file", 0o644))
    t.until("the other mount has the file", lambda: os.path.exists(f"{t.b}/closed/in"))
    t.until("its times", lambda: int(os.stat(f"{t.b}/file").st_mtime) == 1_100_000_000)
    found = os.stat(f"{t.b}/file")
    t.equal((found.st_uid, found.st_gid, found.st_mode & 0o7777), (1234, 5678, 0o640), "owner, group and mode")
    t.equal(int(found.st_atime), 1_000_000_000, "the time of access")

    def look():
        os.close(os.open(f"{t.b}/file", os.O_RDONLY))

    t.equal(as_user(1234, look), None, "the owner opens it")
    t.equal(as_user(4321, look), "EACCES", "a stranger opens it")
    t.equal(as_user(4321, look, groups=[5678]), None, "one of its group opens it")
    t.equal(as_user(4321, lambda: os.stat(f"{t.b}/closed/in")), "EACCES", "a stranger looks into a closed directory")
    t.equal(as_user(4321, lambda: os.chmod(f"{t.b}/file", 0o777)), "EPERM", "a stranger changes the mode")
    t.equal(as_user(4321, lambda: os.mkdir(f"{t.b}/made")), "EACCES", "a stranger makes a directory")
    os.mkdir(f"{t.a}/sticky")
    os.chmod(f"{t.a}/sticky", 0o1777)
    make_empty(f"{t.a}/sticky/roots")
    t.until("it is there", lambda: os.path.exists(f"{t.b}/sticky/roots"))
    t.equal(as_user(4321, lambda: os.unlink(f"{t.b}/sticky/roots")), "EPERM", "a stranger unlinks below a sticky bit")


@test("xattrs", data=False, quick=True)
def xattrs(t):
    """extended attributes, set at one mount and read at the other"""
    # A mount remembers them for 30 s: each step looks at a file that the other mount has not asked about.
    for number in range(4):
        make_empty(f"{t.a}/{number}")
        os.setxattr(f"{t.a}/{number}", "user.colour", b"blue")
        os.setxattr(f"{t.a}/{number}", "user.empty", b"")
        os.setxattr(f"{t.a}/{number}", "user.large", bytes(range(256)) * 200)
        os.setxattr(f"{t.a}/{number}", "trusted.some", b"\0\xff")
    t.until("they are at the other mount", lambda: os.path.exists(f"{t.b}/3"))
    t.equal(
        sorted(os.listxattr(f"{t.b}/0")), ["trusted.some", "user.colour", "user.empty", "user.large"], "their names"
    )
    t.equal(os.getxattr(f"{t.b}/0", "user.colour"), b"blue", "a value")
    t.equal(os.getxattr(f"{t.b}/0", "user.empty"), b"", "an empty value")
    t.equal(os.getxattr(f"{t.b}/0", "user.large"), bytes(range(256)) * 200, "a large value")
    os.setxattr(f"{t.a}/1", "user.colour", b"red", os.XATTR_REPLACE)
    t.spoil(lambda: os.setxattr(f"{t.a}/1", "user.colour", b"green"))
    t.equal(os.getxattr(f"{t.b}/1", "user.colour"), b"red", "a replaced value")
    os.removexattr(f"{t.a}/2", "user.colour")
    t.refused(errno.ENODATA, "one that was removed", lambda: os.getxattr(f"{t.b}/2", "user.colour"))
    again = os.XATTR_CREATE
    t.refused(errno.EEXIST, "made twice", lambda: os.setxattr(f"{t.b}/3", "user.colour", b"x", again))
    missing = os.XATTR_REPLACE
    t.refused(errno.ENODATA, "replaced where none is", lambda: os.setxattr(f"{t.b}/3", "user.no", b"x", missing))
    t.equal(as_user(4321, lambda: os.setxattr(f"{t.b}/3", "user.x", b"y")), "EACCES", "a stranger sets one")


def access_list(*entries):
    """A list of access as the kernel has it: version 2, then tag, rights and who of each entry."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


USER_OBJECT, USER, GROUP_OBJECT, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20
NOBODY = 0xFFFFFFFF


@test("acls", data=False, quick=True)
def acls(t):
    """lists of access: who they let in, what a default list does, and setfacl when it can be had"""
    os.chmod(t.a, 0o755)
    for name in ["file", "other"]:
        make_empty(f"{t.a}/{name}")
        os.chmod(f"{t.a}/{name}", 0o600)
    own = (USER_OBJECT, 6, NOBODY), (USER, 4, 4321), (GROUP_OBJECT, 0, NOBODY), (MASK, 4, NOBODY), (OTHER, 0, NOBODY)
    os.setxattr(f"{t.a}/file", "system.posix_acl_access", access_list(*own))
    t.spoil(lambda: os.removexattr(f"{t.a}/file", "system.posix_acl_access"))
    t.until("they are at the other mount", lambda: os.path.exists(f"{t.b}/other"))

    def open_it(name, flags):
        return lambda: os.close(os.open(f"{t.b}/{name}", flags))

    t.equal(as_user(4321, open_it("file", os.O_RDONLY)), None, "who is named in the list reads")
    t.equal(as_user(4321, open_it("file", os.O_WRONLY)), "EACCES", "who is named for reading writes")
    t.equal(as_user(4322, open_it("file", os.O_RDONLY)), "EACCES", "who is not named reads")
    t.equal(as_user(4321, open_it("other", os.O_RDONLY)), "EACCES", "a file without a list is read")
    t.equal(os.stat(f"{t.b}/file").st_mode & 0o777, 0o640, "the mode shows the mask")
    os.mkdir(f"{t.a}/below")
    os.setxattr(f"{t.a}/below", "system.posix_acl_default", access_list(*own))
    t.until("the directory is at the other mount", lambda: os.path.exists(f"{t.b}/below"))
    make_empty(f"{t.b}/below/heir")
    os.chmod(f"{t.b}/below", 0o755)
    found = os.getxattr(f"{t.b}/below/heir", "system.posix_acl_access")
    t.equal(found, access_list(*own), "what a file inherits from a default list")
    t.equal(as_user(4321, open_it("below/heir", os.O_RDONLY)), None, "who is named in the inherited list reads")
    try:
        packages.ensure([("setfacl", "acl")])
    except Unavailable as error:
        t.say(f"setfacl was not tried: {error}")
        return
    make_empty(f"{t.a}/by-tool")
    os.chmod(f"{t.a}/by-tool", 0o600)
    t.run(shutil.which("setfacl"), "-m", "u:4321:rw,g:77:r", f"{t.a}/by-tool")
    t.until("it is at the other mount", lambda: os.path.exists(f"{t.b}/by-tool"))
    said = t.run("getfacl", "-cnp", f"{t.b}/by-tool").split()
    t.equal(
        said, ["user::rw-", "user:4321:rw-", "group::---", "group:77:r--", "mask::rw-", "other::---"], "getfacl says"
    )
    t.equal(as_user(4321, open_it("by-tool", os.O_RDWR)), None, "who setfacl named opens it")
