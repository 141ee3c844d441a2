"""MooseFS's own tools: snapshots, quotas, extra attributes, sums, what is copied from one to another."""

import errno
import os
import time

from .chunkservers import copies
from .harness import describe, difference, flip, opened, read, test, tree, write
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

def rows(said):
    """Lines of a tool as title and number: `chunks:  2`."""
    found = {}
    for line in said.splitlines():
        title, _, number = line.rpartition(":")
        if title and number.strip().isdigit():
            found.setdefault(title.strip(), []).append(int(number))
    return found


def attributes_of(t, name, mount=1):
    """The extra attributes of a file, by mfsgeteattr."""
    said = t.tool("mfsgeteattr", f"{t.a if mount == 1 else t.b}/{name}", mount=mount)
    return said.strip().rpartition(": ")[2]


@test("extra-attributes", data=False, quick=True)
def extra_attributes(t):
    """mfsseteattr, mfsdeleattr, mfscopyeattr: each is set, taken and copied, and forbids what it says"""
    os.makedirs(f"{t.a}/dir")
    for name in ["one", "two", "dir/in", "dir/more"]:
        make_empty(f"{t.a}/{name}")
    t.equal(attributes_of(t, "one"), "-", "attributes of a new file")
    t.tool("mfsseteattr", "-f", "noattrcache", "-f", "nodatacache", "-f", "snapshot", f"{t.a}/one")
    t.equal(attributes_of(t, "one", mount=2), "noattrcache,nodatacache,snapshot", "attributes that were set")
    said = t.tool("mfsseteattr", "-f", "noentrycache", f"{t.a}/one")
    t.check("not changed" in said, f"names are no matter of a file: {said}")
    t.tool("mfscopyeattr", f"{t.a}/one", f"{t.a}/two")
    t.equal(attributes_of(t, "two"), "noattrcache,nodatacache,snapshot", "attributes that were copied")
    t.tool("mfsdeleattr", "-f", "noattrcache", "-f", "snapshot", f"{t.a}/two")
    t.equal(attributes_of(t, "two"), "nodatacache", "what is left")
    t.tool("mfsseteattr", "-r", "-f", "noentrycache", "-f", "undeletable", f"{t.a}/dir")
    t.equal(attributes_of(t, "dir"), "noentrycache,undeletable", "attributes of a directory")
    t.equal(attributes_of(t, "dir/in"), "undeletable", "attributes of a file below it")
    counted = rows(t.tool("mfsgeteattr", "-r", "-n", f"{t.a}/dir"))
    wanted = {"undeletable": (2, 1), "noentrycache": (0, 1), "snapshot": (0, 0)}
    for name, numbers in wanted.items():
        found = [sum(counts) for title, counts in sorted(counted.items(), reverse=True) if title.split()[-1] == name]
        t.equal(tuple(found), numbers, f"files and directories with {name}")
    t.spoil(lambda: t.tool("mfsdeleattr", "-r", "-f", "undeletable", f"{t.a}/dir"))
    t.refused(errno.EPERM, "the removal of what is undeletable", lambda: os.unlink(f"{t.b}/dir/in"))
    t.tool("mfsdeleattr", "-r", "-f", "undeletable", f"{t.a}/dir")
    os.unlink(f"{t.b}/dir/in")
    t.tool("mfsseteattr", "-f", "appendonly", f"{t.a}/one")
    t.refused(errno.EPERM, "cutting what is append-only", lambda: os.truncate(f"{t.a}/one", 0))
    os.close(os.open(f"{t.a}/one", os.O_WRONLY | os.O_APPEND))
    t.tool("mfsseteattr", "-f", "immutable", f"{t.a}/two")
    t.refused(errno.EPERM, "another mode for what is immutable", lambda: os.chmod(f"{t.a}/two", 0o600))
    t.refused(errno.EPERM, "its removal", lambda: os.unlink(f"{t.a}/two"))
    t.tool("mfsdeleattr", "-f", "immutable", f"{t.a}/two")
    os.chmod(f"{t.a}/two", 0o600)


