"""What applications see on the mounts of a lab. Importing this registers every test."""

from . import attributes, chunkservers, content, failover, locking, names, programs, tools, trash

__all__ = ["attributes", "chunkservers", "content", "failover", "locking", "names", "programs", "tools", "trash"]
