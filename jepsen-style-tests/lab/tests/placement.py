"""Where copies lie, and what makes them move: labels, disks that shall be emptied, damage, absence, maintenance."""

import collections
import contextlib
import errno
import glob
import os
import random
import shutil
import signal
import time

from moosefs_lab.network import address

from .chunkservers import chunks, copies
from .harness import FORK, Failed, Skipped, Worker, content, digest, flip, opened, read, test, write
from .monitor import show

# A pass over all chunks takes five minutes at an mfsmaster as it comes.
PASSES_SECONDS = 1100


def where(t, name):
    """The hosts of a file's first chunk; those that shall be emptied are not among them."""
    hosts, found = {address(host): host for host in t.lab.hosts("c")}, []
    for line in t.tool("mfsfileinfo", f"{t.a}/{name}").splitlines():
        words = line.split()
        if words[:1] == ["copy"] and "status:VALID" in line:
            found.append(hosts[words[2].split(":")[0]])
    return sorted(found)


def reload(t, host, name, change):
    """Changes a file of a chunkserver's configuration and lets it read that."""
    path = t.lab.path(host, name)
    text = change(read(path).decode())
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.kill(t.lab.processes.require(host), signal.SIGHUP)


def with_labels(t, host, labels):
    """Gives a running chunkserver these labels."""
    own = "".join(f"LABELS = {labels}\n" for _ in range(1 if labels else 0))

    def change(text):
        return "".join(line for line in text.splitlines(True) if not line.startswith("LABELS")) + own

    reload(t, host, "mfschunkserver.cfg", change)
    t.until(f"{host} has the labels '{labels}'", lambda: labels_of(t).get(host) == (labels or "-"), 30)


def labels_of(t):
    """By host: the labels that mfscli shows."""
    hosts = {address(host): host for host in t.lab.hosts("c")}
    return {hosts.get(line[0], line[0]): line[3] for line in show(t, "SCS")}


@contextlib.contextmanager
def labelled(t, labels):
    """Chunkservers with labels; afterwards without."""
    try:
        for host, own in labels.items():
            with_labels(t, host, own)
        yield
    finally:
        for host in labels:
            if t.lab.processes.pid(host) is not None:
                reload(t, host, "mfschunkserver.cfg", lambda text: text.replace("LABELS", "# LABELS"))


def make(t, names, size=150_000):
    """Files with what they hold."""
    wanted = {name: content(name, size + number) for number, name in enumerate(names)}
    for name, data in wanted.items():
        write(f"{t.a}/{name}", data)
    return wanted


def compare(t, wanted, when):
    """Looks at all of them from the other mount."""
    for name, data in wanted.items():
        t.equal(read(f"{t.b}/{name}") == data, True, f"{name} is as it was {when}")


def all_at(t, names, hosts):
    """Whether the copies of all files are at these hosts and nowhere else."""
    return all(where(t, name) == hosts for name in names)


def write_in_vain(path):
    """The error that a file has that cannot be written, by its name."""
    try:
        write(path, b"somewhere")
    except OSError as error:
        return errno.errorcode[error.errno]
    return None


