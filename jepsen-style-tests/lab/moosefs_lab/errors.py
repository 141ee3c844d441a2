"""What can go wrong with a lab."""

EXIT_FAILED = 1
EXIT_USAGE = 64
EXIT_UNAVAILABLE = 69


class LabError(Exception):
    """Something was asked that cannot be done, or did not happen."""


class Unavailable(LabError):
    """This machine or this user cannot have a lab; the message says what is missing."""
