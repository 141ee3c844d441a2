"""The archive bit of MooseFS's storage classes."""

import os

from .chunkservers import copies
from .harness import content, flip, read, test, write


def bits(t, path, mount=1):
    """What mfschkarchive says of the chunks below a directory: how many have the bit, and how many have not."""
    found = {}
    for line in t.tool("mfschkarchive", "-n", path, mount=mount).splitlines():
        what, _, number = line.rpartition(":")
        found[what.strip()] = number
    return [int(found[what]) for what in ("archived chunks", "not archived chunks")]


@test("archive", data=True, seconds_max=2400)
def archive(t):
    """mfssetarchive, mfschkarchive, mfsclrarchive: copies follow the class's archive list, and its keep list again"""
    name = f"archive-{os.getpid()}"
    t.tool("mfsscadmin", "create", "-K", "2", "-A", "1", "-d", "30", name)
    os.mkdir(f"{t.a}/dir")
    a, b = t.both("dir/file")
    data = content("archive", 300_000)
    write(a, data)
    write(f"{t.a}/dir/other", data)
    t.tool("mfssetsclass", "-r", name, f"{t.a}/dir")
    t.until("it has two copies", lambda: copies(t, a) == [2], 300)
    t.equal(bits(t, f"{t.a}/dir"), [0, 2], "the bits of both, as they were made")
    t.tool("mfssetarchive", a)
    t.equal(bits(t, f"{t.b}/dir", mount=2), [1, 1], "the bits at the other mount once one is archived")
    t.until("one copy is left, as the archive list says", lambda: copies(t, a) == [1], 1100)
    t.equal(copies(t, f"{t.a}/dir/other"), [2], "the copies of the one that is not archived")
    t.spoil(lambda: flip(a))
    t.equal(read(b) == data, True, "it is as it was with one copy")
    t.equal(bits(t, f"{t.a}/dir"), [1, 1], "a reader leaves the bit")
    t.tool("mfsclrarchive", a)
    t.equal(bits(t, f"{t.a}/dir"), [0, 2], "the bits after mfsclrarchive")
    t.until("it has two copies again, as the keep list says", lambda: copies(t, a) == [2], 1100)
    t.tool("mfssetarchive", f"{t.a}/dir")
    t.equal(bits(t, f"{t.a}/dir"), [2, 0], "the bits of all below a directory")
    write(b, data[:1000])
    t.equal(bits(t, f"{t.a}/dir"), [1, 1], "the bits once one was written since")
    t.tool("mfssetsclass", "-r", "2", f"{t.a}/dir")
    t.tool("mfsscadmin", "delete", name)