@test("labels", data=True, seconds_max=3000)
def labels(t):
    """LABELS, mfsscadmin: copies are made where a class says, and move when the class, its labels or a server's change"""
    name, other, strict = (f"{what}-{os.getpid()}" for what in ("labels", "other", "strict"))
    with labelled(t, {"c1": "A", "c2": "B", "c3": "B,C"}):
        t.tool("mfsscadmin", "create", "-C", "A,C", "-K", "A,BC", "-A", "C", "-d", "30", name)
        t.tool("mfsscadmin", "create", "2AB", other)
        t.tool("mfsscadmin", "create", "-m", "s", "Z,Z", strict)
        os.mkdir(f"{t.a}/strict")
        t.tool("mfssetsclass", strict, f"{t.a}/strict")
        # mfsmount tries for two minutes.
        in_vain = Worker(write_in_vain, f"{t.a}/strict/file")
        os.mkdir(f"{t.a}/dir")
        t.tool("mfssetsclass", name, f"{t.a}/dir")
        wanted = make(t, [f"dir/{number}" for number in range(8)])
        t.equal([where(t, entry) for entry in wanted], [["c1", "c3"]] * 8, "where a new file of A,C is")
        t.tool("mfsscadmin", "modify", "-K", "B,B", name)
        began = time.monotonic()
        t.until("the class says B,B: they move", lambda: all_at(t, wanted, ["c2", "c3"]), PASSES_SECONDS)
        t.say(f"all had moved {time.monotonic() - began:.0f} s after the class was changed")
        compare(t, wanted, "after the class was changed")
        wanted |= make(t, ["dir/late"])
        if not t.lab.settings.baseline:
            # mfsmaster moves it to where the keep list says as soon as it is written.
            t.equal(where(t, "dir/late"), ["c1", "c3"], "where a file is made: by the create list")
        t.until("it moves by the keep list", lambda: where(t, "dir/late") == ["c2", "c3"], PASSES_SECONDS)
        t.tool("mfssetarchive", f"{t.a}/dir")
        t.until("archived: only C", lambda: all_at(t, wanted, ["c3"]), PASSES_SECONDS)
        t.tool("mfsclrarchive", f"{t.a}/dir")
        t.until("not archived: B,B", lambda: all_at(t, wanted, ["c2", "c3"]), PASSES_SECONDS)
        with_labels(t, "c1", "B")
        with_labels(t, "c2", "A")
        t.until("labels were exchanged: they move", lambda: all_at(t, wanted, ["c1", "c3"]), PASSES_SECONDS)
        t.spoil(lambda: flip(f"{t.a}/dir/3", 77))
        compare(t, wanted, "after the servers' labels were changed")
        # Nobody has both A and B: any will do.
        t.tool("mfssetsclass", "-r", other, f"{t.a}/dir")
        time.sleep(3)
        wanted |= make(t, ["dir/any"])
        t.equal(len(where(t, "dir/any")), 2, "copies of a file whose labels nobody has")
        compare(t, wanted, "when nobody has the labels")
        t.equal(in_vain.result(), "ENOSPC", "writing a file of a strict class that nobody fits")
        t.tool("mfssetsclass", "-r", "2", t.a)
        for made in (name, other, strict):
            t.tool("mfsscadmin", "delete", made)


def move_one(t, name, data):
    """Damage: a file is made anew where it does not belong."""
    above = os.path.dirname(f"{t.a}/{name}")
    t.tool("mfssetsclass", "1", above)
    os.unlink(f"{t.a}/{name}")
    write(f"{t.a}/{name}", data)


@test("labels-at-once", data=True, quick=True)
def labels_at_once(t):
    """new files lie where the labels of their class are; where nobody has them, anywhere"""
    name, none = f"at-once-{os.getpid()}", f"none-{os.getpid()}"
    with labelled(t, {"c1": "A", "c2": "B", "c3": "B"}):
        t.tool("mfsscadmin", "create", "B,B", name)
        os.mkdir(f"{t.a}/dir")
        t.tool("mfssetsclass", name, f"{t.a}/dir")
        wanted = make(t, [f"dir/{number}" for number in range(4)])
        t.spoil(lambda: move_one(t, "dir/2", wanted["dir/2"]))
        t.equal([where(t, entry) for entry in wanted], [["c2", "c3"]] * 4, "where files of B,B are")
        t.tool("mfsscadmin", "create", "Z,Z", none)
        os.mkdir(f"{t.a}/none")
        t.tool("mfssetsclass", none, f"{t.a}/none")
        wanted |= make(t, ["none/file"])
        t.check(len(where(t, "none/file")) >= 2, "copies of a file whose labels nobody has")
        compare(t, wanted, "at the other mount")
        t.tool("mfssetsclass", "-r", "2", t.a)
        for made in (name, none):
            t.tool("mfsscadmin", "delete", made)


# A chunkserver that is emptied, damaged, gone.


def marked(t, host):
    """The state that mfscli shows of a host's disk."""
    lines = [line for line in show(t, "SHD") if line[0].startswith((f"{host}:", f"{address(host)}:"))]
    return " ".join(lines[0][2:4]) if lines else ""


def ten_read_all_the_time(t):
    """Ten files of two copies with somebody who reads them: the files, a host with copies, the others, the reader."""
    t.tool("mfssetgoal", "2", t.a)
    wanted = make(t, [f"file-{number}" for number in range(10)])
    t.until("every file has two copies", lambda: all(len(where(t, name)) == 2 for name in wanted), 120)
    victim = where(t, "file-0")[0]
    others = sorted(set(t.lab.hosts("c")) - {victim})
    return wanted, victim, others, *start_reader(t, wanted)


