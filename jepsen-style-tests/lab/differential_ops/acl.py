"""POSIX ACLs as text, `u::rwx,u:1001:r-x,g::r-x,m::rwx,o::---`, and as the bytes of their extended attribute."""

import struct

NAMES = {"access": "system.posix_acl_access", "default": "system.posix_acl_default"}
VERSION = 2
UNDEFINED = 0xFFFFFFFF
# The owner's, a named user's, the owning group's, a named group's entry.
TAGS = {("u", False): 1, ("u", True): 2, ("g", False): 4, ("g", True): 8, ("m", False): 16, ("o", False): 32}


def encoded(text):
    """The bytes, in the order in which the kernel wants them."""
    entries = []
    for word in text.split(",") if text else []:
        kind, who, letters = word.split(":")
        permissions = sum(bit for bit, letter in ((4, "r"), (2, "w"), (1, "x")) if letter in letters)
        entries.append((TAGS[kind, bool(who)], int(who) if who else UNDEFINED, permissions))
    return struct.pack("<I", VERSION) + b"".join(
        struct.pack("<HHI", tag, permissions, who) for tag, who, permissions in sorted(entries)
    )


def decoded(data):
    """The text; of bytes that are none, their digits."""
    if len(data) < 4 or (len(data) - 4) % 8 or struct.unpack_from("<I", data)[0] != VERSION:
        return "no ACL: " + data.hex()
    letters = {tag: letter for (letter, _), tag in TAGS.items()}
    words = []
    for tag, permissions, who in struct.iter_unpack("<HHI", data[4:]):
        shown = "".join(letter if permissions & bit else "-" for bit, letter in ((4, "r"), (2, "w"), (1, "x")))
        words.append(f"{letters.get(tag, tag)}:{who if tag in (2, 8) else ''}:{shown}")
    return ",".join(words)
