"""What applications see on the mounts of a lab. Importing this registers every test."""

from . import archive, attributes, chunkservers, content, exports, failover, locking, monitor, names, placement, programs, repair, tools, trash

__all__ = [
    "archive",
    "attributes",
    "chunkservers",
    "content",
    "exports",
    "failover",
    "locking",
    "monitor",
    "names",
    "placement",
    "programs",
    "repair",
    "tools",
    "trash",
]
