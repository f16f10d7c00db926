"""Reads the list of sets that an exam is held on: docs/training-reference.md says what each key means."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ..data import VOID
from ..data.labels import LabelFormat, parse_color
from ..data.toml_table import Table
from .groups import group_id

LABELME = "labelme"
SURE = 0.7


@dataclass(frozen=True)
class Named:
    """A picture by its name and digest."""

    file: str
    sha256: str
    source: Mapping[str, str]


@dataclass(frozen=True)
class ExamSet:
    """One set, as the file describes it."""

    name: str
    place: str
    root: Path
    """The file's folder, which paths start from."""
    source: Mapping[str, str]
    """Where its pictures come from. Only pictures with a source may be absent."""
    patterns: tuple[str, ...] = ()
    named: tuple[Named, ...] = ()
    clip: str = ""
    sequence: bool = False
    """The pictures are frames that follow one another."""
    count: int | None = None
    every: int = 1
    labels: str = ""
    """`labelme`, a folder or glob of label pictures, or nothing."""
    mapping: Mapping[str, str] = field(default_factory=dict)
    """What labels mean: names, ids or colours to groups or `void`."""
    format: LabelFormat | None = None
    """The same for label pictures."""
    impossible: tuple[str, ...] = ()
    teacher: str = ""
    sure: float = SURE

    def origin(self) -> str:
        """The source in words."""
        return told(self.source)


@dataclass(frozen=True)
class Exam:
    """The whole file."""

    path: Path
    sets: tuple[ExamSet, ...]
    classes: Mapping[str, str]
    """Groups of class names that the kit does not know."""


def told(source: Mapping[str, object]) -> str:
    """A source in words."""
    return ", ".join(str(value) for value in source.values())


def read(path: Path) -> Exam:
    """Reads and checks the list. No picture is looked for yet.

    Raises:
        KitError: when it can't be read, a key is unknown, missing or of another type, or a group is unknown.
    """
    top = Table.of(path)
    classes = _groups(top, "classes", void=False)
    tables = top.tables("set")
    if not tables:
        raise top.wrong("set", "is empty, expected tables [[set]]")
    sets = tuple(_set(table) for table in tables)
    top.refuse_others()
    names = [each.name for each in sets]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise tables[index].wrong("name", f"is {name!r}, as that of an earlier set")
    return Exam(path, sets, classes)


def _set(table: Table) -> ExamSet:
    ways = [key for key in ("pictures", "picture", "clip") if key in table.content]
    if len(ways) != 1:
        told = " and ".join(ways) or "none of them"
        raise table.wrong("pictures", f"or [[set.picture]] or clip: expected one of the three, found {told}")
    mapping = _groups(table, "mapping", void=True)
    labels = table.text("labels", "")
    if mapping and not labels:
        raise table.wrong("mapping", "says what labels mean, but the set has no labels")
    if labels == LABELME and ways[0] != "pictures":
        raise table.wrong("labels", f'is "labelme", which goes with pictures, not with {ways[0]}')
    impossible = tuple(table.texts("impossible", ()))
    for group in impossible:
        group_id(group, f"{table.path}: {table.place}.impossible")
    sequence = table.flag("sequence")
    found = ExamSet(
        table.text("name"),
        table.text("place"),
        table.path.parent,
        _source(table),
        tuple(table.texts("pictures", ())),
        tuple(_named(entry) for entry in table.tables("picture")) if "picture" in table.content else (),
        table.text("clip", ""),
        sequence or ways[0] == "clip",
        _positive(table, "count") if "count" in table.content else None,
        _positive(table, "every"),
        labels,
        mapping,
        _format(table, mapping) if labels not in ("", LABELME) else None,
        impossible,
        table.text("teacher", ""),
        table.number("sure", SURE),
    )
    if not 0 < found.sure < 1:
        raise table.wrong("sure", f"is {found.sure:g}, expected more than 0 and less than 1")
    if found.clip and labels:
        raise table.wrong("labels", "can't be given for a clip")
    table.refuse_others()
    return found


def _named(table: Table) -> Named:
    sha256 = table.text("sha256").lower()
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise table.wrong("sha256", f"is {sha256!r}, expected 64 hexadecimal digits")
    found = Named(table.text("file"), sha256, _source(table))
    table.refuse_others()
    return found


def _source(table: Table) -> dict[str, str]:
    """Where pictures come from: free keys, all of them texts."""
    if "source" not in table.content:
        table.take("source", dict, "a table", {})
        return {}
    source = table.table("source")
    return {key: source.text(key) for key in source.content}


def _groups(table: Table, key: str, void: bool) -> dict[str, str]:
    """A table of groups; empty where it is missing."""
    if key not in table.content:
        table.take(key, dict, "a table", {})
        return {}
    entries = table.table(key)
    found = {name: entries.text(name) for name in entries.content}
    for name, group in found.items():
        group_id(group, f"{table.path}: {entries.place}.{name}", void)
    return found


def _format(table: Table, mapping: Mapping[str, str]) -> LabelFormat:
    """What the values of label pictures mean: ids, or colours where the keys are #rrggbb."""
    if not mapping:
        raise table.wrong("mapping", "is missing, expected a group for every id or colour of the label pictures")
    kind = "color" if all(key.startswith("#") for key in mapping) else "index"
    ids = {}
    for key, group in mapping.items():
        try:
            value = parse_color(key) if kind == "color" else int(key)
        except ValueError:
            raise table.wrong(
                "mapping", f"has the key {key!r}, expected ids from 0 to 255, or colours #rrggbb"
            ) from None
        if kind == "index" and not 0 <= value <= 255:
            raise table.wrong("mapping", f"has the id {value}, expected 0 to 255")
        ids[value] = group_id(group, str(table.path), void=True)
    if kind == "index":
        ids.setdefault(VOID, VOID)
    return LabelFormat(kind, ids)


def _positive(table: Table, key: str) -> int:
    value = table.whole(key, 1)
    if value < 1:
        raise table.wrong(key, f"is {value}, expected at least 1")
    return value
