"""The one error that a command reports without a stack trace, and how messages show foreign values."""

from __future__ import annotations

_LONGEST = 80


class KitError(Exception):
    """Something the user can mend: the message says what is wrong, in which file, and what was expected."""


def shown(value: object) -> str:
    """The value in one line that is not too long for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
