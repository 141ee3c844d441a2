"""Hosts as network namespaces on one bridge, which has no link to anything else."""

import os
import re
import subprocess

from .errors import LabError
from .packages import find

NETNS = "/run/netns"
BRIDGE = "br0"
# The addresses of all labs: their networks do not see each other.
SUBNET = "10.77.1"
FIRST = {"n": 10, "c": 100, "u": 200}


def run(*command):
    """Runs a command and gives what it printed."""
    done = subprocess.run(
        [find(command[0]) or command[0], *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def address(host):
    """The address of a host: n1 is 10.77.1.11, c1 10.77.1.101, u1 10.77.1.201."""
    return f"{SUBNET}.{FIRST[host[0]] + int(host[1:])}"


# Run in a host's network with FILE as its /etc/hosts. The mount namespace is the command's own, but a
# mount that it makes on a shared mount point is seen outside; `ip netns exec` would hide it.
ENTER = (
    'at=$(findmnt -n -o TARGET --target /etc/hosts) && mount --make-private "$at" && '
    'mount --bind "$1" /etc/hosts && shift && exec "$@"'
)


class Network:
    """The namespaces of one lab, found by their names."""

    def __init__(self, name):
        self.name = name
        self.switch = self.namespace("sw")

    def namespace(self, host):
        """The name of a host's namespace."""
        return f"mfs-{self.name}-{host}"

    def path(self, host):
        """The file that stands for it."""
        return os.path.join(NETNS, self.namespace(host))

    def exists(self, host):
        """Whether there is such a host."""
        return os.path.exists(self.path(host))

    def add_switch(self):
        """The bridge, in a namespace of its own."""
        run("ip", "netns", "add", self.switch)
        run("ip", "-n", self.switch, "link", "set", "lo", "up")
        run("ip", "-n", self.switch, "link", "add", BRIDGE, "type", "bridge", "stp_state", "0", "forward_delay", "0")
        run("ip", "-n", self.switch, "link", "set", BRIDGE, "up")

    def add(self, host):
        """A host with its address, on the bridge."""
        namespace = self.namespace(host)
        run("ip", "netns", "add", namespace)
        run("ip", "-n", self.switch, "link", "add", host, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        run("ip", "-n", self.switch, "link", "set", host, "master", BRIDGE, "up")
        run("ip", "-n", namespace, "link", "set", "lo", "up")
        run("ip", "-n", namespace, "addr", "add", f"{address(host)}/24", "dev", "eth0")
        run("ip", "-n", namespace, "link", "set", "eth0", "up")

    def cut(self, host):
        """Takes a host's cable out of the switch; nobody is told."""
        run("ip", "-n", self.switch, "link", "set", host, "nomaster")

    def heal(self, host):
        """Puts it in again."""
        run("ip", "-n", self.switch, "link", "set", host, "master", BRIDGE)

    def is_cut(self, host):
        """Whether it is out."""
        return f"master {BRIDGE}" not in run("ip", "-n", self.switch, "link", "show", host)

    def inside(self, host, hosts_file, command):
        """The command line that runs a command at a host."""
        if not self.exists(host):
            raise LabError(f"there is no host {host} in lab {self.name}: is it up?")
        tools = {tool: find(tool) or tool for tool in ("nsenter", "unshare")}
        enter = [tools["nsenter"], f"--net={self.path(host)}", "--", tools["unshare"], "--mount"]
        return [*enter, "--propagation", "unchanged", "--", "sh", "-c", ENTER, "lab", hosts_file, *command]

    def sockets(self, host, *what):
        """What `ss` lists at a host."""
        return run("nsenter", f"--net={self.path(host)}", "--", find("ss") or "ss", "-Hn", *what)

    def listens(self, host, port):
        """Whether somebody listens at a port of it."""
        return self.sockets(host, "-lt", f"sport = :{port}").strip() != ""

    def peers(self, host, port):
        """The addresses that it has connections to at a port."""
        found = self.sockets(host, "-t", "state", "established", f"dport = :{port}")
        return sorted(
            {fields[3].rpartition(":")[0] for fields in map(str.split, found.splitlines()) if len(fields) > 3}
        )

    def pids(self, host):
        """The processes of a host, whoever started them there."""
        return [int(pid) for pid in run("ip", "netns", "pids", self.namespace(host)).split()]

    def all_hosts(self):
        """The hosts that are there, the switch left out, also those of a lab that nobody remembers."""
        pattern = re.compile(rf"mfs-{re.escape(self.name)}-([ncu]\d+)$")
        entries = sorted(os.listdir(NETNS)) if os.path.isdir(NETNS) else []
        return [found.group(1) for found in map(pattern.match, entries) if found]

    def remove(self, host):
        """Removes a host with its cable."""
        run("ip", "netns", "del", self.namespace(host))
