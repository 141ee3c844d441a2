"""What has to be on the machine, and how it gets there. Knows Debian alone."""

import os
import shutil
import subprocess
import sys

from .errors import Unavailable

SBIN = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
# A program, and the package of Debian that has it.
NEEDED = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("fusermount3", "fuse3"),
    ("mfsmount", "moosefs-client"),
    ("mfschunkserver", "moosefs-chunkserver"),
    ("mfscli", "moosefs-cli"),
]
BASELINE = [("mfsmaster", "moosefs-master")]


def find(program):
    """The path of a program, also where a user's PATH has no sbin; None when it is not there."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep) + SBIN
    return shutil.which(program, path=os.pathsep.join(path))


def missing(programs):
    """The packages whose programs are not there, each once."""
    return list(dict.fromkeys(package for program, package in programs if not find(program)))


def install(packages):
    """Installs packages by apt; gives None, or why it did not work."""
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    command = ["apt-get", "install", "-qy", "--no-install-recommends", *packages]
    said = ""
    for step in (command, ["apt-get", "update", "-q"], command):
        done = subprocess.run(
            step, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode == 0 and step is command:
            return None
        said = (done.stderr or done.stdout).strip()
    return said.splitlines()[-1] if said else "apt-get says nothing"


def ensure(programs, may_install=True):
    """Sees to it that programs are there, else raises `Unavailable` with the packages to install."""
    wanted = missing(programs)
    if not wanted:
        return
    by_hand = f"as root: apt-get install {' '.join(wanted)}"
    if not may_install:
        raise Unavailable(f"missing, and not to be installed: {' '.join(wanted)}; {by_hand}")
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise Unavailable(f"missing: {' '.join(wanted)}; {by_hand} (Debian)")
    print(f"lab: installing {' '.join(wanted)}", file=sys.stderr, flush=True)
    trouble = install(wanted)
    still = missing(programs)
    if still:
        raise Unavailable(f"missing: {' '.join(still)}; apt-get did not install them: {trouble}")


def ensure_machine():
    """Raises `Unavailable` where there can be no lab at all."""
    if not sys.platform.startswith("linux"):
        raise Unavailable("a lab needs Linux (network namespaces, FUSE)")
    if os.geteuid() != 0:
        raise Unavailable("a lab needs root (network namespaces, mounts)")
    if not os.path.exists("/dev/fuse"):
        raise Unavailable("a lab needs FUSE, and there is no /dev/fuse here")