@test("snapshot-removal", data=False, quick=True)
def snapshot_removal(t):
    """mfsrmsnapshot removes a snapshot as a whole, and nothing that is none"""
    os.makedirs(f"{t.a}/tree/sub")
    for name in ["one", "sub/two"]:
        make_empty(f"{t.a}/tree/{name}")
    for name in ["copy", "other"]:
        t.tool("mfsmakesnapshot", f"{t.a}/tree", f"{t.a}/{name}")
    t.equal(attributes_of(t, "copy/sub/two"), "snapshot", "attributes of a file in a snapshot")
    t.tool("mfsrmsnapshot", f"{t.a}/tree", code=1)
    make_empty(f"{t.b}/copy/sub/own")
    t.spoil(lambda: os.unlink(f"{t.b}/copy/sub/own"))
    t.tool("mfsrmsnapshot", f"{t.a}/copy", code=1)
    t.equal(sorted(tree(f"{t.a}/copy")), ["one", "sub", "sub/own", "sub/two"], "a snapshot with a file of its own")
    t.tool("mfsrmsnapshot", "-f", f"{t.a}/copy")
    t.until("the own file is left", lambda: sorted(tree(f"{t.b}/copy")) == ["sub", "sub/own"])
    t.tool("mfsrmsnapshot", f"{t.a}/other")
    t.until("the other one is gone", lambda: not os.path.exists(f"{t.b}/other"))
    t.equal(sorted(tree(f"{t.a}/tree")), ["one", "sub", "sub/two"], "what they were made of")


@test("mfsdirinfo", data=True, quick=True)
def dirinfo(t):
    """mfsdirinfo, mfsfilepaths, mfsappendchunks: sums with and without repeats, paths, files of others' chunks"""
    chunk, block, header = 64 << 20, 65536, 8192
    os.makedirs(f"{t.a}/sub/deep")
    t.tool("mfssetgoal", "-r", "2", t.a)
    parts = {"one": b"a" * 100_000, "two": b"b" * 50_000}
    for name, data in parts.items():
        write(f"{t.a}/sub/{name}", data)
    make_empty(f"{t.a}/sub/deep/empty")
    os.link(f"{t.a}/sub/one", f"{t.a}/sub/deep/link")
    sizes = {"one": 2 * block + header, "two": block + header}
    t.until("it has two copies", lambda: copies(t, f"{t.a}/sub/one") == copies(t, f"{t.a}/sub/two") == [2], 120)

    def sums(inodes, directories, files, chunks, length, size):
        return {
            "inodes": inodes,
            "directories": directories,
            "files": files,
            "chunks": chunks,
            "length": length,
            "size": size,
            "realsize": 2 * size,
        }

    def told(*words):
        return rows(t.tool("mfsdirinfo", "-n", *words))

    def shown(wanted, more=None):
        return {title: [number] + ([more[title]] if more else []) for title, number in wanted.items()}

    all_of = sums(6, 2, 4, 3, 250_000, 2 * sizes["one"] + sizes["two"])
    once = sums(5, 2, 3, 2, 150_000, sizes["one"] + sizes["two"])
    t.until("the sums are known", lambda: told(f"{t.a}/sub") == shown(all_of), 10)
    t.equal(told("-p", f"{t.a}/sub"), shown(all_of, once), "sums, and what is there once")
    one = sums(1, 0, 1, 1, 100_000, sizes["one"])
    t.equal(told("-p", f"{t.a}/sub/one"), shown(one, one), "what a file is")

    paths = t.tool("mfsfilepaths", f"{t.b}/sub/one", mount=2).splitlines()[1:]
    wanted = [f"{t.directory}/sub/{name}" for name in ("deep/link", "one")]
    t.equal(paths, wanted, "the paths of a file with two names")
    number = str(os.stat(f"{t.a}/sub/one").st_ino)
    t.equal(t.tool("mfsfilepaths", number).splitlines(), [f"{number}:", *wanted], "the paths by its number")

    t.tool("mfsappendchunks", f"{t.a}/joined", f"{t.a}/sub/one", f"{t.a}/sub/two")
    t.tool("mfsappendchunks", f"{t.a}/joined", f"{t.a}/sub/deep/empty")
    t.tool("mfsappendchunks", "-s", "1:2", f"{t.a}/second", f"{t.a}/joined")
    t.spoil(lambda: flip(f"{t.a}/joined", chunk + 7))
    t.until("the other mount has both", lambda: os.path.exists(f"{t.b}/second"))
    with opened(f"{t.b}/joined", os.O_RDONLY) as file:
        t.equal(os.fstat(file).st_size, chunk + 50_000, "the length of two files, the second at a chunk of its own")
        t.equal(os.pread(file, chunk, 0)[:100_001] == parts["one"] + b"\0", True, "the first is as it was")
        t.equal(os.pread(file, chunk, chunk) == parts["two"], True, "so is the second")
    t.equal(read(f"{t.b}/second") == parts["two"], True, "a slice of one chunk")
    flip(f"{t.a}/second")
    t.equal(read(f"{t.b}/sub/two") == parts["two"], True, "whose chunks were taken is as it was")


