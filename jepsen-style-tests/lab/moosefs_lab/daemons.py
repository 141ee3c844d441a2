"""The command lines and files of what runs in a lab: nodes of mfsha, or mfsmaster, and chunkservers.

Settings that a line here does not name are the packages' defaults.
"""

import functools
import os
import subprocess

from .errors import LabError
from .network import address
from .packages import find

EXPORTS = "* / rw,alldirs,admin,maproot=0:0\n* . rw\n"
PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))


def default_bin_dir():
    """Where `cargo build --release` of this project puts its binaries."""
    return os.path.join(os.environ.get("CARGO_TARGET_DIR") or os.path.join(PROJECT, "target"), "release")


def require_binaries(bin_dir):
    """An error unless the project's binaries are there."""
    for name in ("mfsha", "mfsha-admin"):
        if not os.access(os.path.join(bin_dir, name), os.X_OK):
            raise LabError(
                f"no {name} in {bin_dir}: cargo build --release -p mfsha-net-real, or name another --bin-dir"
            )


@functools.cache
def takes_chunkservers(bin_dir):
    """Whether this build of mfsha has a port for chunkservers."""
    command = [os.path.join(bin_dir, "mfsha"), "print-config"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return "MATOCS_LISTEN_PORT" in done.stdout


def _write(path, lines):
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def _keys(keys):
    return [f"{key} = {value}" for key, _, value in (line.partition("=") for line in keys)]


def _exports(directory):
    """Written once: what a test makes of it stays over a restart."""
    path = os.path.join(directory, "mfsexports.cfg")
    if not os.path.exists(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(EXPORTS)
    return path


def node(directory, host, hosts, settings):
    """A node of mfsha."""
    os.makedirs(directory, exist_ok=True)
    peers = ", ".join(f"{other[1:]}@{address(other)}" for other in hosts)
    lines = [
        f"MFSHA_NODE_ID = {host[1:]}",
        f"MFSHA_PEERS = {peers}",
        f"BIND_HOST = {address(host)}",
        f"DATA_PATH = {os.path.join(directory, 'data')}",
        f"EXPORTS_FILENAME = {_exports(directory)}",
        "MATOCL_LISTEN_PORT = 9421",
    ]
    if settings.chunkservers and takes_chunkservers(settings.bin_dir):
        lines.append("MATOCS_LISTEN_PORT = 9420")
    own = _keys(settings.node_keys)
    named = {line.split(" = ")[0] for line in own}
    path = os.path.join(directory, "mfsha.cfg")
    _write(path, [line for line in lines if line.split(" = ")[0] not in named] + own)
    binary = os.path.join(settings.bin_dir, "mfsha")
    return [binary, "--config", path, "--bootstrap"]


def mfsmaster(directory, settings):
    """The real one. As root and without nice level -19: it shares the machine with its load."""
    os.makedirs(directory, exist_ok=True)
    # "MFSM NEW" makes a new, empty file system; never over one that is there.
    if not any(name.startswith("metadata.mfs") for name in os.listdir(directory)):
        with open(os.path.join(directory, "metadata.mfs"), "w", encoding="utf-8") as file:
            file.write("MFSM NEW")
    topology = os.path.join(directory, "mfstopology.cfg")
    _write(topology, [])
    path = os.path.join(directory, "mfsmaster.cfg")
    lines = ["WORKING_USER = root", "WORKING_GROUP = root", "NICE_LEVEL = 0", f"DATA_PATH = {directory}"]
    lines += [f"EXPORTS_FILENAME = {_exports(directory)}", f"TOPOLOGY_FILENAME = {topology}"]
    _write(path, lines + _keys(settings.node_keys))
    # -a: after a crash it makes its metadata anew from the change logs.
    return [find("mfsmaster"), "-f", "-a", "-c", path, "start"]


def chunkserver(directory, settings):
    """A real chunkserver with one disk."""
    disk = os.path.join(directory, "disk")
    os.makedirs(disk, exist_ok=True)
    disks = os.path.join(directory, "mfshdd.cfg")
    _write(disks, [disk])
    path = os.path.join(directory, "mfschunkserver.cfg")
    lines = ["WORKING_USER = root", "WORKING_GROUP = root", "NICE_LEVEL = 0", f"DATA_PATH = {directory}"]
    lines += [f"HDD_CONF_FILENAME = {disks}", "MASTER_HOST = mfsmaster"]
    _write(path, lines + _keys(settings.chunkserver_keys))
    return [find("mfschunkserver"), "-f", "-c", path, "start"]
