"""Chunkservers that die and come back."""

import os

from .harness import content, flip, read, test, write


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


@test("chunkserver-kill", data=True, quick=True, seconds_max=1500)
def chunkserver_kill(t):
    """goal 2: all is readable and writable while a chunkserver is dead, and has two copies once it is back"""
    t.tool("mfssetgoal", "2", t.a)
    wanted = {}
    for number in range(12):
        wanted[f"before-{number}"] = content(number, 200_000 + number)
        write(f"{t.a}/before-{number}", wanted[f"before-{number}"])
    t.until("every file has two copies", lambda: all(copies(t, f"{t.a}/{name}") == [2] for name in wanted), 300)
    for host in ("c1", "c2") if t.options.long else ("c1",):
        with t.lab.locked():
            t.lab.kill(host, at_once=True)
        t.say(f"killed {host}; reading, writing and changing without it")
        for name, data in wanted.items():
            t.equal(read(f"{t.b}/{name}") == data, True, f"{name} without {host}")
        for number in range(6):
            name = f"without-{host}-{number}"
            wanted[name] = content(name, 150_000)
            write(f"{t.a}/{name}", wanted[name])
        for number in range(3):
            name = f"before-{number}"
            wanted[name] += f"added without {host}".encode()
            with open(f"{t.a}/{name}", "ab") as file:
                file.write(f"added without {host}".encode())
                os.fsync(file.fileno())
        with t.lab.locked():
            t.lab.start(host)
        t.until(
            "every file has two copies again", lambda: all(copies(t, f"{t.a}/{name}") == [2] for name in wanted), 900
        )
        for line in t.tool("mfscheckfile", f"{t.a}/before-0").splitlines()[1:]:
            t.say(f"mfscheckfile: {line.strip()}")
    t.spoil(lambda: flip(f"{t.a}/before-0"))
    for name, data in wanted.items():
        t.equal(read(f"{t.b}/{name}") == data, True, f"{name} at the end")
