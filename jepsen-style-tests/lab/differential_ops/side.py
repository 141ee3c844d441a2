"""Lists carried out in one lab. Several processes share the lists; each takes a step of all of its lists in turn.

So time passes between two steps of a list without anybody waiting for it, and a time that is seen can be told as
the step that set it, which two file systems have in common.
"""

import ctypes
import os
import signal
import time

from . import view
from .users import FORK, User, die_with_parent

CLONE_NEWNET = 0x40000000
# Between the end of a step and the next one of the same list: more than a second, which is as fine as times are.
PACE_SECONDS = 1.5
# A server may be this late with its clock.
LATE_SECONDS = 0.3
WHOLE_EVERY = 12
# A mount tells of a read, and of a file that was closed, when the caller has its answer already.
SETTLES = ("read", "fread", "close")
SETTLE_SECONDS = 0.1


class Numbers:
    """Inode numbers by the order in which they are seen first: which are the same and which are not."""

    def __init__(self):
        self.known = {}

    def of(self, inode):
        """Its place in that order."""
        return self.known.setdefault(inode, len(self.known) + 1)


class Run:
    """One list on its way."""

    def __init__(self, directory, operation_list, pace):
        self.directory = directory
        self.operations = operation_list.operations
        self.pace = pace if operation_list.has_pace else 0
        self.made = 0.0
        self.began = []
        self.ended = 0.0
        self.steps = []
        self.numbers = Numbers()
        # Number by path, of files that may be in the trash later.
        self.inodes = {}

    def label(self, seconds):
        """A time as the step that set it, or as it is when somebody chose it."""
        if not self.made - 1 <= seconds <= time.time() + 2:
            return seconds
        if not self.pace:
            return "now"
        for step in range(len(self.began) - 1, -1, -1):
            if int(self.began[step] - LATE_SECONDS) <= seconds:
                return f"step {step}"
        return "before"

    def common(self, told):
        """Attributes as both file systems can have them."""
        if not isinstance(told, dict) or "ino" not in told:
            return told
        told = dict(told)
        told["ino"] = self.numbers.of(told["ino"])
        for key in ("atime", "mtime", "ctime"):
            told[key] = self.label(told[key])
        return told

    def common_of_all(self, seen):
        """Those of several paths."""
        for path, told in seen.items():
            if told.get("type") == "-":
                self.inodes[path] = told["ino"]
        return {path: self.common(told) for path, told in seen.items()}


class Lane:
    """Some of the lists, in one process with its users."""

    def __init__(self, roots, trash, lists, pace, spoil):
        self.roots = roots
        self.trash = trash
        self.runs = [Run(directory, operations, pace) for directory, operations in lists]
        self.spoil = spoil
        self.users = {}

    def work(self, report):
        """All of them to the end; gives what was seen of each."""
        try:
            for run in self.runs:
                run.made = run.ended = time.time()
                path = os.path.join(self.roots[0], run.directory)
                os.mkdir(path)
                os.chmod(path, 0o777)
            for step in range(max(len(run.operations) for run in self.runs)):
                for run in self.runs:
                    if step < len(run.operations):
                        self._take(run, step)
                report(step)
            return {
                run.directory: {"steps": run.steps, "end": self._end(run), "inodes": list(run.numbers.known)}
                for run in self.runs
            }
        finally:
            for user in self.users.values():
                user.end()

    def _take(self, run, step):
        operation = run.operations[step]
        time.sleep(max(0.0, run.ended + run.pace - time.time()))
        run.began.append(time.time())
        result = self._carry_out(run, operation)
        if self.spoil is not None:
            result = self.spoil(step, result)
        if operation["op"] in SETTLES:
            time.sleep(SETTLE_SECONDS)
        base = os.path.join(self.roots[operation.get("mount", 1) - 1], run.directory)
        record = {"result": {key: run.common(value) for key, value in result.items()}}
        record["seen"] = run.common_of_all(view.near(base, operation))
        if step % WHOLE_EVERY == WHOLE_EVERY - 1:
            record["whole"] = run.common_of_all(view.whole(base))
        run.steps.append(record)
        run.ended = time.time()

    def _carry_out(self, run, operation):
        if operation["op"] == "undelete":
            inode = run.inodes.get(operation["path"])
            return {"ok": inode is not None and view.undelete(self.trash, inode)}
        name = operation.get("as", "root")
        if name not in self.users:
            self.users[name] = User(name, self.roots)
        return self.users[name].ask(run.directory, operation)

    def _end(self, run):
        base = os.path.join(self.roots[0], run.directory)
        for user in self.users.values():
            user.ask(run.directory, {"op": "close_all"})
        run.began.append(time.time())
        end = {"whole": run.common_of_all(view.whole(base))}
        end["other mount"] = run.common_of_all(view.whole(os.path.join(self.roots[1], run.directory)))
        for told in end["other mount"].values():
            # Whether the look before has been told by now.
            told.pop("atime", None)
        end["tools"] = view.by_tools(base)
        return end


def enter(network):
    """This process and its children are at a host from now on: MooseFS's tools speak to the nodes themselves."""
    with open(network, "rb") as file:
        if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {network}")


class Side:
    """A lab where lists are carried out."""

    def __init__(self, lab, trash, lanes):
        self.lab = lab
        self.trash = trash
        self.lanes = lanes
        self.processes = []

    def begin(self, lists, pace, report, spoil=None):
        """Starts; each list is a directory's name and its operations."""
        self.lists = lists
        roots = [self.lab.mount_point(1), self.lab.mount_point(2)]
        for number in range(min(self.lanes, len(lists))):
            share = lists[number :: self.lanes]
            lane = Lane(roots, self.trash, share, pace, spoil)
            receiver, sender = FORK.Pipe(duplex=False)
            process = FORK.Process(target=self._work, args=(sender, lane, report if number == 0 else None))
            process.start()
            sender.close()
            self.processes.append((process, receiver))

    def _work(self, sender, lane, report):
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        try:
            enter(self.lab.network.path("u1"))
            sender.send((lane.work(report or (lambda step: None)), None))
        except BaseException as error:
            sender.send((None, f"{type(error).__name__}: {error}"))

    def results(self):
        """What was seen, by directory."""
        found = {}
        for process, receiver in self.processes:
            try:
                value, error = receiver.recv()
            except EOFError:
                value, error = None, "a process of it ended"
            process.join()
            if error is not None:
                raise RuntimeError(f"{self.lab.name}: {error}")
            found |= value
        self.processes = []
        inodes = [inode for seen in found.values() for inode in seen["inodes"]]
        trash = view.in_trash(self.trash, "d-", inodes)
        for directory, seen in found.items():
            seen["end"]["trash"] = trash.get(directory, [])
        return found

    def end(self):
        """Ends what still runs."""
        for process, _ in self.processes:
            process.kill()
            process.join()
        self.processes = []
