"""mfsfilerepair, on files whose copies were destroyed."""

import glob
import os

from .chunkservers import chunks, copies
from .harness import Failed, content, flip, opened, read, test, write

CHUNK = 64 << 20


def destroy(t, host, chunk):
    """A chunkserver finds a chunk gone from its disk when it starts again."""
    with t.lab.locked():
        t.lab.kill(host, at_once=True)
        files = glob.glob(f"{t.lab.path(host)}/disk/*/chunk_{chunk}_*.mfs")
        t.equal(len(files), 1, f"files of chunk {chunk} at {host}")
        os.unlink(files[0])
        t.lab.start(host)


def repaired(t, path):
    """What mfsfilerepair did: chunks not changed, erased and repaired; None when it was refused for now."""
    try:
        said = t.tool("mfsfilerepair", "-n", path)
    except Failed as error:
        if not any(said in str(error) for said in ("temporarily unavailable", "Chunkserver not present")):
            raise
        return None
    numbers = [line.rpartition(":") for line in said.splitlines() if "chunks" in line]
    return {what.split()[-1]: int(number) for what, _, number in numbers}


def repair(t, path):
    """Repairs it once every chunkserver has had time to name what it has."""
    done = []

    def is_done():
        done.append(repaired(t, path))
        return done[-1] is not None

    t.until("the repair is not refused any more", is_done, 400)
    return done[-1]


@test("filerepair", data=True, seconds_max=2400)
def filerepair(t):
    """mfsfilerepair: a chunk without any copy becomes zeros, one with old copies alone is as they are"""
    a, b = t.both("file")
    t.tool("mfssetgoal", "1", t.a)
    parts = [content(number, 100_000) for number in range(3)]
    write(a, b"")
    with opened(a, os.O_WRONLY) as file:
        for number, part in enumerate(parts):
            os.pwrite(file, part, number * CHUNK)
        os.fsync(file)
    t.until("each chunk has its one copy", lambda: copies(t, a) == [1, 1, 1], 120)
    t.equal(repair(t, a), {"changed": 3, "erased": 0, "repaired": 0}, "the repair of what is whole")
    chunk, (host,) = chunks(t, a)[1]
    destroy(t, host, chunk)
    t.until("the others are there again", lambda: copies(t, a) == [1, 0, 1], 120)
    t.equal(repair(t, a), {"changed": 2, "erased": 1, "repaired": 0}, "the repair of a chunk without a copy")
    t.spoil(lambda: flip(a, 5))
    with opened(b, os.O_RDONLY) as file:
        for number, part in enumerate([parts[0], bytes(len(parts[1])), parts[2]]):
            t.equal(os.pread(file, len(part), number * CHUNK) == part, True, f"chunk {number} after the repair")
        t.equal(os.fstat(file).st_size, 2 * CHUNK + len(parts[2]), "the length after the repair")
    old_copy(t)


def old_copy(t):
    """The copy with the newest version is lost, one that missed a write is left."""
    a, b = t.both("older")
    before, after = content("before", 50_000), content("after", 50_000)
    write(a, before)
    t.tool("mfssetgoal", "2", a)
    t.until("it has two copies", lambda: copies(t, a) == [2], 300)
    chunk, (one, other) = chunks(t, a)[0]
    (third,) = set(t.lab.hosts("c")) - {one, other}
    with t.lab.locked():
        # Or a second copy would be made there, sooner or later.
        t.lab.kill(third, at_once=True)
        t.lab.kill(one, at_once=True)
    t.until("the copy is seen to be gone", lambda: copies(t, a) == [1])
    with opened(b, os.O_WRONLY) as file:
        os.pwrite(file, after, 0)
        os.fsync(file)
    destroy(t, other, chunk)
    with t.lab.locked():
        t.lab.start(one)
        t.lab.start(third)
    t.until("a copy that is too old is there", lambda: chunks(t, a)[0][1] == [one] and copies(t, a) == [0], 120)
    t.equal(repair(t, a), {"changed": 0, "erased": 0, "repaired": 1}, "the repair of a chunk with an old copy")
    t.until("it is whole", lambda: copies(t, a) == [1] or copies(t, a) == [2], 60)
    t.equal(read(b) == before, True, "it is as the copy that was left")