@test("disk-removal", data=True, seconds_max=2400)
def disk_removal(t):
    """`*` in mfshdd.cfg: all that is on the disk is copied to others, and can be read all the time"""
    wanted, victim, others, stop, reader = ten_read_all_the_time(t)
    try:
        reload(t, victim, "mfshdd.cfg", lambda text: f"*{text}")
        t.until("mfscli shows it", lambda: "marked for removal" in marked(t, victim), 60)
        began = time.monotonic()
        t.until("all copies are elsewhere", lambda: all_at(t, wanted, others), PASSES_SECONDS)
        t.say(f"it could be removed {time.monotonic() - began:.0f} s after it was marked")
        wanted |= make(t, ["late"])
        t.equal(where(t, "late"), others, "where a new file is")
        said = t.tool("mfsfileinfo", f"{t.a}/file-0")
        t.spoil(lambda: flip(f"{t.a}/file-0"))
        stop.set()
        say_reads(t, reader)
        compare(t, wanted, "while the disk was emptied")
        t.say(said.splitlines()[-1].strip())
    finally:
        stop.set()
        reload(t, victim, "mfshdd.cfg", lambda text: text.lstrip("*"))
    t.until("it is in use again", lambda: "marked" not in marked(t, victim), 60)
    t.until("what is too much is deleted", lambda: all(len(where(t, name)) == 2 for name in wanted), PASSES_SECONDS)
    compare(t, wanted, "at the end")


def read_cold(path):
    """A whole file, from chunkservers: the kernel keeps nothing of it."""
    with opened(path, os.O_RDONLY) as file:
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        found = os.pread(file, 1 << 24, 0)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        return found


def keep_reading(above, wanted, stop):
    """Reads files again and again; how many reads, and how long the longest took."""
    count, longest, names = 0, 0.0, sorted(wanted)
    chance = random.Random(1)
    while not stop.is_set():
        name = chance.choice(names)
        began = time.monotonic()
        found = read_cold(f"{above}/{name}")
        longest = max(longest, time.monotonic() - began)
        if found != wanted[name]:
            raise Failed(f"{name}: {len(found)} bytes that were not written")
        count += 1
        time.sleep(0.01)
    return count, longest


def start_reader(t, wanted):
    """A reader at the other mount, and what ends it."""
    stop = FORK.Event()
    return stop, Worker(keep_reading, t.b, wanted, stop)


def say_reads(t, reader):
    """What it came to; an error that it saw fails the test."""
    count, longest = reader.result()
    t.check(count > 10, f"only {count} reads")
    t.say(f"{count} reads, the longest {longest:.2f} s")


@test("undergoal", data=True, seconds_max=2400)
def undergoal(t):
    """goal 2, a chunkserver is killed: the third takes the copies, and every file can be read all the time"""
    wanted, victim, others, stop, reader = ten_read_all_the_time(t)
    try:
        with t.lab.locked():
            t.lab.kill(victim, at_once=True)
        began = time.monotonic()
        t.until("a file lacks its copy", lambda: not all(len(where(t, name)) == 2 for name in wanted))
        t.until("every file has two copies among the others", lambda: all_at(t, wanted, others), PASSES_SECONDS)
        t.say(f"every file had two copies among the others {time.monotonic() - began:.0f} s after it was killed")
        t.spoil(lambda: flip(f"{t.a}/file-1"))
        time.sleep(1)
        stop.set()
        say_reads(t, reader)
    finally:
        stop.set()
    compare(t, wanted, "without it")
    with t.lab.locked():
        t.lab.start(victim)
    t.until("it is there", lambda: victim_is_back(t, victim), 120)
    t.until("what is too much is deleted", lambda: all(len(where(t, name)) == 2 for name in wanted), PASSES_SECONDS)
    compare(t, wanted, "when it was back")


def victim_is_back(t, host):
    """Whether mfscli shows it as connected."""
    lines = [line for line in show(t, "SCS") if line[0] in (host, address(host))]
    return bool(lines) and len(lines[0]) > 8


def files_of(t, host, chunk):
    """The files of a chunk on a chunkserver's disk."""
    return glob.glob(f"{t.lab.path(host)}/disk/*/chunk_{chunk}_*.mfs")


