"""What a test is, and what it is given. Knows no test by name."""

import contextlib
import ctypes
import dataclasses
import errno
import hashlib
import multiprocessing
import os
import random
import stat
import subprocess
import time
from collections.abc import Callable

FORK = multiprocessing.get_context("fork")
# Nothing is expected to take this long: only what hangs does.
HANGS_SECONDS = 240


class Failed(Exception):
    """Something was not as it has to be."""


class Skipped(Exception):
    """The test cannot be done here."""


@dataclasses.dataclass
class Test:
    """A test by its name, and what it needs of the lab."""

    name: str
    run: Callable
    about: str
    needs_data: bool
    is_quick: bool
    is_failover: bool
    seconds_max: int


TESTS = {}


def test(name, data, quick=False, failover=False, seconds_max=300):
    """Registers a test. `data`: it needs chunkservers; `quick`: ./check runs it."""

    def register(function):
        about = (function.__doc__ or "").strip().splitlines()[0]
        TESTS[name] = Test(name, function, about, data, quick, failover, seconds_max)
        return function

    return register


@dataclasses.dataclass
class Options:
    """How much is done."""

    long: bool = False
    rounds: int = 8
    seed: int = 1
    size_mib: int = 80
    files: int = 2000
    self_test: bool = False


class Context:
    """A directory of its own on two mounts, `a` and `b`, and ways to look."""

    def __init__(self, lab, name, options):
        self.lab = lab
        self.options = options
        self.random = random.Random(f"{options.seed}-{name}")
        self.directory = f"{name}-{os.getpid()}"
        self.roots = [lab.mount_point(1), lab.mount_point(2)]
        self.a, self.b = (os.path.join(root, self.directory) for root in self.roots)
        self.scratch = lab.path("scratch", self.directory)
        self.has_data = lab.takes_chunkservers
        self.is_spoiled = False
        os.makedirs(self.scratch)
        os.mkdir(self.a)
        self.until("the directory made at one mount is at the other", lambda: os.path.isdir(self.b))

    @staticmethod
    def say(text):
        """A line for whoever reads the run."""
        print(f"    {text}", flush=True)

    @staticmethod
    def check(is_true, what):
        """A law."""
        if not is_true:
            raise Failed(what)

    @staticmethod
    def equal(got, wanted, what):
        """Two that have to be the same."""
        if got != wanted:
            raise Failed(f"{what}: {short(got)}, and it has to be {short(wanted)}")

    def until(self, what, is_true, seconds=60):
        """Waits for what mounts may show late (they remember attributes for a second), or what takes its time."""
        deadline = time.monotonic() + (3 if self.options.self_test and seconds <= 60 else seconds)
        while not is_true():
            if time.monotonic() > deadline:
                raise Failed(f"not within {seconds} s: {what}")
            time.sleep(0.1)

    def refused(self, number, what, do):
        """Something that has to be refused with an error."""
        try:
            do()
        except OSError as error:
            self.equal(errno.errorcode[error.errno], errno.errorcode[number], what)
        else:
            raise Failed(f"{what}: nothing was refused, and {errno.errorcode[number]} has to be")

    def spoil(self, damage):
        """In a self-test: does damage that the checks behind it have to find."""
        self.is_spoiled = True
        if self.options.self_test:
            damage()

    def run(self, *command, at=None, code=0, seconds=HANGS_SECONDS, **options):
        """Runs a program to its end; what it printed. It fails unless it ends with that code."""
        options.setdefault("cwd", self.a)
        name = " ".join(command)
        if at is not None:
            command = self.lab.command(f"u{at}", command)
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, timeout=seconds, check=False, **options
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"`{name}` hangs: no end within {seconds} s") from None
        if done.returncode != code:
            said = (done.stderr + done.stdout).decode(errors="replace").strip()
            raise Failed(f"`{name}` ended with {done.returncode}: {said[-600:]}")
        return done.stdout.decode(errors="replace")

    def tool(self, *command, mount=1, **options):
        """A tool of MooseFS, which has to run at the host of the mount."""
        return self.run(*command, at=mount, **options)

    def both(self, name=""):
        """A path on both mounts."""
        return os.path.join(self.a, name), os.path.join(self.b, name)


