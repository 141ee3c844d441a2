"""Processes that outlive the command that started them, each known by its id and the time of its start.

A process is started in a session of its own, so that what it starts ends with it.
"""

import os
import signal
import subprocess
import time

from .errors import LabError


def stat(pid):
    """The fields of /proc/PID/stat behind the name, from the state on; None when nobody has that id."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def start_of(pid):
    """When a process started, in ticks; None when it is gone or only waits to be waited for."""
    fields = stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def is_stopped(pid):
    """Whether SIGSTOP holds it."""
    fields = stat(pid)
    return fields is not None and fields[0] in "Tt"


def of_session(session):
    """The living processes of a session."""
    found = []
    for entry in os.listdir("/proc"):
        fields = stat(entry) if entry.isdigit() else None
        if fields is not None and fields[0] not in "ZX" and int(fields[3]) == session:
            found.append(int(entry))
    return found


def signal_all(pids, number):
    """Sends a signal to processes, of which some may have ended."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            pass


class Processes:
    """The processes of one lab, with a file for each in a directory."""

    def __init__(self, directory, logs):
        self.directory = directory
        self.logs = logs
        # Those of this process, so that they are waited for.
        self.children = {}

    def log(self, name):
        """The file that has what it said."""
        return os.path.join(self.logs, f"{name}.log")

    def _record(self, name):
        return os.path.join(self.directory, f"{name}.pid")

    def names(self):
        """All that were started and not ended."""
        if not os.path.isdir(self.directory):
            return []
        return sorted(file[:-4] for file in os.listdir(self.directory) if file.endswith(".pid"))

    def start(self, name, command, directory="/"):
        """Starts a command in the background; what it says goes to its log."""
        os.makedirs(self.directory, exist_ok=True)
        os.makedirs(self.logs, exist_ok=True)
        with open(self.log(name), "ab") as log:
            log.write(time.strftime("--- %F %T start\n").encode())
            log.flush()
            child = subprocess.Popen(
                command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        self.children[name] = child
        with open(self._record(name), "w", encoding="utf-8") as file:
            file.write(f"{child.pid} {start_of(child.pid) or 0}\n")

    def recorded(self, name):
        """The id that it had and the time of its start, or None."""
        try:
            with open(self._record(name), encoding="utf-8") as file:
                pid, start = file.read().split()
        except (FileNotFoundError, ValueError):
            return None
        return int(pid), int(start)

    def pid(self, name):
        """Its id when it is alive, else None."""
        recorded = self.recorded(name)
        if recorded is None:
            return None
        if name in self.children:
            self.children[name].poll()
        return recorded[0] if start_of(recorded[0]) == recorded[1] else None

    def require(self, name):
        """Its id; an error when it does not run."""
        pid = self.pid(name)
        if pid is None:
            raise LabError(f"{name} does not run; its log: {self.log(name)}")
        return pid

    def _session(self, name):
        """All that is left of its session. Empty when its id is another's now."""
        recorded = self.recorded(name)
        if recorded is None or start_of(recorded[0]) not in (None, recorded[1]):
            return []
        return of_session(recorded[0])

    def kill(self, name):
        """SIGKILL to it and all that it started, and waits until they are gone."""
        deadline = time.monotonic() + 30
        while rest := self._session(name):
            signal_all(rest, signal.SIGKILL)
            if time.monotonic() > deadline:
                raise LabError(f"{name} (process {rest[0]}) does not end after SIGKILL")
            time.sleep(0.01)
        self._forget(name)

    def stop(self, name, seconds):
        """SIGTERM, and SIGKILL to what is left after some seconds. Gives whether it ended by itself."""
        pid = self.pid(name)
        if pid is not None:
            signal_all([pid], signal.SIGCONT)
            signal_all([pid], signal.SIGTERM)
            deadline = time.monotonic() + seconds
            while self._session(name) and time.monotonic() < deadline:
                time.sleep(0.05)
        is_ended = not self._session(name)
        self.kill(name)
        return is_ended

    def pause(self, name):
        """SIGSTOP to it and all that it started."""
        self.require(name)
        signal_all(self._session(name), signal.SIGSTOP)

    def resume(self, name):
        """SIGCONT."""
        self.require(name)
        signal_all(self._session(name), signal.SIGCONT)

    def _forget(self, name):
        child = self.children.pop(name, None)
        if child is not None:
            child.wait()
        try:
            os.unlink(self._record(name))
        except FileNotFoundError:
            pass

    def tail(self, name, lines=15):
        """The last lines of its log."""
        try:
            with open(self.log(name), encoding="utf-8", errors="replace") as file:
                return "".join(file.readlines()[-lines:])
        except FileNotFoundError:
            return "(it said nothing)\n"
