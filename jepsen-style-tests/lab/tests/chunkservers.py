"""Chunkservers that die, and come back or do not."""

import os
import time

from moosefs_lab.network import address

from .harness import Skipped, content, flip, read, test, write


def copies(t, path):
    """How many copies each chunk of a file has, by mfsfileinfo."""
    counts = []
    for line in t.tool("mfsfileinfo", path).splitlines():
        words = line.split()
        if words[:1] == ["chunk"]:
            counts.append(0)
        elif words[:1] == ["copy"]:
            counts[-1] += "status:VALID" in line
    return counts


def chunks(t, path):
    """By index: the chunk's id as in the names of its files, and the hosts that have a copy."""
    hosts, found = {address(host): host for host in t.lab.hosts("c")}, {}
    for line in t.tool("mfsfileinfo", path).splitlines():
        words = line.split()
        if words[:1] == ["chunk"]:
            index = int(words[1].rstrip(":"))
            found[index] = (words[2].split("_")[0], [])
        elif words[:1] == ["copy"]:
            found[index][1].append(hosts[words[2].split(":")[0]])
    return found


@test("chunkserver-kill", data=True, quick=True)
def chunkserver_kill(t):
    """goal 2: all is readable and writable while a chunkserver is dead, and when it is back"""
    kill_and_return(t, ["c1"], has_to_heal=False)


@test("chunkserver-heal", data=True, seconds_max=2400)
def chunkserver_heal(t):
    """goal 2: every file has two good copies again once a chunkserver is back that had missed writes"""
    kill_and_return(t, ["c1", "c2"] if t.options.long else ["c1"], has_to_heal=True)


def kill_and_return(t, hosts, has_to_heal):
    """Files are written before and while a chunkserver is dead, added to, and read all the time."""
    t.tool("mfssetgoal", "2", t.a)
    wanted = {}
    for number in range(12):
        wanted[f"before-{number}"] = content(number, 200_000 + number)
        write(f"{t.a}/before-{number}", wanted[f"before-{number}"])
    t.until("every file has two copies", lambda: has_two(t, wanted), 120)
    for host in hosts:
        with t.lab.locked():
            t.lab.kill(host, at_once=True)
        t.say(f"killed {host}; reading, writing and adding without it")
        for name, data in wanted.items():
            t.equal(read(f"{t.b}/{name}") == data, True, f"{name} is as it was without {host}")
        for number in range(6):
            name = f"without-{host}-{number}"
            wanted[name] = content(name, 150_000)
            write(f"{t.a}/{name}", wanted[name])
        for number in range(6):
            name = f"before-{number}"
            wanted[name] += f"added without {host}".encode()
            with open(f"{t.a}/{name}", "ab") as file:
                file.write(f"added without {host}".encode())
                os.fsync(file.fileno())
        with t.lab.locked():
            t.lab.start(host)
        began = time.monotonic()
        if has_to_heal:
            t.until("every file has two good copies again", lambda: has_two(t, wanted), 1100)
            t.say(f"every file has two good copies again, {time.monotonic() - began:.0f} s after {host} was started")
    t.spoil(lambda: flip(f"{t.a}/before-0"))
    for name, data in wanted.items():
        t.equal(read(f"{t.b}/{name}") == data, True, f"{name} is as it was at the end")
    for line in t.tool("mfscheckfile", f"{t.a}/before-0").splitlines()[1:]:
        t.say(f"mfscheckfile: {line.strip()}")


def has_two(t, names):
    """Whether every chunk of all files has two good copies."""
    return all(copies(t, f"{t.a}/{name}") == [2] for name in names)


def listed(t):
    """The chunkservers of `mfsha-admin chunkserver list` by their hosts."""
    answer = t.lab.admin("chunkserver", "list")
    t.check(answer is not None, "`chunkserver list` was not answered")
    hosts = {address(host): host for host in t.lab.hosts("c")}
    return {hosts[it["address"].split(":")[0]]: it for it in answer["chunkservers"]}


