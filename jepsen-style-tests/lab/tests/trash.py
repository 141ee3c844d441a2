"""What is removed and still there: the trash, and files that are open."""

import contextlib
import os
import time

from .harness import Worker, content, opened, read, test, write
from .names import make_empty


@contextlib.contextmanager
def trash_mounted(t):
    """A mount of the trash, at the host of the first mount."""
    path = f"{t.scratch}/meta"
    with t.lab.locked():
        t.lab.mounts.add(1, path, "mfsmeta")
    try:
        yield f"{path}/trash"
    finally:
        with t.lab.locked():
            t.lab.mounts.remove(path)


def find_in_trash(trash, inode, name):
    """The entry of a file: it is in the bucket that its inode number says."""
    bucket = f"{trash}/{inode % 4096:03X}"
    names = [entry for entry in os.listdir(bucket) if entry.startswith(f"{inode:08X}|") and entry.endswith(name)]
    return f"{bucket}/{names[0]}" if names else None


def undelete(t, fill):
    """Removes a file at one mount, brings it back by the other's host; the path where it has to be."""
    os.makedirs(f"{t.a}/sub/dir")
    path = f"{t.a}/sub/dir/lost"
    fill(path)
    inode = os.stat(path).st_ino
    t.equal(t.tool("mfsgettrashtime", path).split()[-1], "86400", "the trash time")
    t.until("it is at the other mount", lambda: os.path.exists(f"{t.b}/sub/dir/lost"))
    os.unlink(f"{t.b}/sub/dir/lost")
    t.until("it is gone", lambda: not os.path.exists(path))
    with trash_mounted(t) as trash:
        t.until("it is in the trash", lambda: find_in_trash(trash, inode, "lost"))
        entry = find_in_trash(trash, inode, "lost")
        t.equal(read(entry).decode().strip("\0\n"), f"{t.directory}/sub/dir/lost", "the trash knows where it was")
        os.rename(entry, os.path.join(os.path.dirname(entry), "undel", os.path.basename(entry)))
        t.until("it has left the trash", lambda: not find_in_trash(trash, inode, "lost"))
    t.spoil(lambda: os.rename(path, f"{t.a}/elsewhere"))
    for lost in (path, f"{t.b}/sub/dir/lost"):
        t.until("it is back", lambda lost=lost: os.path.exists(lost))
        t.equal(os.stat(lost).st_ino, inode, "it is the same file")
    return f"{t.b}/sub/dir/lost"


@test("undelete-empty", data=False)
def undelete_empty(t):
    """an empty file comes back from the trash"""
    undelete(t, make_empty)


@test("undelete", data=True, quick=True)
def undelete_data(t):
    """a file comes back from the trash with all that it held"""
    data = content(1, 300_000)
    path = undelete(t, lambda path: write(path, data))
    t.equal(read(path) == data, True, "it holds what it held")


@test("purge", data=False)
def purge(t):
    """a file that is purged from the trash, and one without trash time, are gone"""
    for name in ("purged", "at-once"):
        make_empty(f"{t.a}/{name}")
    t.tool("mfssettrashtime", "0", f"{t.a}/at-once")
    t.spoil(lambda: t.tool("mfssettrashtime", "3600", f"{t.a}/at-once"))
    inodes = {name: os.stat(f"{t.a}/{name}").st_ino for name in ("purged", "at-once")}
    for name in inodes:
        os.unlink(f"{t.a}/{name}")
    with trash_mounted(t) as trash:
        t.until("it is in the trash", lambda: find_in_trash(trash, inodes["purged"], "purged"))
        t.check(not find_in_trash(trash, inodes["at-once"], "at-once"), "a file without trash time is in the trash")
        os.unlink(find_in_trash(trash, inodes["purged"], "purged"))
        t.until("it is purged", lambda: not find_in_trash(trash, inodes["purged"], "purged"))


def use_unlinked(path, go_on, data):
    """Opens a file, waits until its name is gone and more happened, and uses it."""
    with opened(path, os.O_RDWR) as file:
        before = os.read(file, len(data) + 1)
        open(f"{go_on}.opened", "w", encoding="utf-8").close()
        while not os.path.exists(go_on):
            time.sleep(0.02)
        # A mount remembers attributes for a second.
        deadline = time.monotonic() + 10
        while (names := os.fstat(file).st_nlink) > 0 and time.monotonic() < deadline:
            time.sleep(0.1)
        if data:
            os.pwrite(file, b"more", len(data))
            os.fsync(file)
        return before == data, names, os.pread(file, len(data) + 10, 0) == data + (b"more" if data else b"")


def unlinked(t, data):
    """A file that is open at one mount and removed at the other, across the death of the leader."""
    path = f"{t.a}/file"
    if data:
        write(path, data)
    else:
        make_empty(path)
    t.until("it is at the other mount", lambda: os.path.exists(f"{t.b}/file"))
    go_on = f"{t.scratch}/go-on"
    worker = Worker(use_unlinked, path, go_on, data)
    t.until("it is open", lambda: os.path.exists(f"{go_on}.opened"))
    os.unlink(f"{t.b}/file")
    t.until("the name is gone", lambda: not os.path.exists(path))
    leader = t.lab.leader()
    with t.lab.locked():
        t.lab.kill(leader, at_once=True)
        if t.lab.settings.baseline:
            t.lab.start(leader)
    t.say(f"killed {leader}, which led")
    t.spoil(lambda: os.truncate(f"/proc/{worker.process.pid}/fd/{fd_of(worker, path)}", 5))
    open(go_on, "w", encoding="utf-8").close()
    before, names, after = worker.result()
    t.check(before, "what was read before the name went")
    t.equal(names, 0, "how many names it has")
    t.check(after, "what was read and written without a name, and without the node that led")
    if not t.lab.settings.baseline:
        with t.lab.locked():
            t.lab.start(leader)


def fd_of(worker, path):
    """The number under which a process has a file of this test open."""
    above = f"/proc/{worker.process.pid}/fd"
    return next(fd for fd in os.listdir(above) if os.readlink(f"{above}/{fd}").startswith(path))


@test("unlinked-empty", data=False, failover=True)
def unlinked_empty(t):
    """an empty file that is open and has no name any more outlives the death of the leader"""
    unlinked(t, b"")


@test("unlinked", data=True, failover=True, quick=True)
def unlinked_data(t):
    """a file that is open and has no name any more is read and written after the death of the leader"""
    unlinked(t, content(1, 200_000))
