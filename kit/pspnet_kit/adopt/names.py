"""Finds the names of a foreign network's classes: in a file, a known data set, or the metadata in the model itself."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..data.known_classes import CAMVID, CITYSCAPES, VOC
from ..errors import KitError
from ..files import parse_toml, read_text

KNOWN = {"camvid": CAMVID, "cityscapes": CITYSCAPES, "voc": VOC}
LARGEST = 1 << 20
"""Bytes of a file of names."""
Class = Mapping[str, str]
"""`name`, and where they are known `color` and `group`."""


def read_classes(source: str, count: int) -> list[Class]:
    """The `count` classes that `source` names: a data set of KNOWN, a TOML file, or a text with a name on each line.

    Raises:
        KitError: when there is no such file, it is broken, or has another number of classes.
    """
    path = Path(source)
    if known := KNOWN.get(source):
        classes: list[Class] = [{"name": info.name, "color": info.color, "group": info.group} for info in known]
    else:
        try:
            text = read_text(path, LARGEST)
        except KitError as error:
            raise KitError(f"{error}; expected a file of class names, or one of {', '.join(KNOWN)}") from error
        classes = _toml(text, path) if path.suffix == ".toml" else [{"name": name} for name in lines(text)]
    if len(classes) != count:
        raise KitError(f"{path}: names {len(classes)} classes, the network has {count}")
    _check(classes, path)
    return classes


def found_classes(content: bytes, count: int) -> tuple[list[Class], str]:
    """The classes that the model file's own metadata names, and in words where they are from or why there are none.

    TensorFlow Lite's metadata is a ZIP archive at the end of the file, with the names in a text file.
    """
    plain: list[Class] = [{"name": f"class_{index}"} for index in range(count)]
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            texts = [entry for entry in archive.infolist() if entry.filename.endswith(".txt")]
            if sum(entry.file_size for entry in texts) > LARGEST:
                return plain, f"the texts of the file's metadata have more than {LARGEST} bytes; --classes gives names"
            files = {entry.filename: lines(archive.read(entry).decode()) for entry in texts}
    # A broken archive raises whatever its form of compression does; it is only a help.
    except Exception:
        return plain, "the file names no classes; --classes gives names, colours and groups"
    fitting = {name: names for name, names in files.items() if len(names) == count}
    if len(fitting) != 1:
        told = ", ".join(f"{name!r} with {len(names)}" for name, names in files.items()) or "none"
        return plain, f"the file's metadata has no list of {count} classes ({told}); --classes gives them"
    ((name, names),) = fitting.items()
    classes: list[Class] = [{"name": each} for each in names]
    try:
        _check(classes, Path(name))
    except KitError as error:
        return plain, f"the file's metadata names classes that can't be used ({error}); --classes gives them"
    return classes, f"classes are named by {name!r} in the file"


def lines(text: str) -> list[str]:
    """The names up to the first empty line, without numbers that only count them, from 0 or from 1."""
    names: list[str] = []
    for line in text.splitlines():
        if not line.strip():
            break
        names.append(line.strip())
    found = [re.fullmatch(r"(\d+)(?:\s*[:,;]\s*|\s+)(.+)", name) for name in names]
    numbered = [(int(match[1]), match[2]) for match in found if match]
    for first in (0, 1):
        if [number for number, _ in numbered] == [*range(first, first + len(names))]:
            return [name for _, name in numbered]
    return names


def _toml(text: str, path: Path) -> list[Class]:
    tables = parse_toml(path, text).get("classes")
    if not isinstance(tables, list) or not tables:
        raise KitError(
            f"{path}: has no [[classes]] with name and, if wanted, color and group, in the order of the logits"
        )
    classes: list[Class] = []
    for index, table in enumerate(tables):
        if not isinstance(table, dict) or not isinstance(table.get("name"), str):
            raise KitError(f"{path}: classes[{index}] has no name, expected a text")
        entry = {key: table[key] for key in ("name", "color", "group") if key in table}
        if wrong := [key for key, value in entry.items() if not isinstance(value, str)]:
            raise KitError(f"{path}: classes[{index}].{wrong[0]} is {entry[wrong[0]]!r}, expected a text")
        classes.append(entry)
    return classes


def _check(classes: Sequence[Class], path: Path) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(classes):
        name = entry["name"]
        if not name or not name.isprintable():
            raise KitError(f"{path}: class {index} has the name {name!r}; expected printable text")
        if name in seen:
            raise KitError(f"{path}: class {name!r} is there twice")
        seen.add(name)
        color = entry.get("color", "")
        if color and not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise KitError(f"{path}: class {name!r} has color {color!r}; expected #rrggbb")
