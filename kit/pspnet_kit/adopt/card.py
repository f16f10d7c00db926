"""The folder of an adopted model: model.tflite, manifest.toml and README.md, put in place all together."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import KitError
from ..export.manifest import Manifest, write_manifest
from ..files import PART, check_folder, write_whole

FILES = ("model.tflite", "manifest.toml", "README.md")


@dataclass(frozen=True)
class Card:
    """What README.md says."""

    manifest: Manifest
    original: str
    """The file's name, and where it is from."""
    sha256: str
    """Of the original."""
    ends: str
    """Input and output in words."""
    changes: Sequence[str]
    checks: Sequence[str]
    notes: Sequence[str]

    def text(self) -> str:
        licence = self.manifest.licence or "Not known: none was given. Ask whoever made the original before you use it."
        sections = [
            f"# {self.manifest.name}\n\n{self.manifest.description}.",
            f"## Original\n{self.original}, SHA-256 `{self.sha256}`. Nothing was trained here: only its makers can "
            "tell on which pictures the network was trained, and what it is good and bad at.",
            f"## Changes\nThe file here is not the original.\n\n{_list(self.changes)}",
            f"## Input and output\n{self.ends[:1].upper()}{self.ends[1:]}.",
            f"## Checks\n{_list(self.checks)}",
            *([f"## Good to know\n{_list(self.notes)}"] if self.notes else []),
            f"## Licence\n{licence}",
        ]
        return "\n\n".join(sections) + "\n"


def check_place(folder: Path) -> None:
    """Tries whether the folder can be made, before time is spent.

    Raises:
        KitError: when it can't be, or holds something already.
    """
    try:
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise KitError(f"{folder}: is there already, and no folder; name a new one")
        if folder.is_dir() and any(folder.iterdir()):
            raise KitError(f"{folder}: has files in it already; name a new folder, or empty it")
    except OSError as error:
        raise KitError(f"{folder}: can't be read: {error.strerror or error}") from error
    check_folder(folder.absolute().parent, folder)


def write_folder(folder: Path, model: bytes, card: Card) -> None:
    """Writes the three files beside the place and moves them there at once: a kill leaves no half of them.

    Raises:
        KitError: when they can't be written.
    """
    part = folder.absolute().with_name(folder.absolute().name + ".part")
    try:
        _clear(part)
        part.mkdir(parents=True)
        write_whole(part / FILES[0], model)
        write_manifest(card.manifest, part / FILES[0])
        write_whole(part / FILES[2], card.text().encode())
        # Takes the place of an empty folder too.
        os.rename(part, folder)
    except (OSError, KitError, UnicodeEncodeError) as error:
        with contextlib.suppress(OSError):
            _clear(part)
        if isinstance(error, KitError):
            raise
        why = error.strerror or error if isinstance(error, OSError) else error
        raise KitError(f"{folder}: can't be written: {why}") from error


def _clear(part: Path) -> None:
    """Removes what a run that was killed left."""
    if part.is_dir():
        for name in FILES:
            (part / name).unlink(missing_ok=True)
        for left in part.glob(f".*{PART}"):
            left.unlink(missing_ok=True)
        part.rmdir()


def _list(entries: Sequence[str]) -> str:
    return "\n".join(f"- {entry[:1].upper()}{entry[1:]}." for entry in entries)