@test("damaged-copy", data=True, seconds_max=2400)
def damaged_copy(t):
    """a byte of a copy is another one on disk: the file reads right, and the copy is made anew"""
    t.tool("mfssetgoal", "2", t.a)
    wanted = make(t, ["file", "beside"])
    t.until("it has two copies", lambda: copies(t, f"{t.a}/file") == [2], 120)
    chunk, hosts = chunks(t, f"{t.a}/file")[0]
    victim = hosts[0]
    (path,) = files_of(t, victim, chunk)
    at = read(path).index(wanted["file"][:64]) + 1000
    flip(path, at)
    damaged = os.stat(path).st_ino
    began = time.monotonic()

    def is_noticed():
        for _ in range(20):
            t.equal(read_cold(f"{t.b}/file") == wanted["file"], True, "what is read of a file with a damaged copy")
        found = [file for host in t.lab.hosts("c") for file in files_of(t, host, chunk)]
        return all(os.stat(file).st_ino != damaged for file in found)

    t.until("the damaged copy is gone", is_noticed, 600)
    t.until("it has two good copies", lambda: copies(t, f"{t.a}/file") == [2], 600)
    t.say(f"two good copies again after {time.monotonic() - began:.0f} s")
    t.spoil(lambda: flip(f"{t.a}/beside"))
    for host in chunks(t, f"{t.a}/file")[0][1]:
        (path,) = files_of(t, host, chunk)
        t.check(wanted["file"] in read(path), f"the copy at {host} holds what was written")
    compare(t, wanted, "at the end")


@test("maintenance", data=True, seconds_max=2400)
def maintenance(t):
    """a chunkserver in maintenance dies: nothing is copied as long as it is on, and all that it had once it is off"""
    t.tool("mfssetgoal", "2", t.a)
    wanted = make(t, [f"file-{number}" for number in range(10)])
    t.until("every file has two copies", lambda: all(len(where(t, name)) == 2 for name in wanted), 120)
    victim = where(t, "file-0")[0]
    others = sorted(set(t.lab.hosts("c")) - {victim})
    had = {name for name in wanted if victim in where(t, name)}
    t.check(had, "it has copies")
    switch(t, victim, True)
    with t.lab.locked():
        t.lab.kill(victim, at_once=True)
    t.until("its copies are not there", lambda: all(len(where(t, name)) == 1 for name in had))
    t.spoil(lambda: switch(t, victim, False))
    # Longer than copying takes that is not held back: 70 s at mfsha, at once or a pass at mfsmaster.
    end = time.monotonic() + 100
    while time.monotonic() < end:
        t.equal([name for name in had if len(where(t, name)) != 1], [], "files that were copied in maintenance")
        time.sleep(2)
    compare(t, wanted, "in maintenance")
    switch(t, victim, False)
    began = time.monotonic()
    t.until("every file has two copies among the others", lambda: all_at(t, wanted, others), PASSES_SECONDS)
    t.say(f"every file had two copies {time.monotonic() - began:.0f} s after maintenance was over")
    with t.lab.locked():
        t.lab.start(victim)
    t.until("it is there", lambda: victim_is_back(t, victim), 120)
    compare(t, wanted, "at the end")


def switch(t, host, is_on):
    """Maintenance of a chunkserver: by mfsha's own tool where it is mfsha, and off by mfscli."""
    servers = t.lab.admin("chunkserver", "list") if is_on and not t.lab.settings.baseline else None
    if servers:
        (number,) = [str(it["id"]) for it in servers["chunkservers"] if it["address"].split(":")[0] == address(host)]
        t.check(t.lab.admin("chunkserver", "maintenance", number, "on") is not None, "it was not switched on")
    else:
        masters = ",".join(address(node) for node in t.lab.hosts("n"))
        t.tool("mfscli", "-H", masters, f"-CM{1 if is_on else 0}/{address(host)}/9422")
    word = "maintenance_on" if is_on else "maintenance_off"

    def is_shown():
        lines = [line for line in show(t, "SCS") if line[0] in (host, address(host))]
        return bool(lines) and word in lines[0]

    t.until(f"{word} is shown", is_shown, 30)


# A state that is older than the chunks.


def all_nodes(t, act):
    """Ends all nodes, does something with their directories, and starts them again."""
    began = time.monotonic()
    with t.lab.locked():
        for host in t.lab.hosts("n"):
            t.lab.kill(host, at_once=False)
        act()
        for host in t.lab.hosts("n"):
            t.lab.start(host)
    t.until("the cluster is whole again", t.lab.is_whole, 180)
    t.say(f"all nodes were away for {time.monotonic() - began:.0f} s")