class Worker:
    """A function in a process of its own, so that it holds locks and open files of its own."""

    def __init__(self, function, *arguments):
        self.receiver, sender = FORK.Pipe(duplex=False)
        self.process = FORK.Process(target=self._work, args=(sender, function, arguments), daemon=True)
        self.process.start()
        sender.close()

    @staticmethod
    def _work(sender, function, arguments):
        try:
            sender.send((function(*arguments), None))
        except BaseException as error:
            sender.send((None, f"{type(error).__name__}: {error}"))

    def is_done(self, seconds=0):
        """Whether it has a result."""
        return self.receiver.poll(seconds)

    def result(self, seconds=HANGS_SECONDS):
        """What it returned; an error of it is a failure."""
        if not self.receiver.poll(seconds):
            self.kill()
            raise Failed(f"{self.process.name} hangs: no result within {seconds} s")
        try:
            value, error = self.receiver.recv()
        except EOFError:
            raise Failed("a process of the test ended without a result") from None
        self.process.join()
        if error is not None:
            raise Failed(f"an application saw {error}")
        return value

    def kill(self):
        """SIGKILL."""
        self.process.kill()
        self.process.join(5)


def short(value):
    """A value as it fits a line."""
    text = repr(value)
    return text if len(text) < 300 else f"{text[:200]} .. {text[-60:]}"


def content(seed, size):
    """Bytes that a seed makes."""
    return random.Random(seed).randbytes(size)


def write(path, data, flags=os.O_WRONLY | os.O_CREAT | os.O_TRUNC):
    """Writes a file and sees to it that it is on disk."""
    with open(os.open(path, flags, 0o644), "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read(path):
    """A whole file."""
    with open(path, "rb") as file:
        return file.read()


def flip(path, offset=0):
    """Damage: another byte at one place."""
    with open(path, "r+b") as file:
        file.seek(offset)
        byte = file.read(1)
        file.seek(offset)
        file.write(bytes([byte[0] ^ 1]))
        os.fsync(file.fileno())


def digest(path):
    """The checksum of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe(path, with_times=False):
    """One entry as it can be compared."""
    found = os.lstat(path)
    words = [stat.filemode(found.st_mode), found.st_uid, found.st_gid]
    if stat.S_ISLNK(found.st_mode):
        words.append(os.readlink(path))
    if stat.S_ISREG(found.st_mode):
        words += [found.st_size, digest(path) if found.st_size else ""]
    if with_times and stat.S_ISREG(found.st_mode):
        words.append(int(found.st_mtime))
    return tuple(words)


def tree(path, with_times=False):
    """All below a directory, by relative path."""
    found = {}
    for above, directories, files in os.walk(path):
        for name in directories + files:
            entry = os.path.join(above, name)
            found[os.path.relpath(entry, path)] = describe(entry, with_times)
    return found


def difference(one, other):
    """Where two trees differ, for people."""
    names = sorted(one.keys() | other.keys())
    return [f"{name}: {one.get(name)} / {other.get(name)}" for name in names if one.get(name) != other.get(name)]


def as_user(number, do, groups=()):
    """Does something as another user, in a process of its own; the name of the error, or None."""

    def work():
        os.setgroups(list(groups))
        os.setgid(number)
        os.setuid(number)
        # A change of user clears it; the parent's death must still end this one.
        ctypes.CDLL(None).prctl(1, 9)
        try:
            do()
        except OSError as error:
            return errno.errorcode[error.errno]
        return None

    return Worker(work).result()


@contextlib.contextmanager
def opened(path, flags, mode=0o644):
    """An open file by its number."""
    descriptor = os.open(path, flags, mode)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
