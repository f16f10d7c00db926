"""The index of a pool: which pictures it has, what each was made of, and how."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import KitError, reason
from ..files import delete, read_json, write_whole
from .listing import Entry
from .make import FOLDERS, OUTPUT, outputs

INDEX = "pool.json"
_MAKING = ("frames", "exposures", "crop", "tiles")
"""What an entry says of how its pictures are made."""


class Index:
    """Which entries the pool has, in a file beside the pictures.

    Raises:
        KitError: when the file is no index, or names files that `kit pool` doesn't write: those are somebody else's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / INDEX
        self._pictures: dict[str, dict[str, Any]] = {}
        if not self._path.exists():
            return
        try:
            rows = [dict(row) for row in read_json(self._path)["pictures"]]
            self._pictures = {str(row["file"]): row for row in rows}
        except KitError as error:
            raise KitError(f"{error}; delete it to make the pool anew") from error
        except (ValueError, KeyError, TypeError) as error:
            raise KitError(f"{self._path}: is no index of a pool ({error}); delete it to make the pool anew") from error
        if foreign := [name for name in self._pictures if not OUTPUT.fullmatch(name)]:
            raise KitError(
                f"{self._path}: names the file {foreign[0]!r}, which kit pool doesn't write; delete the index to make "
                "the pool anew"
            )

    def has(self, entry: Entry) -> bool:
        """Whether all that the entry becomes is here, made as the list says now."""
        return all(
            _making(self._pictures.get(row["file"], {})) == _making(row) and (self._folder / row["file"]).is_file()
            for row in _rows(entry)
        )

    def entries(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that have a picture here, whichever way it was made, also where the index was deleted."""
        return [
            entry
            for entry in entries
            if any(name in self._pictures or (self._folder / name).exists() for name in outputs(entry))
        ]

    def refuse_strangers(self, entries: Iterable[Entry]) -> None:
        """Refuses pictures that neither the index nor the list has, such as those of a deleted index: no notice would
        name their authors, and they may be somebody's own.

        Raises:
            KitError: when there are any.
        """
        known = {*self._pictures, *(name for entry in entries for name in outputs(entry))}
        try:
            found = sorted(
                name
                for folder in FOLDERS
                for path in self._folder.glob(f"{folder}/*")
                if OUTPUT.fullmatch(name := str(path.relative_to(self._folder))) and name not in known
            )
        except OSError as error:
            raise KitError(f"{self._folder}: can't be read: {reason(error)}") from error
        if found:
            names = ", ".join(found[:3]) + (", …" if len(found) > 3 else "")
            raise KitError(
                f"{self._folder}: has {len(found)} pictures that neither the list nor {INDEX} names, so no notice "
                f"would say whose they are: {names}; delete them, or move them out of the pool"
            )

    def add(self, entry: Entry) -> None:
        """Notes that all outputs of the entry are here, with what the list says of them now."""
        rows = {row["file"]: row for row in _rows(entry)}
        if any(self._pictures.get(name) != row for name, row in rows.items()):
            self._pictures |= rows
            self._write()

    def keep(self, entries: Iterable[Entry]) -> None:
        """Deletes the pictures that none of the list's entries names, since the notice doesn't name them either."""
        wanted = {name for entry in entries for name in outputs(entry)}
        for name in [name for name in self._pictures if name not in wanted]:
            delete(self._folder / name)
            del self._pictures[name]
        self._write()

    def _write(self) -> None:
        rows = sorted(self._pictures.values(), key=lambda row: str(row["file"]))
        write_whole(self._path, (json.dumps({"pictures": rows}, indent=1) + "\n").encode("utf-8"))


def _making(row: dict[str, Any]) -> dict[str, Any]:
    """What a picture's pixels depend on; the rest of its row describes it."""
    return {key: row[key] for key in ("sha256", *_MAKING) if key in row}


def _rows(entry: Entry) -> list[dict[str, Any]]:
    """What the index says of each picture that the entry becomes."""
    common = {
        "source": entry.source.name,
        "path": entry.path,
        "sha256": entry.sha256,
        "place": entry.place,
        "licence": entry.source.licence,
        "held": entry.held,
    }
    made = {key: value for key, value in asdict(entry).items() if key in _MAKING and value}
    # As JSON gives it back.
    rows: list[dict[str, Any]] = json.loads(json.dumps([{"file": name, **common, **made} for name in outputs(entry)]))
    return rows
