"""What files hold, written at one mount and read at the other."""

import fcntl
import hashlib
import mmap
import os
import time

from .harness import Worker, content, digest, flip, opened, read, test, write

MIB = 1 << 20
CHUNK = 64 * MIB


@test("mmap", data=True, quick=True)
def mapped(t):
    """memory maps that are written at one mount and read at the other, both ways"""
    size = MIB + 4321
    a, b = t.both("file")
    write(a, bytes(size))
    first, second = content(1, size), content(2, 70_000)
    with opened(a, os.O_RDWR) as file, mmap.mmap(file, size) as memory:
        memory[:] = first
        memory.flush()
        os.fsync(file)
    with opened(b, os.O_RDWR) as file, mmap.mmap(file, size) as memory:
        t.equal(memory[:] == first, True, "the other mount maps what was written")
        memory[500_000:570_000] = second
        memory.flush()
        os.fsync(file)
    t.spoil(lambda: flip(b, 500_001))
    wanted = first[:500_000] + second + first[570_000:]
    t.until("the first mount reads what the other wrote", lambda: read(a) == wanted)


def append_lines(path, name, number):
    """Appends lines, each under a lock and made durable."""
    for line in range(number):
        with opened(path, os.O_WRONLY | os.O_APPEND) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            os.write(file, f"{name} {line}\n".encode())
            os.fsync(file)


@test("append", data=True, quick=True)
def append(t):
    """four processes at two mounts append to one file under a lock: every line is there, once and whole"""
    a, b = t.both("log")
    write(a, b"")
    t.until("the file is at the other mount", lambda: os.path.exists(b))
    workers = [Worker(append_lines, path, name, 40) for path, name in [(a, "a1"), (b, "b1"), (a, "a2"), (b, "b2")]]
    for worker in workers:
        worker.result()
    t.spoil(lambda: flip(a, 3))
    wanted = sorted(f"{name} {line}" for name in ("a1", "a2", "b1", "b2") for line in range(40))
    for path in (a, b):
        t.until("every line is there", lambda path=path: len(read(path).splitlines()) == len(wanted))
        found = read(path).decode(errors="replace").splitlines()
        t.equal(sorted(found), wanted, "the lines")
        for name in ("a1", "a2", "b1", "b2"):
            own = [line for line in found if line.startswith(f"{name} ")]
            t.equal(own, [f"{name} {line}" for line in range(40)], f"the lines of {name}, in order")


@test("truncate", data=True, quick=True)
def truncate(t):
    """shorter, longer, holes within a chunk and over several, and what is read there"""
    a, b = t.both("file")
    model = bytearray(content(3, 200_000))
    write(a, bytes(model))

    def same(what):
        t.until(f"{what}: the other mount shows the length", lambda: os.stat(b).st_size == len(model))
        found = read(b)
        t.equal(hashlib.sha256(found).hexdigest(), hashlib.sha256(model).hexdigest(), f"{what}: the content")

    same("written")
    os.truncate(a, 65_537)
    del model[65_537:]
    same("shorter")
    os.truncate(b, 150_000)
    model += bytes(150_000 - 65_537)
    t.until("the first mount shows the length", lambda: os.stat(a).st_size == 150_000)
    same("longer again: zeros, not what was there")
    with opened(a, os.O_WRONLY) as file:
        os.pwrite(file, b"behind a hole", MIB)
        os.pwrite(file, b"x", 100_001)
        os.fsync(file)
    model += bytes(MIB - len(model)) + b"behind a hole"
    model[100_001:100_002] = b"x"
    same("a hole")
    os.truncate(a, 0)
    model.clear()
    same("empty")
    with opened(a, os.O_WRONLY) as file:
        os.pwrite(file, b"start", 0)
        os.pwrite(file, b"third chunk", 2 * CHUNK + 5)
        os.fsync(file)
    model += b"start" + bytes(2 * CHUNK) + b"third chunk"
    same("a hole of a whole chunk")
    os.truncate(b, CHUNK + 10)
    del model[CHUNK + 10 :]
    t.until("the first mount shows the length", lambda: os.stat(a).st_size == len(model))
    same("shorter by a chunk and more")
    t.spoil(lambda: flip(a, CHUNK + 3))
    os.truncate(a, 3 * CHUNK)
    model += bytes(3 * CHUNK - len(model))
    same("longer by two chunks, nothing in them")


@test("big-file", data=True, seconds_max=3600)
def big_file(t):
    """a file of several chunks: read whole, read here and there, changed over the edge of a chunk"""
    size = (1024 if t.options.long else t.options.size_mib) * MIB + 12_345
    a, b = t.both("file")
    digests, block = hashlib.sha256(), MIB
    blocks = -(-size // block)
    with open(a, "wb") as file:
        for number in range(blocks):
            data = content(number, min(block, size - number * block))
            digests.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    t.until("the other mount shows the length", lambda: os.stat(b).st_size == size)
    t.spoil(lambda: flip(a, size // 2))
    t.equal(digest(b), digests.hexdigest(), "its checksum at the other mount")
    with opened(b, os.O_RDONLY) as file:
        for _ in range(50):
            number = t.random.randrange(blocks)
            start = t.random.randrange(1000)
            got = os.pread(file, 5000, number * block + start)
            t.equal(got == content(number, min(block, size - number * block))[start : start + 5000], True, "a part")
    edge = content("edge", 100_000)
    with opened(b, os.O_WRONLY) as file:
        os.pwrite(file, edge, CHUNK - 50_000)
        os.fsync(file)

    def reads_edge():
        with opened(a, os.O_RDONLY) as file:
            return os.pread(file, 100_002, CHUNK - 50_001)[1:-1] == edge

    t.until("the first mount reads what the other wrote over the edge of a chunk", reads_edge)
    t.say(f"{size} bytes, {-(-size // CHUNK)} chunks")


@test("small-files", data=True, quick=True, seconds_max=7200)
def small_files(t):
    """many small files, every one read at the other mount"""
    count = 100_000 if t.options.long else t.options.files

    def data_of(number):
        return content(number, 100 + number * 7919 % 4000)

    for above in range(-(-count // 1000)):
        os.mkdir(f"{t.a}/{above}")
    for number in range(count):
        with open(f"{t.a}/{number // 1000}/{number}", "wb") as file:
            file.write(data_of(number))
    t.spoil(lambda: flip(f"{t.a}/{count // 2 // 1000}/{count // 2}", 50))
    for number in range(count):
        if read(f"{t.b}/{number // 1000}/{number}") != data_of(number):
            t.check(False, f"file {number} is not what was written")
    t.say(f"{count} files written and read")


@test("df", data=True, quick=True)
def df(t):
    """df shows the space of the chunkservers, and statvfs has sense in it"""
    t.spoil(lambda: ([t.lab.kill(host, at_once=True) for host in t.lab.hosts("c")], time.sleep(5)))
    for line in t.run("df", "-h", *t.roots).splitlines():
        t.say(line)
    for root in t.roots:
        found = os.statvfs(root)
        t.check(found.f_blocks > 0, "no space at all")
        t.check(0 < found.f_bavail <= found.f_blocks, f"{found.f_bavail} blocks of {found.f_blocks} are free")
    one, other = (os.statvfs(root).f_blocks * os.statvfs(root).f_frsize for root in t.roots)
    t.check(abs(one - other) < one / 10, f"the mounts show {one} and {other} bytes")
