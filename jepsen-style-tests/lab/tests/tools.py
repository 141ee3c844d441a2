"""MooseFS's own tools: snapshots and quotas."""

import errno
import os

from .harness import describe, difference, flip, read, test, tree, write
from .names import make_empty


@test("snapshots-of-names", data=False)
def snapshots_of_names(t):
    """mfsmakesnapshot of a tree of empty files: a copy that goes its own way"""
    os.makedirs(f"{t.a}/tree/sub/deep")
    for name in ["one", "sub/two", "sub/deep/three"]:
        make_empty(f"{t.a}/tree/{name}")
    os.chmod(f"{t.a}/tree/sub/two", 0o4711)
    os.symlink("sub", f"{t.a}/tree/link")
    wanted = tree(f"{t.a}/tree")
    t.tool("mfsmakesnapshot", f"{t.a}/tree", f"{t.a}/copy")
    t.spoil(lambda: os.unlink(f"{t.a}/copy/one"))
    t.until("the copy is at the other mount", lambda: tree(f"{t.b}/copy") == wanted)
    os.unlink(f"{t.b}/tree/sub/deep/three")
    os.chmod(f"{t.b}/tree/one", 0)
    make_empty(f"{t.b}/copy/new")
    t.until("the change is at the first mount", lambda: describe(f"{t.a}/tree/one")[0] == "----------")
    t.equal(difference(tree(f"{t.a}/copy"), wanted | {"new": describe(f"{t.a}/copy/new")}), [], "changes of the copy")
    t.check(not os.path.exists(f"{t.a}/tree/new"), "what was made in the copy is in the original")
    t.check(os.stat(f"{t.a}/copy/one").st_ino != os.stat(f"{t.a}/tree/one").st_ino, "the copy is the original")


@test("snapshots", data=True, quick=True)
def snapshots(t):
    """mfsmakesnapshot: what is written afterwards is in one of the two alone"""
    os.mkdir(f"{t.a}/tree")
    for name in range(5):
        write(f"{t.a}/tree/{name}", f"content {name} ".encode() * 20_000)
    wanted = tree(f"{t.a}/tree")
    t.tool("mfsmakesnapshot", f"{t.a}/tree", f"{t.a}/copy")
    t.until("the copy is at the other mount", lambda: tree(f"{t.b}/copy") == wanted)
    with open(f"{t.b}/tree/0", "r+b") as file:
        file.seek(1000)
        file.write(b"changed in the original")
        os.fsync(file.fileno())
    with open(f"{t.b}/copy/1", "ab") as file:
        file.write(b"added to the copy")
        os.fsync(file.fileno())
    os.truncate(f"{t.b}/tree/2", 17)
    os.unlink(f"{t.b}/tree/3")
    t.spoil(lambda: flip(f"{t.b}/copy/4"))
    t.until("the change is at the first mount", lambda: os.stat(f"{t.a}/tree/2").st_size == 17)
    t.equal(read(f"{t.a}/tree/0")[1000:1023], b"changed in the original", "the original")
    t.equal(read(f"{t.a}/copy/1")[-17:], b"added to the copy", "the copy")
    found = tree(f"{t.a}/copy")
    found["1"] = wanted["1"]
    t.equal(difference(found, wanted), [], "changes of the copy that nobody made")
    t.equal(read(f"{t.a}/tree/1"), b"content 1 " * 20_000, "the original of what was added to")


@test("quota-of-names", data=False, quick=True)
def quota_of_names(t):
    """mfssetquota -I: a directory that may have ten entries; the next is refused with EDQUOT at both mounts"""
    os.mkdir(f"{t.a}/limited")
    t.tool("mfssetquota", "-I", "10", f"{t.a}/limited")
    for name in range(5):
        make_empty(f"{t.a}/limited/{name}")
    t.until("they are at the other mount", lambda: os.path.exists(f"{t.b}/limited/4"))
    for name in range(5, 10):
        make_empty(f"{t.b}/limited/{name}")
    t.spoil(lambda: t.tool("mfsdelquota", "-I", f"{t.a}/limited"))
    t.refused(errno.EDQUOT, "an eleventh entry at the first mount", lambda: make_empty(f"{t.a}/limited/10"))
    t.refused(errno.EDQUOT, "an eleventh entry at the other mount", lambda: os.mkdir(f"{t.b}/limited/10"))
    for line in t.tool("mfsgetquota", f"{t.b}/limited", mount=2).splitlines():
        t.say(line.rstrip())
    os.unlink(f"{t.b}/limited/0")
    make_empty(f"{t.a}/limited/10")
    make_empty(f"{t.a}/beside")
    t.tool("mfsdelquota", "-I", f"{t.a}/limited")
    make_empty(f"{t.b}/limited/11")


@test("quotas", data=True, quick=True)
def quotas(t):
    """mfssetquota -L: more than its bytes do not go into a directory: EDQUOT"""
    os.mkdir(f"{t.a}/limited")
    t.tool("mfssetquota", "-L", "1000000", f"{t.a}/limited")
    t.until("the directory is at the other mount", lambda: os.path.exists(f"{t.b}/limited"))
    write(f"{t.a}/limited/most", bytes(900_000))
    t.spoil(lambda: t.tool("mfsdelquota", "-L", f"{t.a}/limited"))
    t.refused(errno.EDQUOT, "more than there may be", lambda: write(f"{t.b}/limited/more", bytes(200_000)))
    t.refused(errno.EDQUOT, "a length beyond it", lambda: os.truncate(f"{t.b}/limited/most", 1_000_001))
    os.unlink(f"{t.a}/limited/most")
    t.until("there is room again", lambda: writes(f"{t.b}/limited/less"))
    t.equal(read(f"{t.a}/limited/less"), bytes(500_000), "what was written then")


def writes(path):
    """Whether a file of half the quota can be written."""
    try:
        write(path, bytes(500_000))
    except OSError as error:
        if error.errno != errno.EDQUOT:
            raise
        return False
    return True
