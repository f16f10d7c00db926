"""The classes of a data set that is to be written: a TOML file of [[classes]] with name, color and group."""

from __future__ import annotations

import re
from pathlib import Path

from ..data import ClassInfo
from ..errors import KitError
from ..files import read_toml


def read(path: Path) -> tuple[ClassInfo, ...]:
    """The classes, in the order of the network's outputs.

    Raises:
        KitError: when the file can't be read, or what it says is no list of at least two classes.
    """
    content = read_toml(path)
    entries = content.get("classes")
    if not isinstance(entries, list) or not 2 <= len(entries) <= 255:
        raise KitError(f"{path}: expected 2 to 255 tables [[classes]]")
    found: list[ClassInfo] = []
    for index, entry in enumerate(entries):
        if not isinstance(entry, dict) or not all(isinstance(value, str) for value in entry.values()):
            raise KitError(f"{path}: classes[{index}] is {entry!r}, expected texts name, color and group")
        if unknown := sorted(set(entry) - {"name", "color", "group"}):
            raise KitError(f"{path}: classes[{index}].{unknown[0]} is unknown; known here: color, group, name")
        info = ClassInfo(entry.get("name", ""), entry.get("color", ""), entry.get("group", ""))
        if not info.name or info.name in (other.name for other in found):
            raise KitError(f"{path}: classes[{index}].name is {info.name!r}, expected a name that no other class has")
        if not re.fullmatch("#[0-9a-fA-F]{6}", info.color):
            raise KitError(f"{path}: classes[{index}].color is {info.color!r}, expected #rrggbb")
        found.append(info)
    return tuple(found)