def swap(t, taken, given):
    """Puts aside the nodes' data, and gives them what was put aside before; None: they keep a copy."""
    for host in t.lab.hosts("n"):
        data = t.lab.path(host, "data")
        if given is None:
            shutil.copytree(data, f"{t.scratch}/{taken}-{host}")
        else:
            os.rename(data, f"{t.scratch}/{taken}-{host}")
            shutil.copytree(f"{t.scratch}/{given}-{host}", data)


def chunk_files(t):
    """All chunk files of all chunkservers: host and name, with the checksum of what is in them."""
    found = {}
    for host in t.lab.hosts("c"):
        for path in glob.glob(f"{t.lab.path(host)}/disk/*/chunk_*.mfs"):
            found[host, os.path.basename(path)] = digest(path)
    return found


@test("old-state", data=True, seconds_max=900)
def old_state(t):
    """all nodes go back to an earlier state, as from a backup: no newer copy is deleted or changed by it"""
    if t.lab.settings.baseline:
        raise Skipped("mfsmaster deletes what it does not know")
    t.tool("mfssetgoal", "2", t.a)
    early = make(t, [f"early-{number}" for number in range(6)])
    t.until("every file has two copies", lambda: all(len(where(t, name)) == 2 for name in early), 120)
    all_nodes(t, lambda: swap(t, "early", None))
    t.until("a mount works", lambda: os.path.exists(f"{t.a}/early-0"), 120)
    newer = dict(early)
    # A new version: the chunks' first writing under another leader.
    for name in ["early-0", "early-1"]:
        newer[name] = content(f"{name} later", 160_000)
        write(f"{t.a}/{name}", newer[name], os.O_WRONLY)
    newer |= make(t, [f"late-{number}" for number in range(6)])
    t.until("every file has two copies", lambda: all(len(where(t, name)) == 2 for name in newer), 120)
    time.sleep(2)
    before = chunk_files(t)
    holders = {name: chunks(t, f"{t.a}/{name}") for name in newer}
    all_nodes(t, lambda: swap(t, "newest", "early"))
    began = time.monotonic()
    t.until("the old names are there alone", lambda: sorted(os.listdir(t.b)) == sorted(early), 120)
    # At once, while chunkservers are still to come: their chunks must not be taken for those of the later ones.
    mine = {f"mine-{number}": content(f"mine-{number}", 90_000) for number in range(4)}
    for name, data in mine.items():
        write(f"{t.a}/{name}", data)
    t.until("every chunkserver has named its copies", lambda: all_have_named(t, before), 60)
    t.equal(read(f"{t.b}/early-5") == early["early-5"], True, "a file that has not changed since")
    compare(t, mine, "made in the old state")
    # Upkeep waits for a minute, and then looks at every chunk every ten seconds.
    time.sleep(max(0, 100 - (time.monotonic() - began)))
    t.spoil(lambda: destroy_one(t, before))
    after = chunk_files(t)
    whose = {f"{chunk}@{host}": name for name in newer for chunk, hosts in holders[name].values() for host in hosts}
    gone = [(entry, whose.get(f"{entry[1].split('_')[1]}@{entry[0]}")) for entry in before if entry not in after]
    t.equal(gone, [], "copies that are gone, each with its file")
    changed = [entry for entry in before if after[entry] != before[entry]]
    t.equal(changed, [], "copies that have changed")
    t.say(f"{len(before)} copies are as they were, {len(after) - len(before)} are new")
    all_nodes(t, lambda: swap(t, "old", "newest"))
    t.until("the newest names are there", lambda: sorted(os.listdir(t.b)) == sorted(newer), 120)
    compare(t, newer, "with the newest state again")


def all_have_named(t, before):
    """Whether mfscli shows every chunkserver with all its copies."""
    shown = {line[0]: line for line in show(t, "SCS")}
    counts = collections.Counter(host for host, _ in before)
    found = {host: shown.get(host) or shown.get(address(host)) for host in t.lab.hosts("c")}
    return all(line is not None and len(line) > 8 and int(line[7]) >= counts[host] for host, line in found.items())


def destroy_one(t, before):
    """Damage: one copy is gone."""
    host, name = sorted(before)[0]
    (path,) = glob.glob(f"{t.lab.path(host)}/disk/*/{name}")
    os.unlink(path)
