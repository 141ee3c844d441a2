"""Lists drawn from a seed: few names, so that operations meet; many users; errors are wanted as much as successes."""

import random

from .lists import OperationList
from .users import USERS

NAMES = ["a", "b", "c", "d"]
MODES = ["0644", "0600", "0755", "0777", "0000", "0444", "2775", "1777", "4755", "6711", "2644", "0070", "0007", "0111"]
UMASKS = ["0022", "0022", "0022", "0000", "0077", "0027"]
ACLS = [
    "u::rwx,g::r-x,o::r--",
    "u::rw-,g::---,o::---",
    "u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---",
    "u::rw-,u:1002:r--,u:1003:rw-,g::r--,m::r--,o::---",
    "u::rwx,g::r-x,g:3001:rwx,m::r-x,o::r-x",
    "u::rwx,u:1001:---,g::rwx,g:2001:-w-,g:3002:r-x,m::rwx,o::rwx",
    "u::---,u:1002:rwx,g::---,m::---,o::---",
]
XATTRS = ["user.a", "user.b", "user.a", "trusted.t", "security.s", "user.", "wrong", "user.<300n>"]
SIZES = [0, 1, 10, 4096, 65536, 65537, 200_000]
LENGTHS = [0, 1, 100, 65536, 100_000, 300_000, (64 << 20) + 5]
TIMES = [0, 1, 1_000_000_000, 1_234_567_890, 4_000_000_000, "now", None]
EATTRS = ["noowner", "noattrcache", "noentrycache", "nodatacache", "snapshot", "undeletable", "appendonly", "immutable"]
FILES = ["1", "2", "3"]


