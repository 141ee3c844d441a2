"""The mounts of a lab, each made by an unmodified mfsmount at one of its hosts.

Nothing here looks into a mount: one whose nodes are gone blocks whoever does.
"""

import hashlib
import json
import os
import subprocess
import time

from .errors import LabError
from .packages import find


def mount_types(path):
    """What is mounted at a path, the topmost last."""
    found = []
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            fields = line.split()
            if fields[4] == path:
                found.append(fields[fields.index("-") + 1])
    return found


class Mounts:
    """What is mounted, written down in `run/mounts.json`."""

    def __init__(self, lab):
        self.lab = lab
        self.file = lab.path("run", "mounts.json")

    def all(self):
        """Each as its path and what is known of it: host and process."""
        try:
            with open(self.file, encoding="utf-8") as file:
                return json.load(file)
        except FileNotFoundError:
            return {}

    def _save(self, mounts):
        os.makedirs(os.path.dirname(self.file), exist_ok=True)
        with open(self.file + ".new", "w", encoding="utf-8") as file:
            json.dump(mounts, file, indent=1)
        os.replace(self.file + ".new", self.file)

    def add(self, number, path, options=""):
        """Mounts at a path of this machine, from host u<number>; gives the path."""
        host = self.lab.host(f"u{number}")
        path = os.path.realpath(path)
        if len(path.split()) != 1:
            raise LabError(f"a mount point has no space in its name: '{path}'")
        if mount_types(path):
            raise LabError(f"something is mounted on {path} already")
        os.makedirs(path, exist_ok=True)
        if os.listdir(path):
            raise LabError(f"{path} is not empty")
        name = f"mount-{host}-{hashlib.sha256(path.encode()).hexdigest()[:8]}"
        self._save(self.all() | {path: {"host": host, "process": name}})
        # A shared mount point, so that what mfsmount mounts in its own mount namespace is seen here.
        subprocess.run(["mount", "--bind", path, path], check=True)
        subprocess.run(["mount", "--make-shared", path], check=True)
        # mfsnice: a mount on a machine of its own would not compete with the other hosts of the lab.
        words = ",".join(filter(None, ["mfsnice=0", options]))
        command = [find("mfsmount"), "-f", "-H", "mfsmaster", "-o", words, path]
        self.lab.processes.start(name, self.lab.command(host, command))
        deadline = time.monotonic() + 90
        while not any(kind.startswith("fuse") for kind in mount_types(path)):
            is_dead = self.lab.processes.pid(name) is None
            if is_dead or time.monotonic() > deadline:
                said = self.lab.processes.tail(name)
                self.remove(path)
                raise LabError(f"mfsmount {'ended' if is_dead else 'did not mount'} on {path}; it said:\n{said}")
            time.sleep(0.05)
        return path

    def remove(self, path):
        """Undoes it, whatever state it is in."""
        known = self.all()
        mount = known.get(path)
        if mount is None:
            raise LabError(f"{path} is no mount of lab {self.lab.name}; its mounts: {' '.join(known) or 'none'}")
        deadline = time.monotonic() + 60
        is_lazy = False
        while mount_types(path):
            command = ["umount", *(["-l"] if is_lazy else []), path]
            try:
                done = subprocess.run(command, capture_output=True, text=True, timeout=15, check=False)
                said = done.stderr.strip()
            except subprocess.TimeoutExpired:
                said = "it hangs"
            if mount_types(path) and time.monotonic() > deadline:
                raise LabError(f"cannot unmount {path}: {said}")
            # Busy, or its node is gone: it leaves the tree now, and ends with its process.
            is_lazy = True
        # It takes its leave of the cluster by itself, when there is one.
        self.lab.processes.stop(mount["process"], 5)
        known.pop(path)
        self._save(known)

    def remove_all(self):
        """Undoes all of them."""
        for path in list(self.all()):
            self.remove(path)

    def lines(self):
        """They as lines for people."""
        lines = []
        for path, mount in self.all().items():
            pid = self.lab.processes.pid(mount["process"])
            lines.append(f"mount {path} at {mount['host']}, process {pid or 'gone'}")
        return lines
