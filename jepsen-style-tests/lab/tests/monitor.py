"""What operators see with mfscli: the same at mfsha as at the real master."""

import os

from moosefs_lab.network import address

from .harness import content, test, write


def show(t, option, nodes=None):
    """The lines of one option of mfscli, each as its columns behind the title."""
    masters = ",".join(address(host) for host in nodes or t.lab.hosts("n"))
    said = t.tool("mfscli", "-s", "|", "-H", masters, f"-{option}")
    lines = [line for line in said.splitlines() if line.strip()]
    return [line.partition(":|")[2].split("|") for line in lines if ":|" in line]


def whole(t):
    """Directories and files that have a name, and files in the trash."""
    found = {line[0]: line[1] for line in show(t, "SIG")}
    files, trash, sustained = (int(found[title]) for title in ["files", "trash files", "sustained files"])
    # Files without a name are files to a master. Those in the trash may be counted late.
    return int(found["directories"]), files - trash - sustained, trash


@test("mfscli", data=True, quick=True)
def mfscli(t):
    """mfscli shows chunkservers, mounts, open files, quotas, classes and where copies are"""
    directories, files, _ = whole(t)
    os.mkdir(f"{t.a}/sub")
    t.tool("mfssetgoal", "3", f"{t.a}/sub")
    for number in range(4):
        write(f"{t.a}/sub/{number}", content(number, 70_000))
    t.tool("mfssetquota", "-I", "50", f"{t.a}/sub")
    os.unlink(f"{t.a}/sub/3")
    t.spoil(lambda: os.mkdir(f"{t.a}/another"))
    t.until("directories and files", lambda: whole(t)[:2] == (directories + 1, files + 3), 90)
    t.until("a file in the trash", lambda: whole(t)[2] > 0, 90)

    servers = {line[0]: line for line in show(t, "SCS")}
    t.equal(len(servers), len(t.lab.hosts("c")), "chunkservers")
    t.check(all(int(line[8]) > 0 for line in servers.values()), f"chunkservers use space: {servers}")
    mounts = show(t, "SMS")
    points = {line[2] for line in mounts}
    t.check({t.lab.mount_point(1), t.lab.mount_point(2)} <= points, f"both mounts are sessions: {mounts}")

    with open(f"{t.a}/sub/1", "rb") as file:
        inode = os.fstat(file.fileno()).st_ino
        path = f"{t.directory}/sub/1"
        is_open = lambda: any(line[-2:] == [str(inode), path] for line in show(t, "SOF"))
        t.until("an open file with its path", is_open, 30)
    quota = next((line for line in show(t, "SQU") if line[0] == f"/{t.directory}/sub"), None)
    t.check(quota is not None and "50" in quota, f"the quota of the directory: {show(t, 'SQU')}")
    names = [line[1] for line in show(t, "SSC")]
    t.equal(names[:9], [str(goal) for goal in range(1, 10)], "storage classes")

    def at_goal_three():
        matrix = [line[1:] for line in show(t, "SIC") if line[0] == "goal/copies/chunks:"]
        return any(line[:2] == ["3", "3"] for line in matrix)

    t.until("chunks of goal 3 with three copies", at_goal_three, 240)
    exports = show(t, "SEX")
    t.check(any(line[2] == "/" for line in exports), f"the exports: {exports}")


@test("mfscli-commands", data=True)
def mfscli_commands(t):
    """mfscli takes a chunkserver into maintenance and back; a mount that is there cannot be removed"""
    host = t.lab.hosts("c")[0]

    def maintenance():
        lines = [line for line in show(t, "SCS") if line[0] in (host, address(host))]
        return [line[6] for line in lines]

    masters = ",".join(address(node) for node in t.lab.hosts("n"))
    for order, wanted in [("CM1", "maintenance_on"), ("CM0", "maintenance_off")]:
        t.tool("mfscli", "-H", masters, f"-{order}/{address(host)}/9422")
        t.until(f"{wanted} is shown", lambda wanted=wanted: wanted in str(maintenance()), 20)
    t.spoil(lambda: t.tool("mfscli", "-H", masters, f"-CM1/{address(host)}/9422"))
    t.equal(maintenance(), ["maintenance_off"], "what is shown at the end")
    session = next(line[0] for line in show(t, "SMS") if line[2] == t.lab.mount_point(1))
    said = t.tool("mfscli", "-H", masters, f"-CRS/{session}")
    t.check("active" in said, f"a session that is there cannot be removed: {said}")
    t.check(any(line[0] == session for line in show(t, "SMS")), "the session of a mount is still there")


@test("mfscli-failover", data=False, failover=True)
def mfscli_failover(t):
    """mfscli names the leader and the followers, and after a failover the new ones"""
    states = lambda: sorted(line[2].split()[0] for line in show(t, "SIM", t.lab.hosts("n")))
    t.equal(states(), sorted(["LEADER"] + ["FOLLOWER"] * (len(t.lab.hosts("n")) - 1)), "states")
    leader = t.lab.leader()
    with t.lab.locked():
        t.lab.kill(leader, at_once=True)
    left = [host for host in t.lab.hosts("n") if host != leader]
    found = lambda: sorted(line[2].split()[0] for line in show(t, "SIM", left))
    t.until("another leads and is shown", lambda: found()[-1:] == ["LEADER"], 60)
    t.check(len(found()) == len(left), f"those that are left are shown: {found()}")
    with t.lab.locked():
        t.lab.start(leader)
        t.spoil(lambda: t.lab.kill(left[0], at_once=True))
    t.until("all are shown", lambda: len([state for state in states() if state in ("LEADER", "FOLLOWER")]) == 3, 60)