class Generator:
    """One list on its way."""

    def __init__(self, seed):
        self.random = random.Random(f"differential {seed}")
        self.pick = self.random.choice

    def path(self):
        """Few of them, up to three levels deep."""
        depth = self.random.choices([1, 2, 3], [6, 5, 1])[0]
        return "/".join(self.pick(NAMES) for _ in range(depth))

    def paths(self):
        """Of a tool."""
        return [self.path()] if self.random.random() < 0.8 else [self.path(), self.path()]

    def size(self):
        """What is written."""
        return {"size": self.pick(SIZES), "fill": self.random.randrange(4)}

    def _mkdir(self):
        return {"op": "mkdir", "path": self.path(), "mode": self.pick(MODES + ["0777"] * 10)}

    def _create(self):
        flags = self.pick(["", "", "excl", "trunc"])
        return {"op": "create", "path": self.path(), "mode": self.pick(MODES + ["0666"] * 8), "flags": flags}

    def _mknod(self):
        kind = self.pick(["file", "fifo", "socket", "char", "block"])
        return {"op": "mknod", "path": self.path(), "type": kind, "mode": self.pick(MODES), "device": "5:7"}

    def _symlink(self):
        return {"op": "symlink", "path": self.path(), "target": self.pick([*NAMES, "a/b", "no/where", "<600t>"])}

    def _two(self, name, **more):
        return {"op": name, "path": self.path(), "to": self.path(), **more}

    def _rename(self):
        return self._two("rename", flags=self.pick([""] * 8 + ["noreplace", "exchange"]))

    def _chmod(self):
        return {"op": "chmod", "path": self.path(), "mode": self.pick(MODES)}

    def _chown(self):
        users = [user for user, _, _ in USERS.values()]
        groups = [group for _, group, more in USERS.values() for group in (group, *more[-1:])]
        return {"op": "chown", "path": self.path(), "uid": self.pick([-1, *users]), "gid": self.pick([-1, *groups])}

    def _utime(self):
        return {"op": "utime", "path": self.path(), "atime": self.pick(TIMES), "mtime": self.pick(TIMES)}

    def _write(self):
        place = self.pick([{}, {"offset": 0}, {"offset": 1000}, {"offset": 70_000}, {"flags": "append"}])
        flags = " ".join(filter(None, [place.get("flags"), self.pick(["", "", "create", "trunc", "create trunc"])]))
        return {"op": "write", "path": self.path(), **self.size(), **place, "flags": flags}

    def _setxattr(self):
        size = self.pick([{"value": "one"}, {"value": "other"}, {"value": ""}, {"size": 5000}, {"size": 65536}])
        flags = self.pick(["", "", "create", "replace"])
        return {"op": "setxattr", "path": self.path(), "name": self.pick(XATTRS), **size, "flags": flags}

    def _xattr(self, name):
        return {"op": name, "path": self.path(), "name": self.pick(XATTRS)}

    def _setacl(self):
        return {"op": "setacl", "path": self.path(), "kind": self.pick(["access", "default"]), "acl": self.pick(ACLS)}

    def _acl(self, name):
        return {"op": name, "path": self.path(), "kind": self.pick(["access", "default"])}

    def _open(self):
        flags = [self.pick(["r", "w", "rw", "rw"])]
        flags += self.random.choices(["create", "excl", "trunc", "append", ""], k=2)
        return {"op": "open", "path": self.path(), "flags": " ".join(filter(None, flags)), "file": self.pick(FILES)}

    def _of_file(self):
        given = {"file": self.pick(FILES)}
        more = {
            "fread": {},
            "fwrite": {**self.size(), **self.pick([{}, {"offset": 0}, {"offset": 9000}])},
            "fstat": {},
            "ftruncate": {"size": self.pick(LENGTHS)},
            "fchmod": {"mode": self.pick(MODES)},
            "futime": {"atime": self.pick(TIMES), "mtime": self.pick(TIMES)},
            "close": {},
            "flock": {"lock": self.pick(["shared", "exclusive", "unlock"])},
        }
        name = self.pick(list(more))
        return {"op": name, **given, **more[name]}

    def _tool(self):
        deep = self.pick(["", " -r"])
        snapshot = self.pick(["", " -o", " -f", " -p"])
        limits = self.pick(["-i 3", "-I 4", "-l 100000", "-L 150000", "-I 2 -L 90000", "-S 300000", "-R 500000"])
        eattr = " ".join(f"-f {name}" for name in self.random.sample(EATTRS, self.pick([1, 1, 2])))
        tool, paths = self.pick(
            [
                (f"mfssetgoal{deep} {self.pick(['1', '2', '3', '3+', '2-'])}", self.paths()),
                (f"mfsgetgoal{deep}", self.paths()),
                (
                    f"mfssettrashtime{deep} {self.pick(['0', '3600', '7200', '90000', '100000+', '7200-'])}",
                    self.paths(),
                ),
                (f"mfsgettrashtime{deep}", self.paths()),
                (f"mfsseteattr{deep} {eattr}", self.paths()),
                (f"mfsdeleattr{deep} {eattr}", self.paths()),
                (f"mfsgeteattr{deep}", self.paths()),
                (f"mfssetquota {limits}", self.paths()),
                (f"mfsdelquota {self.pick(['-a', '-A', '-i', '-L', '-S -R'])}", self.paths()),
                ("mfsgetquota -n", self.paths()),
                ("mfsdirinfo -n", self.paths()),
                (f"mfsmakesnapshot{snapshot.replace(' -f', '')}", [self.path(), self.path()]),
                (f"mfsmakesnapshot{snapshot.replace(' -f', '')}", [self.path(), self.path()]),
                (f"mfsrmsnapshot{snapshot if snapshot == ' -f' else ''}", self.paths()),
                ("mfsappendchunks", [self.path(), self.path()]),
                ("mfsfileinfo", self.paths()),
                ("mfscopygoal", [self.path(), self.path()]),
                ("mfscopyeattr", [self.path(), self.path()]),
            ]
        )
        return {"op": "tool", "tool": tool, "paths": paths}

    def operation(self):
        """The next one."""
        choices = [
            (9, self._mkdir),
            (3, lambda: {"op": "rmdir", "path": self.path()}),
            (8, self._create),
            (3, self._mknod),
            (3, self._symlink),
            (4, lambda: self._two("link")),
            (5, lambda: {"op": "unlink", "path": self.path()}),
            (8, self._rename),
            (5, self._chmod),
            (5, self._chown),
            (4, self._utime),
            (3, lambda: {"op": "truncate", "path": self.path(), "size": self.pick(LENGTHS)}),
            (7, self._write),
            (3, lambda: {"op": "read", "path": self.path()}),
            (2, lambda: {"op": "readlink", "path": self.path()}),
            (3, lambda: {"op": "readdir", "path": self.path()}),
            (2, lambda: {"op": "stat", "path": self.path(), "follow": self.pick([True, False])}),
            (3, lambda: {"op": "access", "path": self.path(), "want": self.pick(["r", "w", "x", "rw", "rwx"])}),
            (4, self._setxattr),
            (1, lambda: self._xattr("getxattr")),
            (1, lambda: self._xattr("removexattr")),
            (1, lambda: {"op": "listxattr", "path": self.path()}),
            (6, self._setacl),
            (1, lambda: self._acl("getacl")),
            (2, lambda: self._acl("removeacl")),
            (5, self._open),
            (9, self._of_file),
            (12, self._tool),
            (1, lambda: {"op": "undelete", "path": self.path()}),
        ]
        operation = self.random.choices([make for _, make in choices], [weight for weight, _ in choices])[0]()
        user = self.random.choices(list(USERS), [6, 4, 3, 3, 2, 1])[0]
        if operation["op"] != "undelete":
            if user != "root":
                operation["as"] = user
            if self.random.random() < 0.3:
                operation["mount"] = 2 if operation["op"] != "tool" else 1
        umask = self.pick(UMASKS)
        if umask != "0022" and operation["op"] in ("mkdir", "create", "mknod", "open", "write"):
            operation["umask"] = umask
        return operation


def generated(seed, count):
    """The list of a seed. A longer one of the same seed begins with it."""
    generator = Generator(seed)
    return OperationList(f"seed-{seed}", [generator.operation() for _ in range(count)], f"drawn from seed {seed}")
