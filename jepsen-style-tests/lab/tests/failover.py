"""Both mounts work while a node dies, hangs or is cut off: no application sees an error, nothing that was
acknowledged is missing at the other mount, nothing happened twice. How long they stood still is printed, not judged.
"""

import collections
import dataclasses
import fcntl
import math
import os
import shutil
import time

from .harness import FORK, Worker, content, flip, test
from .names import make_empty

# Nobody is expected to wait this long: mfsmount gives an operation up after 132 s.
HANGS_SECONDS = 240
KINDS = {"kill": "kill -9", "cut": "cut off", "pause": "SIGSTOP"}


@dataclasses.dataclass
class Done:
    """How much a worker did, and what took it long: when that began, and how long."""

    count: int = 0
    slow: list = dataclasses.field(default_factory=list)

    def longest(self, since):
        """The longest operation that ended after a moment."""
        return max((took for began, took in self.slow if began + took > since), default=0.02)


class Diary:
    """What one worker did: how long each operation took, and how the last one went."""

    def __init__(self, stop, acknowledged):
        self.stop = stop
        # When the newest operation that was acknowledged had begun; others look at it.
        self.acknowledged = acknowledged
        self.done = Done()

    def do(self, function, *arguments):
        """Does one operation."""
        began = time.monotonic()
        try:
            value = function(*arguments)
        except OSError as error:
            after = time.monotonic() - began
            raise OSError(error.errno, f"{function.__name__}: {error} after {after:.1f} s") from None
        took = time.monotonic() - began
        self.done.count += 1
        if took > 0.02:
            self.done.slow.append((began, took))
        self.acknowledged.value = began
        return value

    def goes_on(self):
        """Whether it is to do more, with a pause, so that the load is bounded."""
        time.sleep(0.005)
        return not self.stop.is_set()


def change_names(above, stop, acknowledged):
    """Changes of the tree; a repeat of one that had happened would see EEXIST or ENOENT."""
    diary, step = Diary(stop, acknowledged), 0
    while diary.goes_on():
        path = f"{above}/{step}"
        diary.do(make_empty, f"{path}.new")
        diary.do(os.rename, f"{path}.new", f"{path}.file")
        if step % 3 == 0:
            diary.do(os.chmod, f"{path}.file", 0o600 + step % 8)
        if step % 5 == 0:
            diary.do(os.mkdir, f"{path}.directory", 0o750)
            diary.do(os.symlink, f"{step}.file", f"{path}.directory/link")
        if step % 7 == 0:
            diary.do(os.link, f"{path}.file", f"{path}.name")
        if step % 4 == 3:
            diary.do(os.unlink, f"{above}/{step - 3}.file")
        step += 1
    return diary.done, names_after(step)


def names_after(steps):
    """What the tree has to be after so many steps: names with what is known of them."""
    wanted = {}
    for step in range(steps):
        # The worker's umask is 022, the exports' none.
        mode = 0o600 + step % 8 if step % 3 == 0 else 0o644
        is_unlinked = step % 4 == 0 and step + 3 < steps
        if not is_unlinked:
            wanted[f"{step}.file"] = ("file", mode)
        if step % 5 == 0:
            wanted[f"{step}.directory"] = ("directory", 0o750)
            wanted[f"{step}.directory/link"] = ("link", f"{step}.file")
        if step % 7 == 0:
            wanted[f"{step}.name"] = ("file", mode)
    return wanted


def names_of(path):
    """The same, as it is."""
    found = {}
    for above, directories, files in os.walk(path):
        for name in directories + files:
            entry = os.path.join(above, name)
            if os.path.islink(entry):
                found[os.path.relpath(entry, path)] = ("link", os.readlink(entry))
            else:
                kind = "directory" if os.path.isdir(entry) else "file"
                found[os.path.relpath(entry, path)] = (kind, os.lstat(entry).st_mode & 0o777)
    return found