@test("copied-settings", data=False, quick=True)
def copied_settings(t):
    """mfscopygoal, mfscopysclass, mfscopytrashtime, mfscopyquota, mfsxchgsclass: one's settings become another's"""
    name = f"copied-{os.getpid()}"
    t.tool("mfsscadmin", "create", "3", name)
    for entry in ["from", "to"]:
        os.mkdir(f"{t.a}/{entry}")
        make_empty(f"{t.a}/{entry}/file")

    def last(*command):
        return t.tool(*command, mount=2).strip().rpartition(": ")[2]

    t.tool("mfssetsclass", "-r", name, f"{t.a}/from")
    t.tool("mfscopysclass", f"{t.a}/from/file", f"{t.a}/to/file")
    t.equal(last("mfsgetsclass", f"{t.b}/to/file"), f"'{name}'", "a class that was copied")
    t.tool("mfsscadmin", "delete", name, code=1)
    t.tool("mfsxchgsclass", "-r", name, "4", f"{t.a}/to")
    t.equal(last("mfsgetgoal", f"{t.b}/to/file"), "4", "a class that was exchanged")
    t.tool("mfsxchgsclass", "-r", "9", "5", f"{t.a}/to")
    t.equal(last("mfsgetgoal", f"{t.b}/to/file"), "4", "one that is another stays")
    t.tool("mfssettrashtime", "-r", "7200", f"{t.a}/from")
    t.tool("mfscopytrashtime", f"{t.a}/from", f"{t.a}/to")
    t.equal(last("mfsgettrashtime", f"{t.b}/to"), "7200", "a trash time that was copied")
    t.tool("mfscopygoal", f"{t.a}/to/file", f"{t.a}/from/file")
    t.equal(last("mfsgetgoal", f"{t.b}/from/file"), "4", "a goal that was copied")
    t.tool("mfssetquota", "-i", "7", "-I", "9", "-L", "1Mi", "-p", "99", f"{t.a}/from")
    t.tool("mfscopyquota", f"{t.a}/from", f"{t.a}/to")
    t.spoil(lambda: t.tool("mfsdelquota", "-I", f"{t.a}/to"))
    said = t.tool("mfsgetquota", "-n", f"{t.b}/to", mount=2)
    wanted = [["1", "7", "9"], ["0", "-", "1048576"], ["0", "-", "-"], ["0", "-", "-"]]
    t.equal([[word.strip() for word in line.split("|")[1:4]] for line in said.splitlines()[1:]], wanted, "its quota")
    t.check("99 seconds" in said, f"the grace time that was copied: {said}")
    t.tool("mfsdelquota", "-a", "-A", f"{t.a}/to")
    t.tool("mfssetquota", "-I", "5", f"{t.a}/to")
    t.check("default" in t.tool("mfsgetquota", f"{t.b}/to", mount=2), "the grace time of a new quota is the default")
    t.tool("mfssetsclass", "-r", "2", t.a)
    t.tool("mfsscadmin", "delete", name)


