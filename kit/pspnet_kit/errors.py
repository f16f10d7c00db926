"""The errors that a command reports without a stack trace."""

from __future__ import annotations


class KitError(Exception):
    """Something the user can mend: the message says what is wrong, in which file, and what was expected."""


class WriteError(KitError):
    """A file of this machine that can't be written, as on a full disk: no other file of a run would fare better."""

    def __init__(self, place: object, error: OSError) -> None:
        super().__init__(f"{place}: can't be written: {error.strerror or error}")
