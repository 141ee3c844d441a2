"""Locks between two mounts. The files are empty."""

import fcntl
import os
import struct
import time

from .harness import Worker, opened, test
from .names import make_empty


def try_flock(path, how):
    """Whether a lock of a whole file can be had at once."""
    with opened(path, os.O_RDWR) as file:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def hold_flock(path, how, end):
    """Takes a lock, waiting for it, and holds it until a file is there."""
    with opened(path, os.O_RDWR) as file:
        fcntl.flock(file, how)
        open(f"{end}.has", "w", encoding="utf-8").close()
        while not os.path.exists(end):
            time.sleep(0.02)


def holds(t, path, name):
    """Waits until a holder has its lock."""
    t.until(f"{name} has the lock", lambda: os.path.exists(f"{path}.has"))


@test("flock", data=False, quick=True)
def flock(t):
    """flock: exclusive and shared, waiting, and the death of a holder"""
    a, b = t.both("file")
    make_empty(a)
    t.until("the file is at the other mount", lambda: os.path.exists(b))
    first, second, third = (f"{t.scratch}/{name}" for name in ("first", "second", "third"))
    holder = Worker(hold_flock, a, fcntl.LOCK_EX, first)
    holds(t, first, "the first")
    t.spoil(lambda: (open(first, "w", encoding="utf-8").close(), holder.result()))
    t.check(not Worker(try_flock, b, fcntl.LOCK_EX).result(), "a lock that is held was given at the other mount")
    t.check(not Worker(try_flock, b, fcntl.LOCK_SH).result(), "an exclusive lock was shared with the other mount")
    waiter = Worker(hold_flock, b, fcntl.LOCK_EX, second)
    time.sleep(1)
    t.check(not os.path.exists(f"{second}.has"), "who waits has the lock while it is held")
    open(first, "w", encoding="utf-8").close()
    holder.result()
    holds(t, second, "who waited at the other mount")
    t.check(not Worker(try_flock, a, fcntl.LOCK_EX).result(), "it was given twice")
    waiting = Worker(hold_flock, a, fcntl.LOCK_SH, third)
    time.sleep(0.5)
    waiter.kill()
    holds(t, third, "who waited for one that was killed")
    t.check(Worker(try_flock, b, fcntl.LOCK_SH).result(), "a shared lock was not shared")
    t.check(not Worker(try_flock, b, fcntl.LOCK_EX).result(), "a shared lock did not exclude")
    open(third, "w", encoding="utf-8").close()
    waiting.result()
    t.until("a lock that was given back can be had", lambda: Worker(try_flock, b, fcntl.LOCK_EX).result())


def try_range(path, kind, start, length):
    """Whether a lock of a range can be had at once."""
    with opened(path, os.O_RDWR) as file:
        try:
            fcntl.lockf(file, kind | fcntl.LOCK_NB, length, start)
        except (BlockingIOError, PermissionError):
            return False
        return True


def hold_ranges(path, ranges, end):
    """Takes locks of ranges, and holds them until a file is there."""
    with opened(path, os.O_RDWR) as file:
        for kind, start, length in ranges:
            fcntl.lockf(file, kind, length, start)
        open(f"{end}.has", "w", encoding="utf-8").close()
        while not os.path.exists(end):
            time.sleep(0.02)


def who_holds(path, start, length):
    """What F_GETLK says of a range: kind, start and length of a lock in the way, or None."""
    with opened(path, os.O_RDWR) as file:
        asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, start, length, 0)
        kind, _, start, length, _ = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else (kind, start, length)


@test("fcntl-locks", data=False, quick=True)
def fcntl_locks(t):
    """fcntl: ranges, F_GETLK, waiting, and the death of a holder"""
    a, b = t.both("file")
    make_empty(a)
    t.until("the file is at the other mount", lambda: os.path.exists(b))
    first, second = f"{t.scratch}/first", f"{t.scratch}/second"
    ranges = [(fcntl.LOCK_EX, 0, 100), (fcntl.LOCK_SH, 200, 100)]
    holder = Worker(hold_ranges, a, ranges, first)
    holds(t, first, "the first")
    t.spoil(lambda: (open(first, "w", encoding="utf-8").close(), holder.result()))

    def can(kind, start, length):
        return Worker(try_range, b, kind, start, length).result()

    t.check(not can(fcntl.LOCK_EX, 50, 10), "a range within a held one was given")
    t.check(not can(fcntl.LOCK_SH, 99, 1), "the last byte of a held range was shared")
    t.check(can(fcntl.LOCK_EX, 100, 100), "a free range was refused")
    t.check(can(fcntl.LOCK_SH, 200, 100), "a shared range was refused to a reader")
    t.check(not can(fcntl.LOCK_EX, 250, 100), "a shared range was given to a writer")
    t.equal(Worker(who_holds, b, 0, 1000).result(), (fcntl.F_WRLCK, 0, 100), "F_GETLK says")
    waiter = Worker(hold_ranges, b, [(fcntl.LOCK_EX, 50, 200)], second)
    time.sleep(1)
    t.check(not os.path.exists(f"{second}.has"), "who waits has the range while it is held")
    holder.kill()
    holds(t, second, "who waited for one that was killed")
    t.check(not Worker(try_range, a, fcntl.LOCK_EX, 249, 1).result(), "the last byte was given twice")
    t.check(Worker(try_range, a, fcntl.LOCK_EX, 0, 50).result(), "what the dead one held was not given back")
    open(second, "w", encoding="utf-8").close()
    waiter.result()
    t.equal(Worker(who_holds, a, 0, 0).result(), None, "F_GETLK at the end says")


def count_up(path, number):
    """Adds one to a number under a lock, several times; what it made of it."""
    made = []
    for _ in range(number):
        with opened(path, os.O_RDWR) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # The number is a name: what a file holds would need chunkservers.
            above = os.path.dirname(path)
            last = max(int(name) for name in os.listdir(f"{above}/counter"))
            os.rename(f"{above}/counter/{last}", f"{above}/counter/{last + 1}")
            made.append(last + 1)
    return made


@test("lock-contention", data=False)
def lock_contention(t):
    """six processes at two mounts count up one after the other, under one lock"""
    make_empty(f"{t.a}/lock")
    os.mkdir(f"{t.a}/counter")
    make_empty(f"{t.a}/counter/0")
    t.until("the counter is at the other mount", lambda: os.path.exists(f"{t.b}/counter/0"))
    t.spoil(lambda: os.rename(f"{t.a}/counter/0", f"{t.a}/counter/1"))
    workers = [Worker(count_up, f"{root}/lock", 20) for root in (t.a, t.b) * 3]
    made = sorted(number for worker in workers for number in worker.result())
    t.equal(made, list(range(1, 121)), "what six processes made")