@test("storage-classes", data=False, quick=True)
def storage_classes(t):
    """mfsscadmin: classes are made, changed, copied, renamed, listed and deleted; mfsgetsclass counts them"""
    one, other, third, own = (f"{what}-{os.getpid()}" for what in ("one", "other", "third", "own"))

    def listed(mount=1):
        lines = t.tool("mfsscadmin", "list", "-l", mount=mount, cwd=t.a if mount == 1 else t.b).splitlines()
        return {line.partition(" : ")[0]: line.partition(" : ")[2] for line in lines}

    before = listed()
    t.equal(sorted(before)[:9], [str(goal) for goal in range(1, 10)], "the classes that are always there")
    t.tool("mfsscadmin", "create", "-C", "A,*", "-K", "A,B+C", "-A", "[A+D]B", "-d", "3", one)
    t.tool("mfsscadmin", "create", "-m", "s", "-a", "1", "2Z", own)
    t.tool("mfsscadmin", "copy", one, other)
    labels = "create_labels: [A] , [*] ; keep_labels: [A] , [B+C]"
    archived = "arch_labels: [A*B+B*D] ; arch_delay: 3d"
    made = listed(mount=2)
    t.equal(made[other], made[one], "a class that was copied")
    t.check(made[one].startswith(f"2->2->1 ; admin_only: NO ; mode: STD ; {labels} ; arch_labels: "), f"is {made[one]}")
    t.check(made[one].endswith("; arch_delay: 3d"), f"{archived}: {made[one]}")
    strict = "2 ; admin_only: YES ; mode: STRICT ; create_labels: [Z] , [Z] ; keep_labels: [Z] , [Z]"
    t.equal(made[own], strict, "a class of administrators")
    t.tool("mfsscadmin", "modify", "-K", "3B", "-m", "l", other)
    t.tool("mfsscadmin", "rename", other, third)
    made = listed()
    t.check(other not in made, "the old name of a class")
    t.check("mode: LOOSE" in made[third] and "keep_labels: [B] , [B] , [B]" in made[third], f"changed: {made[third]}")
    os.mkdir(f"{t.a}/dir")
    make_empty(f"{t.a}/dir/file")
    t.tool("mfssetsclass", "-r", third, f"{t.a}/dir")
    make_empty(f"{t.a}/dir/inherits")
    said = rows(t.tool("mfsgetsclass", "-r", "-n", f"{t.b}/dir", mount=2))
    counts = {title.split()[0]: number for title, number in said.items() if third in title}
    t.spoil(lambda: t.tool("mfssetsclass", "-r", "2", f"{t.a}/dir"))
    t.equal(counts, {"files": [2], "directories": [1]}, f"what is of a class: {said}")
    t.tool("mfsscadmin", "delete", third, code=1)
    for command in [
        ["delete", "3"],
        ["modify", "-K", "2", "3"],
        ["create", "2", one],
        ["delete", other],
    ]:
        t.tool("mfsscadmin", *command, code=1)
    t.tool("mfssetsclass", f"no-{one}", f"{t.a}/dir/file", code=1)
    t.tool("mfssetsclass", "-r", "2", f"{t.a}/dir")
    for name in (one, third, own):
        t.tool("mfsscadmin", "delete", name)
    t.equal(listed(), before, "the classes at the end")


@test("soft-quotas", data=True, quick=True)
def soft_quotas(t):
    """mfssetquota -s -S -r -R -i: room that chunks and copies take; a soft limit is hard after its time"""
    chunk, header = 64 << 20, 8192
    # A new chunk has to fit as a whole.
    for name, option, limit in [("size", "-S", chunk + header), ("real", "-R", 2 * (chunk + header))]:
        os.mkdir(f"{t.a}/{name}")
        t.tool("mfssetgoal", "2", f"{t.a}/{name}")
        t.tool("mfssetquota", option, str(limit), f"{t.a}/{name}")
        write(f"{t.a}/{name}/first", b"first" * 1000)
        t.refused(errno.EDQUOT, f"{option}: a second chunk", lambda: write(f"{t.a}/{name}/second", b"second"))
        t.equal(read(f"{t.b}/{name}/first") == b"first" * 1000, True, f"{option}: the first")
        os.unlink(f"{t.a}/{name}/second")
        os.unlink(f"{t.a}/{name}/first")
        t.until(f"{option}: there is room again", lambda name=name: fits(f"{t.a}/{name}/third"), 20)
    os.mkdir(f"{t.a}/soft")
    t.tool("mfssetquota", "-i", "3", "-p", "4", f"{t.a}/soft")
    for number in range(5):
        make_empty(f"{t.a}/soft/{number}")
    t.spoil(lambda: t.tool("mfssetquota", "-i", "30", "-p", "4", f"{t.a}/soft"))
    t.until("its time is over", lambda: not fits(f"{t.b}/soft/{time.monotonic()}"), 30)
    t.equal(fits(f"{t.a}/soft/more"), False, "an entry more when the time is over")
    for name in os.listdir(f"{t.a}/soft")[2:]:
        os.unlink(f"{t.a}/soft/{name}")
    t.until("below the limit there is room again", lambda: fits(f"{t.a}/soft/again"), 20)


def fits(path):
    """Whether a small file can be written."""
    try:
        write(path, b"small")
    except OSError as error:
        if error.errno != errno.EDQUOT:
            raise
        return False
    return True