@test("chunkserver-forget", data=True, seconds_max=2400)
def chunkserver_forget(t):
    """mfsha-admin chunkserver: maintenance and forget; what a dead one had is copied anew, and it is a new one later"""
    if t.lab.settings.baseline:
        raise Skipped("mfsha-admin is mfsha's")
    t.tool("mfssetgoal", "2", t.a)
    wanted = {f"file-{number}": content(number, 150_000 + number) for number in range(12)}
    for name, data in wanted.items():
        write(f"{t.a}/{name}", data)
    t.until("every file has two copies", lambda: has_two(t, wanted), 120)
    (_, (victim, _)) = chunks(t, f"{t.a}/file-0")[0]
    others = sorted(set(t.lab.hosts("c")) - {victim})
    number = str(listed(t)[victim]["id"])
    t.check(t.lab.admin("chunkserver", "forget", number) is None, "one that is connected was removed")
    t.check(t.lab.admin("chunkserver", "maintenance", number, "on") is not None, "maintenance was not switched on")
    t.equal(listed(t)[victim]["maintenance"], True, "its maintenance")
    t.check(t.lab.admin("chunkserver", "maintenance", number, "off") is not None, "maintenance was not switched off")
    t.equal(listed(t)[victim]["maintenance"], False, "its maintenance")
    with t.lab.locked():
        t.lab.kill(victim, at_once=True)
    t.until("it is seen to be gone", lambda: listed(t)[victim]["node"] is None)
    t.until("a file lacks its copy", lambda: not has_two(t, wanted))
    t.spoil(lambda: (t.lab.start(victim), t.until("it is back", lambda: listed(t)[victim]["node"] is not None)))
    t.check(t.lab.admin("chunkserver", "forget", number) is not None, "one that is gone was not removed")
    t.equal(sorted(listed(t)), others, "who is listed")
    t.until("every file has two copies among those that are left", lambda: has_two(t, wanted), 1100)
    for name, data in wanted.items():
        t.equal(read(f"{t.b}/{name}") == data, True, f"{name} is as it was")
    with t.lab.locked():
        t.lab.start(victim)
    t.until("it has registered again", lambda: victim in listed(t) and listed(t)[victim]["node"] is not None, 120)
    t.until("what is too much is deleted again", lambda: has_two(t, wanted), 1100)


@test("chunkserver-absence", data=True, seconds_max=900)
def chunkserver_absence(t):
    """goal 2: one that was stopped in order is waited for; what one that died had is copied to others"""
    if t.lab.settings.baseline:
        raise Skipped("mfsmaster waits for other times")
    t.tool("mfssetgoal", "2", t.a)
    wanted = {f"file-{number}": content(number, 150_000 + number) for number in range(12)}
    for name, data in wanted.items():
        write(f"{t.a}/{name}", data)
    t.until("every file has two copies", lambda: has_two(t, wanted), 120)
    (_, (victim, _)) = chunks(t, f"{t.a}/file-0")[0]
    number = str(listed(t)[victim]["id"])
    with t.lab.locked():
        t.lab.kill(victim, at_once=False)
    t.until("it is seen to be gone", lambda: listed(t)[victim]["node"] is None)
    t.until("a file lacks its copy", lambda: not has_two(t, wanted))
    t.spoil(lambda: t.lab.admin("chunkserver", "forget", number))
    # What is not stopped in order is waited for 60 s, and the next look is 10 s later at the most.
    end = time.monotonic() + 100
    while time.monotonic() < end:
        t.check(not has_two(t, wanted), "copies were made though it said that it stops")
        time.sleep(2)
    t.say("stopped in order: nothing was copied for 100 s")
    with t.lab.locked():
        t.lab.start(victim)
    t.until("every file has two copies again", lambda: has_two(t, wanted), 120)
    with t.lab.locked():
        t.lab.kill(victim, at_once=True)
    began = time.monotonic()
    t.until("a file lacks its copy", lambda: not has_two(t, wanted))
    t.until("every file has two copies among those that are left", lambda: has_two(t, wanted), 300)
    t.say(f"died: every file had two copies among the others after {time.monotonic() - began:.0f} s")
    for name, data in wanted.items():
        t.equal(read(f"{t.b}/{name}") == data, True, f"{name} is as it was")
    with t.lab.locked():
        t.lab.start(victim)
    t.until("what is too much is deleted again", lambda: has_two(t, wanted), 300)
