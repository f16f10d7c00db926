"""What a data set knows of each place that was labelled: what its labels depend on, and which pictures it became."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KitError
from ..files import read_json, write_whole

FILE = "made.json"


@dataclass(frozen=True)
class Record:
    """Of one place: a picture or panorama of the pool."""

    files: tuple[str, ...]
    """SHA-256 of each of its files."""
    kind: str
    """Of place, where that decides about labels."""
    pictures: tuple[str, ...]
    """Names of what was written for it."""
    licences: tuple[str, ...]
    """Of its files; no label depends on them."""

    def same(self, other: Record) -> bool:
        """Whether both have the same labels."""
        return dataclasses.replace(self, licences=other.licences) == other


def read(folder: Path) -> dict[str, Record] | None:
    """The records by the places' names; None where there is no file of them, as older versions wrote none.

    Raises:
        KitError: when it can't be read.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        entries = read_json(path)["places"]
        return {name: _record(each) for name, each in entries.items()}
    except KitError as error:
        raise KitError(f"{error}; delete the folder to label anew") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KitError(f"{path}: is no list of labelled pictures ({error}); delete the folder to label anew") from error


def write(folder: Path, records: Mapping[str, Record]) -> None:
    """Writes all of them, whole or not at all.

    Raises:
        KitError: when it can't be written.
    """
    places = {name: dataclasses.asdict(record) for name, record in sorted(records.items())}
    write_whole(folder / FILE, (json.dumps({"places": places}, indent=1) + "\n").encode("utf-8"))


def _record(entry: Mapping[str, Any]) -> Record:
    files, pictures, licences = (tuple(entry[key]) for key in ("files", "pictures", "licences"))
    return Record(files, str(entry["kind"]), pictures, licences)
