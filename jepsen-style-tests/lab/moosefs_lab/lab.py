"""A lab: which hosts there are, what runs on them, and how all of it comes and goes.

What is written down: `/run/mfs-labs/NAME` says where a lab's directory is, `lab.json` in that directory
how it was brought up and what is mounted, `run/` which processes it started.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from . import daemons, packages
from .errors import LabError, Unavailable
from .mounts import Mounts
from .network import Network, address
from .processes import Processes, is_stopped, signal_all

REGISTRY = "/run/mfs-labs"
METADATA_PORT = 9421
CHUNKSERVER_PORT = 9420


@dataclasses.dataclass
class Settings:
    """How a lab is brought up."""

    baseline: bool = False
    nodes: int = 3
    chunkservers: int = 3
    mounts: int = 2
    bin_dir: str = ""
    node_keys: list = dataclasses.field(default_factory=list)
    chunkserver_keys: list = dataclasses.field(default_factory=list)
    mount_options: str = ""

    def check(self):
        """Raises `LabError` where they make no sense."""
        limits = [
            ("nodes", self.nodes, 1, 9),
            ("chunkservers", self.chunkservers, 0, 90),
            ("mounts", self.mounts, 0, 50),
        ]
        for what, number, least, most in limits:
            if not least <= number <= most:
                raise LabError(f"the number of {what} must be {least} to {most}, not {number}")
        for key in self.node_keys + self.chunkserver_keys:
            if not re.fullmatch(r"[A-Z_]+=[^\n]*", key):
                raise LabError(f"'{key}' is not KEY=VALUE")


def known():
    """The labs that are up, by name, each with its directory."""
    found = {}
    for name in sorted(os.listdir(REGISTRY)) if os.path.isdir(REGISTRY) else []:
        with open(os.path.join(REGISTRY, name), encoding="utf-8") as file:
            found[name] = file.read().strip()
    return found


class Lab:
    """One lab by its name, whether it is up or not."""

    def __init__(self, name="lab", directory=None):
        if not re.fullmatch(r"[A-Za-z0-9_]{1,20}", name):
            raise LabError(f"a lab's name is 1 to 20 letters, digits or _, not '{name}'")
        self.name = name
        self.network = Network(name)
        self.claim = os.path.join(REGISTRY, name)
        self.settings = None
        self.given_directory = os.path.abspath(directory) if directory else None
        self._at(known().get(name) or self.given_directory)

    def _at(self, directory):
        self.directory = directory
        if directory is None:
            return
        if re.search(r"\s", directory):
            raise LabError(f"a lab's directory has no space in its name: '{directory}'")
        self.processes = Processes(self.path("run"), self.path("log"))
        self.mounts = Mounts(self)
        with contextlib.suppress(FileNotFoundError), open(self.path("lab.json"), encoding="utf-8") as file:
            self.settings = Settings(**json.load(file))

    def path(self, *parts):
        """A file of this lab."""
        return os.path.join(self.directory, *parts)

    @property
    def is_up(self):
        """Whether `up` was called and `down` was not."""
        return os.path.exists(self.claim) and self.settings is not None

    def require(self):
        """An error unless it is up."""
        if not self.is_up:
            raise LabError(f"lab '{self.name}' is not up; up: {', '.join(known()) or 'none'}")

    @contextlib.contextmanager
    def locked(self):
        """One command at a time changes a lab."""
        with open(self.path(".lock"), "w", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    # Hosts.

    def hosts(self, kind=""):
        """The hosts, or those of one kind: n nodes, c chunkservers, u mounts."""
        self.require()
        numbers = {"n": self.settings.nodes, "c": self.settings.chunkservers, "u": max(1, self.settings.mounts)}
        return [f"{letter}{number}" for letter in kind or "ncu" for number in range(1, numbers[letter] + 1)]

    def host(self, name):
        """That host; an error when there is none."""
        if name not in self.hosts():
            raise LabError(f"lab '{self.name}' has no host '{name}'; it has {' '.join(self.hosts())}")
        return name

    def hosts_file(self, host):
        """What is /etc/hosts there. Changed in place: running processes see it."""
        return self.path("hosts", host)

    def write_hosts(self, host, masters):
        """Makes `mfsmaster` there mean these nodes: a line, and so an address, for each."""
        lines = ["127.0.0.1 localhost"]
        lines += [f"{address(other)} {other}" for other in self.hosts()]
        # In another order at each host, as from a name server: two mounts that are started in one second
        # draw the same number, and would always be at one node.
        first = int(host[1:]) % len(masters)
        lines += [f"{address(node)} mfsmaster" for node in masters[first:] + masters[:first]]
        os.makedirs(self.path("hosts"), exist_ok=True)
        with open(self.hosts_file(host), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def command(self, host, command):
        """The command line that runs a command at a host."""
        return self.network.inside(self.host(host), self.hosts_file(host), command)

    def run(self, host, *command, **options):
        """Runs a command at a host to its end."""
        return subprocess.run(self.command(host, command), stdin=subprocess.DEVNULL, check=False, **options)

    # Coming and going.

    def up(self, settings, may_install=True):
        """Brings it up; when that fails, what was started is removed and the logs stay."""
        settings.check()
        packages.ensure_machine()
        packages.ensure(packages.NEEDED + (packages.BASELINE if settings.baseline else []), may_install)
        if settings.baseline:
            settings.nodes = 1
        else:
            daemons.require_binaries(settings.bin_dir)
        os.makedirs(REGISTRY, exist_ok=True)
        directory = self.given_directory
        if directory is None:
            directory = tempfile.mkdtemp(prefix=f"mfs-{self.name}-")
            # Other users have to reach the mounts.
            os.chmod(directory, 0o755)
        os.makedirs(directory, exist_ok=True)
        try:
            with open(self.claim, "x", encoding="utf-8") as file:
                file.write(directory)
        except FileExistsError:
            if not self.given_directory:
                os.rmdir(directory)
            raise LabError(f"lab '{self.name}' is up already: end it, or give another --name") from None
        self._at(directory)
        # What a given directory has of an earlier lab is not this one's.
        self._remove_files(keep_logs=False)
        try:
            self.settings = settings
            self._save()
            with self.locked():
                self._bring_up()
        except BaseException as error:
            if isinstance(error, LabError) and (said := self.last_words()):
                error.args = (f"{error.args[0]}\n{said}",)
            self.down(keep_logs=True)
            raise

    def _save(self):
        with open(self.path("lab.json"), "w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(self.settings), file, indent=1)

    def _bring_up(self):
        try:
            self.network.add_switch()
            for host in self.hosts():
                self.network.add(host)
        except LabError as error:
            # A container may have root's name without root's rights, and a kernel no bridges.
            raise Unavailable(f"this machine or user makes no network namespaces: {error}") from None
        for host in self.hosts():
            self.write_hosts(host, self.hosts("n"))
        for host in self.hosts("n"):
            self.start(host)
        self._until("a node serves", self._nodes_serve)
        if self.takes_chunkservers:
            for host in self.hosts("c"):
                self.start(host)
            self._until("every chunkserver has a node", self._chunkservers_are_connected)
        for number in range(1, self.settings.mounts + 1):
            self.mounts.add(number, self.mount_point(number), self.settings.mount_options)
        if self.takes_chunkservers and self.settings.mounts:
            self._until("a mount shows space", self._shows_space)

    def _until(self, what, is_true, seconds=90):
        deadline = time.monotonic() + seconds
        while not is_true():
            for name in self.processes.names():
                self.processes.require(name)
            if time.monotonic() > deadline:
                raise LabError(f"not within {seconds} s: {what}")
            time.sleep(0.2)

    def _nodes_serve(self):
        if not all(self.network.listens(host, METADATA_PORT) for host in self.hosts("n")):
            return False
        return self.settings.baseline or self.leader() is not None

    def _chunkservers_are_connected(self):
        return all(self.network.peers(host, CHUNKSERVER_PORT) for host in self.hosts("c"))

    def _shows_space(self):
        # Another process looks: the mount may hang.
        command = ["stat", "--file-system", "--format=%b", self.mount_point(1)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        except subprocess.TimeoutExpired:
            return False
        return done.returncode == 0 and int(done.stdout) > 0

    def last_words(self):
        """The end of every log."""
        if not os.path.isdir(self.path("log")):
            return ""
        logs = sorted(file[:-4] for file in os.listdir(self.path("log")) if file.endswith(".log"))
        return "".join(f"--- {self.processes.log(name)}\n{self.processes.tail(name)}" for name in logs)

    def down(self, keep_logs=False):
        """Ends and removes all of it, also what a failed `up` or a killed command left. May be repeated."""
        if self.directory is not None and os.path.isdir(self.directory):
            with self.locked():
                self.mounts.remove_all()
                for name in self.processes.names():
                    self.processes.kill(name)
        for host in [*self.network.all_hosts(), "sw"]:
            if self.network.exists(host):
                # Whoever was sent there by `exec`.
                signal_all(self.network.pids(host), signal.SIGKILL)
                self.network.remove(host)
        if self.directory is not None and os.path.isdir(self.directory):
            self._remove_files(keep_logs)
            if not os.listdir(self.directory):
                os.rmdir(self.directory)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.claim)
        self.settings = None

    def _remove_files(self, keep_logs):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path(".lock"))
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path("lab.json"))
        ours = re.compile(r"[nc]\d+|hosts|run|scratch|reason" + ("" if keep_logs else "|log"))
        for entry in os.listdir(self.directory):
            if not ours.fullmatch(entry):
                continue
            if os.path.isdir(self.path(entry)):
                shutil.rmtree(self.path(entry))
            else:
                os.unlink(self.path(entry))
        # Never through a mount that could not be removed: only empty directories.
        points = self.path("mnt")
        for entry in os.listdir(points) if os.path.isdir(points) else []:
            os.rmdir(os.path.join(points, entry))
        with contextlib.suppress(FileNotFoundError):
            os.rmdir(points)

    # What runs on the hosts.

    @property
    def takes_chunkservers(self):
        """Whether chunkservers can connect, and so files can hold anything."""
        if self.settings.chunkservers == 0:
            return False
        return self.settings.baseline or daemons.takes_chunkservers(self.settings.bin_dir)

    def start(self, host):
        """Starts what runs at a host, on the disk that it had."""
        if self.processes.pid(self.host(host)) is not None:
            raise LabError(f"{host} runs already")
        if host[0] == "u":
            raise LabError(f"{host} has no process of its own; mount something")
        if host[0] == "c":
            command = daemons.chunkserver(self.path(host), self.settings)
        elif self.settings.baseline:
            command = daemons.mfsmaster(self.path(host), self.settings)
        else:
            command = daemons.node(self.path(host), host, self.hosts("n"), self.settings)
        # Whatever is left of the one before, such as the second process of mfsmaster.
        self.processes.kill(host)
        self.processes.start(host, self.command(host, command))

    def kill(self, host, at_once):
        """SIGKILL, or SIGTERM and what comes of it."""
        self.processes.require(self.host(host))
        if at_once:
            self.processes.kill(host)
        elif not self.processes.stop(host, 60):
            raise LabError(f"{host} did not end within 60 s after SIGTERM and was killed")

    def admin(self, *arguments, seconds=10):
        """`mfsha-admin --json`, asked from the first mount's host; what it answers, or None."""
        command = [os.path.join(self.settings.bin_dir, "mfsha-admin"), "--json", "--timeout", f"{seconds}s"]
        command += ["--nodes", ",".join(map(address, self.hosts("n"))), *arguments]
        try:
            done = self.run("u1", *command, capture_output=True, text=True, timeout=seconds + 20)
            return json.loads(done.stdout) if done.returncode == 0 else None
        except (subprocess.TimeoutExpired, json.JSONDecodeError):
            return None

    def leader(self):
        """The node that leads, by what the nodes say; None when nobody does."""
        if self.settings.baseline:
            return "n1" if self.network.listens("n1", METADATA_PORT) else None
        status = self.admin("status", seconds=2)
        return f"n{status['leader']}" if status and status["leader"] else None

    def is_whole(self):
        """Whether every node answers and has applied all that is committed, or nearly."""
        if self.settings.baseline:
            return self.leader() is not None
        status = self.admin("status", seconds=5)
        if not status or not status["leader"] or len(status["nodes"]) != self.settings.nodes:
            return False
        return all(node["reachable"] and node["lag"] is not None and node["lag"] < 200 for node in status["nodes"])

    def mount_point(self, number):
        """Where the mounts are that `up` makes."""
        return self.path("mnt", str(number))

    def node_of_mount(self, number):
        """The node that the mounts of a host are connected to, or None."""
        peers = self.network.peers(f"u{number}", METADATA_PORT)
        return next((node for node in self.hosts("n") if address(node) in peers), None)

    def status(self):
        """The hosts as lines for people."""
        self.require()
        kind = "mfsmaster" if self.settings.baseline else "mfsha"
        lines = [f"lab {self.name}: {kind}, {self.directory}, leader {self.leader() or 'unknown'}"]
        for host in self.hosts():
            pid = self.processes.pid(host)
            words = [f"{host:4} {address(host):12}", "cut" if self.network.is_cut(host) else "up ", f"{pid or '-':>8}"]
            if pid is not None:
                words.append("paused" if is_stopped(pid) else "runs")
            elif host[0] != "u":
                words.append("does not run")
            for port in (METADATA_PORT, CHUNKSERVER_PORT):
                if host[0] != "n" and (peers := self.network.peers(host, port)):
                    words.append(f"connected to {' '.join(peers)}")
            lines.append("  ".join(words))
        return "\n".join(lines + self.mounts.lines())