def write_durably(path, data):
    """A new file, written and on disk."""
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_more(descriptor, data, at=None):
    """At the end or at a place of an open file, and on disk."""
    written = os.write(descriptor, data) if at is None else os.pwrite(descriptor, data, at)
    if written != len(data):
        raise OSError(5, f"{written} of {len(data)} bytes were written")
    os.fsync(descriptor)


def write_files(above, stop, acknowledged):
    """Writes that are on disk when they are acknowledged: new files, appended lines, places of a file that is open."""
    diary, step = Diary(stop, acknowledged), 0
    log = diary.do(os.open, f"{above}/log", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
    places = diary.do(os.open, f"{above}/places", os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
    model = {"log": b"", "places": bytearray()}
    while diary.goes_on():
        data = content(f"{above}-{step}", 3000 + step % 5 * 1000)
        diary.do(write_durably, f"{above}/{step}", data)
        model[str(step)] = data
        line = f"{step} ".encode() + data[:20].hex().encode() + b"\n"
        diary.do(write_more, log, line)
        model["log"] += line
        at = step * 2377 % 100_000
        diary.do(write_more, places, data[:1000], at)
        model["places"] += bytes(max(0, at + 1000 - len(model["places"])))
        model["places"][at : at + 1000] = data[:1000]
        step += 1
    os.close(log)
    os.close(places)
    return diary.done, {name: bytes(data) for name, data in model.items()}


def differs(name, found, wanted):
    """What is wrong with an entry, for people to read."""
    if not isinstance(found, (bytes, bytearray)):
        return f"{name}: {found!r} in place of {wanted!r}"
    pairs = enumerate(zip(found, wanted))
    at = next((place for place, (one, other) in pairs if one != other), min(len(found), len(wanted)))
    around = slice(max(at - 20, 0), at + 60)
    lengths = f"{len(found)} bytes in place of {len(wanted)}"
    return f"{name}: {lengths}, from byte {at} on {bytes(found[around])!r} in place of {bytes(wanted[around])!r}"


def contents_of(path):
    """All files of a directory."""
    found = {}
    for name in os.listdir(path):
        with open(os.path.join(path, name), "rb") as file:
            found[name] = file.read()
    return found


@dataclasses.dataclass
class Stall:
    """The longest operation of one worker in one round."""

    kind: str
    # What the node was that the fault hit.
    role: str
    # Whether its mount was connected to the node that the fault hit.
    is_hit: bool
    what: str
    seconds: float


def start_workers(t, above):
    """Two or one at each mount, each in a directory of its own."""
    stop, workers = FORK.Event(), []
    for number, root in enumerate((t.a, t.b), start=1):
        for what, function in [("metadata", change_names), ("writes", write_files)][: 2 if t.has_data else 1]:
            name = f"{above}/{what}-{number}"
            os.mkdir(f"{t.a}/{name}")
            t.until("a new directory is at both mounts", lambda name=name, root=root: os.path.isdir(f"{root}/{name}"))
            acknowledged = FORK.Value("d", 0.0)
            worker = Worker(function, f"{root}/{name}", stop, acknowledged)
            workers.append((number, what, name, worker, acknowledged))
    return stop, workers


def wait_for(workers, since, t, what):
    """Until every worker had an operation acknowledged that began after a moment, or has ended."""
    for _, _, name, worker, acknowledged in workers:
        deadline = time.monotonic() + HANGS_SECONDS
        while acknowledged.value < since and not worker.is_done():
            t.check(time.monotonic() < deadline, f"{name} stands still for {HANGS_SECONDS} s: {what}")
            time.sleep(0.02)


def hurt(t, kind, victim):
    """Does it."""
    with t.lab.locked():
        if kind == "kill":
            t.lab.kill(victim, at_once=True)
        elif kind == "cut":
            t.lab.network.cut(victim)
        else:
            t.lab.processes.pause(victim)


def undo(t, kind, victim):
    """Undoes it."""
    with t.lab.locked():
        if kind == "kill":
            t.lab.start(victim)
        elif kind == "cut":
            t.lab.network.heal(victim)
        else:
            t.lab.processes.resume(victim)


def choose_victim(t, number, leader_only):
    """The leader; in every second round one that a mount is connected to as well, where nodes can be chosen. Unless it
    has to be the leader, in every fourth round a node that follows."""
    if not t.lab.settings.baseline and not leader_only and number % 4 == 3:
        t.until("a node leads", t.lab.leader, 120)
        leader = t.lab.leader()
        return t.random.choice([node for node in t.lab.hosts("n") if node != leader])
    if not t.lab.settings.baseline and number % 2 == 0:
        mount = 1 + number // 2 % 2
        node = t.lab.node_of_mount(mount)
        if node is not None and t.lab.admin("transfer-leader", node[1:], seconds=30) is None:
            t.say(f"leadership did not go to {node}")
    t.until("a node leads", t.lab.leader, 120)
    return t.lab.leader()


def one_round(t, number, kind, leader_only):
    """One fault under load, undone; then everything is looked at from the other mount."""
    above = f"round-{number}"
    os.mkdir(f"{t.a}/{above}")
    victim = choose_victim(t, number, leader_only)
    role = "leader" if victim == t.lab.leader() else "follower"
    nodes = [t.lab.node_of_mount(mount) for mount in (1, 2)]
    stop, workers = start_workers(t, above)
    wait_for(workers, 0.001, t, "before the fault")
    time.sleep(0.5 + t.random.random())
    since = time.monotonic()
    hurt(t, kind, victim)
    # To do it takes its time: what began before it was done proves nothing.
    is_hurt = time.monotonic()
    if t.lab.settings.baseline:
        # There is no other node to go on with.
        time.sleep(3)
        undo(t, kind, victim)
    wait_for(workers, is_hurt, t, f"{KINDS[kind]} of {victim}")
    if not t.lab.settings.baseline:
        undo(t, kind, victim)
    t.until("the cluster is whole again", t.lab.is_whole, 180)
    time.sleep(0.5)
    stop.set()
    results = [(*worker[:3], *worker[3].result(HANGS_SECONDS)) for worker in workers]
    # Names where there is nothing else, contents where files have some.
    last = os.path.join(t.b, results[1][2])
    t.spoil(lambda: flip(f"{last}/log", 2) if t.has_data else os.unlink(f"{last}/0.name"))
    stalls = [Stall(kind, role, nodes[n - 1] == victim, what, done.longest(since)) for n, what, _, done, _ in results]
    for mount, what, name, _, wanted in results:
        other = os.path.join(t.b if mount == 1 else t.a, name)
        look = names_of if what == "metadata" else contents_of
        found = look(other)
        if found != wanted:
            # What a mount remembers for a second is no loss.
            time.sleep(3)
            found = look(other)
        missing, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        t.equal((missing, more), ([], []), f"round {number}, {name}: acknowledged and missing, there and not wanted")
        wrong = [differs(entry, found[entry], wanted[entry]) for entry in wanted if found[entry] != wanted[entry]]
        t.equal(wrong, [], f"round {number}, {name}: entries that are not as they were acknowledged")
    took = ", ".join(f"{'AB'[r[0] - 1]} {r[1]} {s.seconds:.2f} s" for r, s in zip(results, stalls, strict=True))
    count = sum(done.count for _, _, _, done, _ in results)
    t.say(f"round {number}: {KINDS[kind]} of {role} {victim}, A at {nodes[0]}, B at {nodes[1]}; {count} done; longest: {took}")
    shutil.rmtree(f"{t.a}/{above}")
    return stalls


def percentile(values, share):
    """That of the sorted values which so large a share does not exceed."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def summary(t, stalls):
    """How long applications stood still."""
    groups = collections.defaultdict(list)
    for stall in stalls:
        groups[stall.kind, stall.role, stall.is_hit, stall.what].append(stall.seconds)
    for (kind, role, is_hit, what), seconds in sorted(groups.items()):
        where = "connected to the node that was hit" if is_hit else "connected to another node"
        figures = ", ".join(f"{name} {percentile(seconds, share):.2f} s" for name, share in FIGURES)
        t.say(f"{KINDS[kind]} of a {role}, {what}, {where}: longest stall, {len(seconds)} rounds of a mount: {figures}")


FIGURES = [("median", 0.5), ("p99", 0.99), ("max", 1.0)]


def rounds(t, kinds, leader_only=True):
    """All rounds of a test."""
    stalls = []
    for number in range(1, t.options.rounds + 1):
        stalls += one_round(t, number, t.random.choice(kinds), leader_only)
    summary(t, stalls)


@test("leader-kill", data=False, failover=True, quick=True)
def leader_kill(t):
    """kill -9 of the leader while both mounts change names and write: no error, no loss, nothing twice"""
    rounds(t, ["kill"])


@test("leader-cut", data=False, failover=True)
def leader_cut(t):
    """the leader is cut off while both mounts work"""
    rounds(t, ["cut"])


@test("leader-pause", data=False, failover=True)
def leader_pause(t):
    """the leader hangs (SIGSTOP) and keeps its connections while both mounts work"""
    rounds(t, ["pause"])


def read_all(above, wanted, stop, acknowledged):
    """Reads of files that are open, of others that are opened, and of names, with nothing of them in the kernel."""
    diary, names, step = Diary(stop, acknowledged), sorted(wanted), 0
    held = {name: diary.do(os.open, f"{above}/{name}", os.O_RDONLY) for name in names[:10]}
    while diary.goes_on():
        for name, descriptor in [list(held.items())[step % len(held)], (names[step * 7 % len(names)], None)]:
            found = diary.do(read_cold, f"{above}/{name}", descriptor)
            if found != wanted[name]:
                raise AssertionError(f"{name}: {len(found)} bytes that were not written")
        if step % 20 == 0:
            found = diary.do(os.listdir, above)
            if sorted(found) != names:
                raise AssertionError(f"{len(found)} names of {len(names)}")
        step += 1
    for descriptor in held.values():
        os.close(descriptor)
    return diary.done


def read_cold(path, descriptor):
    """A whole file, through the mount: opened for it unless it is open."""
    file = os.open(path, os.O_RDONLY) if descriptor is None else descriptor
    try:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return os.pread(file, 1 << 20, 0)
    finally:
        if descriptor is None:
            os.close(file)


@test("leader-kill-reads", data=True, failover=True)
def leader_kill_reads(t):
    """kill -9 of the leader that a mount is connected to: open files and fresh ones are read on, without an error"""
    os.mkdir(f"{t.a}/files")
    wanted = {f"file-{number:03}": content(number, 20_000 + number) for number in range(200)}
    for name, data in wanted.items():
        write_durably(f"{t.a}/files/{name}", data)
    t.until("all is at the other mount", lambda: sorted(os.listdir(f"{t.b}/files")) == sorted(wanted))
    stalls = collections.defaultdict(list)
    for number in range(1, t.options.rounds + 1):
        victim = choose_victim(t, 2 * number, leader_only=True)
        nodes = [t.lab.node_of_mount(mount) for mount in (1, 2)]
        stop, readers = FORK.Event(), []
        for mount, root in enumerate((t.a, t.b), start=1):
            acknowledged = FORK.Value("d", 0.0)
            worker = Worker(read_all, f"{root}/files", wanted, stop, acknowledged)
            readers.append((mount, "reads", f"reader-{mount}", worker, acknowledged))
        wait_for(readers, 0.001, t, "before the fault")
        time.sleep(1)
        since = time.monotonic()
        hurt(t, "kill", victim)
        is_hurt = time.monotonic()
        if t.lab.settings.baseline:
            time.sleep(3)
            undo(t, "kill", victim)
        wait_for(readers, is_hurt, t, f"kill -9 of {victim}")
        time.sleep(2)
        if not t.lab.settings.baseline:
            undo(t, "kill", victim)
        t.until("the cluster is whole again", t.lab.is_whole, 180)
        time.sleep(0.5)
        t.spoil(lambda: flip(f"{t.a}/files/file-000"))
        time.sleep(2 if t.options.self_test else 0)
        stop.set()
        for mount, _, name, worker, _ in readers:
            done = worker.result(HANGS_SECONDS)
            where = "connected to the node that died" if nodes[mount - 1] == victim else "connected to another"
            stalls[where].append(done.longest(since))
            t.say(f"round {number}, {name}, {where}: {done.count} reads, the longest {done.longest(since):.2f} s")
    for where, seconds in sorted(stalls.items()):
        t.say(f"{where}: longest stall of a round: median {percentile(seconds, 0.5):.2f} s, max {max(seconds):.2f} s")


def hold_both(path, ready, end):
    """Holds both kinds of lock of a file, waiting for them, until a file is there."""
    with open(path, "r+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX, 100, 0)
        open(ready, "w", encoding="utf-8").close()
        while not os.path.exists(end):
            time.sleep(0.02)
    return time.monotonic()


def can_have(path):
    """Which of both kinds of lock can be had at once."""
    found = []
    for what, act in [("flock", fcntl.flock), ("fcntl", lambda file, how: fcntl.lockf(file, how, 100, 0))]:
        with open(path, "r+b") as file:
            try:
                act(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found.append(what)
            except (BlockingIOError, PermissionError):
                pass
    return found


@test("leader-kill-locks", data=False, failover=True, quick=True)
def leader_kill_locks(t):
    """kill -9 of the leader while locks are held and waited for: still held afterwards, and given on once"""
    make_empty(f"{t.a}/lock")
    t.until("the file is at the other mount", lambda: os.path.exists(f"{t.b}/lock"))
    victim = choose_victim(t, 2, leader_only=True)
    words = {name: f"{t.scratch}/{name}" for name in ("has", "end", "second-has", "second-end")}
    holder = Worker(hold_both, f"{t.a}/lock", words["has"], words["end"])
    t.until("the first has both locks", lambda: os.path.exists(words["has"]))
    waiter = Worker(hold_both, f"{t.b}/lock", words["second-has"], words["second-end"])
    time.sleep(1)
    t.check(not os.path.exists(words["second-has"]), "who waits has a lock that is held")
    began = time.monotonic()
    hurt(t, "kill", victim)
    if t.lab.settings.baseline:
        time.sleep(3)
        undo(t, "kill", victim)
    for root in (t.b, t.a):
        t.equal(Worker(can_have, f"{root}/lock").result(), [], "locks that can be had while both are held")
    t.say(f"both mounts were told that locks are held {time.monotonic() - began:.2f} s after {victim} was killed")
    if not t.lab.settings.baseline:
        undo(t, "kill", victim)
    t.until("the cluster is whole again", t.lab.is_whole, 180)
    t.spoil(lambda: open(words["end"], "w", encoding="utf-8").close())
    time.sleep(2)
    t.check(not os.path.exists(words["second-has"]), "who waits was given a lock that is held")
    open(words["end"], "w", encoding="utf-8").close()
    given = holder.result()
    t.until("who waited has both locks", lambda: os.path.exists(words["second-has"]), 90)
    t.say(f"who waited had them {time.monotonic() - given:.2f} s after they were given back")
    t.equal(Worker(can_have, f"{t.a}/lock").result(), [], "locks that can be had while the second has them")
    waiter.kill()
    t.until("the dead one's are free", lambda: Worker(can_have, f"{t.a}/lock").result() == ["flock", "fcntl"], 60)


@test("faults", data=False, failover=True)
def faults(t):
    """kill, cut and pause by turns of chance, mostly of the leader; what `rounds` runs"""
    rounds(t, list(KINDS), leader_only=False)
