"""A MooseFS cluster on one machine: unmodified mounts and chunkservers, and nodes of mfsha or the real mfsmaster.

Every host is a network namespace. Nothing here knows what is tested in it.
"""

from .errors import LabError, Unavailable
from .lab import Lab, Settings

__all__ = ["Lab", "LabError", "Settings", "Unavailable"]
