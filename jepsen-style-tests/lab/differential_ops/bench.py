"""The two labs, and lists carried out in both."""

import contextlib
import itertools
import os
import time

from moosefs_lab import Lab, Settings

from .comparison import compare
from .side import PACE_SECONDS, Side

# What mounts remember of names and attributes would depend on the moment.
MOUNT_OPTIONS = (
    "mfsattrcacheto=0,mfsentrycacheto=0,mfsdirentrycacheto=0,mfsnegentrycacheto=0,mfsxattrcacheto=0,"
    "mfsgroupscacheto=300"
)
NAMES = ("real", "ours")


class Bench:
    """The real mfsmaster and ours, with two mounts and one of the trash each."""

    def __init__(self, name, directory, bin_dir, lanes):
        self.labs = [Lab(name + word[0], os.path.join(directory, word) if directory else None) for word in NAMES]
        self.bin_dir = bin_dir
        self.lanes = lanes
        self.sides = []
        self.numbers = itertools.count()
        self.tag = f"{os.getpid():x}{int(time.time()) & 0xFFFF:04x}"

    def up(self, may_install):
        """Brings both up."""
        for word, lab in zip(NAMES, self.labs):
            settings = Settings(
                baseline=word == "real",
                chunkservers=2,
                bin_dir=os.path.abspath(self.bin_dir),
                mount_options=MOUNT_OPTIONS,
            )
            lab.up(settings, may_install)
        self.attach()

    def attach(self):
        """Uses labs that are up."""
        for lab in self.labs:
            lab.require()
            trash = lab.path("mnt", "trash")
            if trash not in lab.mounts.all():
                with lab.locked():
                    lab.mounts.add(1, trash, "mfsmeta")
            self.sides.append(Side(lab, os.path.join(trash, "trash"), self.lanes))

    def down(self, keep_logs):
        """Removes both."""
        self.end()
        for lab in self.labs:
            lab.down(keep_logs)

    def end(self):
        """Ends what still runs in them."""
        for side in self.sides:
            side.end()

    def differences(self, lists, has_pace=True, report=None, spoil=None, ours=None):
        """The first difference of each list, or None.

        For a self-test: `spoil` changes results of ours, and `ours` has other lists for it.
        """
        directories = [f"d-{self.tag}-{next(self.numbers)}" for _ in lists]
        pace = PACE_SECONDS if has_pace else 0
        try:
            self.sides[0].begin(list(zip(directories, lists)), pace, report)
            self.sides[1].begin(list(zip(directories, ours or lists)), pace, None, spoil)
            results = [side.results() for side in self.sides]
        finally:
            with contextlib.suppress(ProcessLookupError):
                self.end()
        return [compare(results[0][directory], results[1][directory]) for directory in directories]
