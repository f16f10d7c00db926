"""Whose pictures a labelled data set holds: the licences of a pool in one line, and its notice."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..pool.notice import NOTICE


def licence(listed: Iterable[str], added: str) -> str:
    """The distinct licences of some pictures, in one line.

    Args:
        listed: what the pool's list says of each; "" where it says nothing.
        added: what the user says of them besides.
    """
    said = set(listed)
    texts = sorted(said - {""})
    if added:
        texts += [added] if added not in texts else []
    elif texts and "" in said:
        texts.append("of some pictures not stated")
    return ", ".join(texts)


def citation(folder: Path, added: str) -> str:
    """What the user says, and where the authors are named if the data set in `folder` has a notice."""
    named = f"{NOTICE} of the data set names the authors of the pictures." if (folder / NOTICE).is_file() else ""
    return " ".join(filter(None, (added, named)))


def joined_notice(former: str, now: str) -> str:
    """The notice `now`, and behind it the parts of a former one whose sources it does not name: a data set keeps the
    pictures that left the pool."""
    parts = {_head(part): part for part in now.strip().split("\n\n")}
    for part in former.strip().split("\n\n") if former.strip() else ():
        parts.setdefault(_head(part), part)
    return "\n\n".join(parts.values()) + "\n"


def _head(part: str) -> tuple[str, ...]:
    """Title, line and origin of a part, as kit pool writes them: the files below these change as a pool grows."""
    return tuple(part.splitlines()[:3])
