"""The errors that a command reports without a stack trace, and how messages show foreign values."""

from __future__ import annotations

import re
import unicodedata

_LONGEST = 80
_LONGEST_WORD, _END = 600, 200


class KitError(Exception):
    """Something the user can mend: the message says what is wrong, in which file, and what was expected."""


class WriteError(KitError):
    """A file of this machine that can't be written, as on a full disk: no other file of a run would fare better."""

    def __init__(self, place: object, error: OSError | ValueError) -> None:
        super().__init__(f"{place}: can't be written: {reason(error)}")


def reason(error: Exception) -> str:
    """Why a file can't be opened, without the names that a message has anyway."""
    return getattr(error, "strerror", None) or str(error)


def plain(text: str) -> str:
    """The text without what a terminal would obey: control and formatting characters but line ends as escapes."""
    return "".join(
        letter if letter.isprintable() or letter == "\n" or unicodedata.category(letter) == "Zs" else _escape(letter)
        for letter in text
    )


def brief(text: str) -> str:
    """A message without the middle of words that are longer than any path in use."""
    return re.sub(rf"\S{{{_LONGEST_WORD},}}", lambda word: f"{word[0][:_END]} … {word[0][-_END:]}", text)


def _escape(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode() if ord(letter) > 127 else f"\\x{ord(letter):02x}"


def shown(value: object) -> str:
    """The value in one line that is not too long for a message."""
    text = " ".join(repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
