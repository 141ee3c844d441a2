"""Who carries operations out: users with their groups, each as a process of its own that keeps its open files."""

import ctypes
import multiprocessing
import os
import signal

from .operations import Actor

FORK = multiprocessing.get_context("fork")
# Nothing takes this long: only what hangs does.
HANGS_SECONDS = 120
PR_SET_PDEATHSIG = 1

# By name: user, group, further groups.
USERS = {
    "root": (0, 0, ()),
    "alice": (1001, 2001, (3001,)),
    "bob": (1002, 2002, (2001,)),
    "carol": (1003, 2003, (3001, 3002)),
    # More groups than one old call of NFS holds.
    "dave": (1004, 2004, tuple(range(4000, 4040)) + (3002,)),
    "nobody": (65534, 65534, ()),
}


def die_with_parent():
    """The end of whoever forked this process is its end. To be said again after a change of user."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class User:
    """One of them, at work."""

    def __init__(self, name, roots):
        self.name = name
        self.pipe, other = FORK.Pipe()
        self.process = FORK.Process(target=self._work, args=(other, self.pipe, name, roots), daemon=True)
        self.process.start()
        other.close()

    @staticmethod
    def _work(pipe, others_end, name, roots):
        others_end.close()
        user, group, groups = USERS[name]
        os.setgroups([group, *groups])
        os.setresgid(group, group, group)
        os.setresuid(user, user, user)
        die_with_parent()
        os.umask(0)
        actor = Actor(roots)
        while True:
            try:
                directory, operation = pipe.recv()
            except (EOFError, OSError):
                return
            pipe.send(actor.carry_out(directory, operation))

    def ask(self, directory, operation):
        """Carries one operation out; its result."""
        try:
            self.pipe.send((directory, operation))
            if not self.pipe.poll(HANGS_SECONDS):
                self.end()
                return {"error": f"hangs for {HANGS_SECONDS} s"}
            return self.pipe.recv()
        except (EOFError, OSError):
            return {"error": "the process ended"}

    def end(self):
        """Ends it."""
        self.process.kill()
        self.process.join(5)
