"""Reads dataset.toml: any pair of folders as a data set.

An example:

    name = "garden"
    licence = "own pictures"        # optional, as is citation
    labels = "index"                # or "color"
    void = [255]                    # ids or "#rrggbb"; without it [255] for "index" if that is no class, else none

    [splits.train]                  # folders or globs, relative to this file
    images = "images"
    labels = "labels"
    soft = "soft"                   # optional: probabilities of the groups, see Dataset.read_soft

    [splits.val]                    # optional: a part of another split, see sources.Part
    fraction = 0.2
    of = "train"                    # optional, as is seed
    seed = 0

    [[sources]]                     # optional: other data that the labels come from, as a teacher's
    name = "CamVid"
    licence = "non-commercial"      # optional, as is citation

    [[classes]]                     # in the order of the network's outputs
    name = "lawn"
    color = "#347e3d"               # optional for "index": see default_color
    id = 3                          # optional, for "index": else the order counts, from 0
    group = "vegetation"            # optional
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from . import origin
from .dataset import ClassInfo, Dataset, Source
from .labels import MAX_CLASSES, VOID, LabelFormat, hex_color, parse_color
from .sources import FolderPairs, Part
from .toml_table import Table

FILE = "dataset.toml"
SETTINGS = "label.json"
"""What `kit label` writes beside it: how the labels were made."""
UNNAMED = {"name": f"a teacher that {FILE} does not name (run kit label again)", "licence": "", "citation": ""}
"""The source of labels that an older `kit label` made, which wrote no sources."""
PALETTE = (0x0072B2, 0xE69F00, 0x009E73, 0xD55E00, 0x56B4E9, 0xCC79A7, 0xF0E442, 0x999999)
"""Okabe and Ito 2008, Color Universal Design, told apart by colour-blind readers too; grey in place of its black."""


def read(path: Path) -> Dataset:
    """The data set that the file describes.

    Raises:
        KitError: for anything that is wrong in it, with the key or the line.
    """
    top = Table.of(path)
    name = top.text("name")
    licence, citation = top.text("licence", ""), top.text("citation", "")
    kind = top.text("labels")
    if kind not in ("index", "color"):
        raise top.wrong("labels", f'is {kind!r}, expected "index" or "color"')
    classes, values = _classes(top, kind)
    void = _void(top, kind, values)
    if both := [index for index, value in enumerate(values) if value in void]:
        raise top.wrong("void", f"has the value of the class {classes[both[0]].name!r}")
    sources = _sources(path.parent, top)
    others = _others(path, top)
    top.refuse_others()
    ids = {value: train_id for train_id, value in enumerate(values)} | dict.fromkeys(void, VOID)
    return Dataset(name, classes, licence, citation, path.parent, LabelFormat(kind, ids), sources, others)


def _others(path: Path, top: Table) -> tuple[dict[str, str], ...]:
    """The other data that the labels come from."""
    if "sources" not in top.content:
        return (UNNAMED,) if path.with_name(SETTINGS).is_file() else ()
    found = []
    for table in top.tables("sources"):
        found.append({key: table.text(key, None if key == "name" else "") for key in origin.KEYS})
        table.refuse_others()
    return tuple(found)


def default_color(index: int) -> str:
    """The colour of a class that names none: PALETTE in its order, then dark, then pale, then from the start again.

    Dark is half of each channel, pale is half way to white.
    """
    shade, color = divmod(index % (3 * len(PALETTE)), len(PALETTE))
    channels = PALETTE[color].to_bytes(3, "big")
    shaded = [(value, value // 2, (value + 255) // 2)[shade] for value in channels]
    return hex_color(int.from_bytes(shaded, "big"))


def _classes(top: Table, kind: str) -> tuple[tuple[ClassInfo, ...], list[int]]:
    """The classes and the value of each in the label pictures."""
    tables = top.tables("classes")
    if not 2 <= len(tables) <= MAX_CLASSES:
        raise top.wrong("classes", f"has {len(tables)} classes, expected 2 to {MAX_CLASSES}")
    classes: list[ClassInfo] = []
    values: list[int] = []
    numbered = any("id" in table.content for table in tables)
    if numbered and kind == "color":
        raise top.wrong("classes", 'have ids, but labels = "color" tells classes by their colour')
    for index, table in enumerate(tables):
        default = default_color(index) if kind == "index" else None
        info = ClassInfo(table.text("name"), table.text("color", default).lower(), table.text("group", ""))
        color = _value(table, "color", info.color, "color")
        value = color if kind == "color" else _value(table, "id", table.whole("id"), kind) if numbered else index
        table.refuse_others()
        if info.name in (other.name for other in classes):
            raise table.wrong("name", f"is {info.name!r}, as that of an earlier class")
        if value in values:
            key, other = "color" if kind == "color" else "id", classes[values.index(value)].name
            raise table.wrong(key, f"is also that of the class {other!r}")
        classes.append(info)
        values.append(value)
    return tuple(classes), values


def _void(top: Table, kind: str, values: Sequence[int]) -> set[int]:
    # Masks of 0 and 255 are common: there 255 is a class.
    default = [255] if kind == "index" and 255 not in values else []
    entries = top.take("void", list, "a list of ids or colours", default)
    return {_value(top, "void", entry, kind) for entry in entries}


def _value(table: Table, key: str, entry: object, kind: str) -> int:
    """An id or a colour of `key` as the number that label pictures are searched for."""
    if kind == "index":
        if type(entry) is not int or not 0 <= entry <= 255:
            raise table.wrong(key, f"has {entry!r}, expected an id from 0 to 255")
        return entry
    try:
        return parse_color(str(entry))
    except ValueError:
        raise table.wrong(key, f"has {entry!r}, expected a colour as #rrggbb") from None


def _sources(root: Path, top: Table) -> dict[str, Source]:
    splits = top.table("splits")
    names = list(splits.content)
    if not names:
        raise top.wrong("splits", "is empty, expected [splits.train] with images and labels")
    sources: dict[str, Source] = {}
    parts: dict[str, Table] = {}
    for name in names:
        split = splits.table(name)
        if "+" in name:
            raise splits.wrong(name, 'has a "+" in its name, which joins splits')
        if "fraction" in split.content:
            parts[name] = split
            continue
        sources[name] = FolderPairs(root, name, split.text("images"), split.text("labels"), split.text("soft", ""))
        split.refuse_others()
    for name, split in parts.items():
        whole, fraction, seed = split.text("of", "train"), split.number("fraction"), split.whole("seed", 0)
        if not 0 < fraction < 1:
            raise split.wrong("fraction", f"is {fraction}, expected more than 0 and less than 1")
        if whole not in sources or whole in parts:
            raise split.wrong("of", f"is {whole!r}, expected a split that has images and labels")
        split.refuse_others()
        # Several parts are taken one after another, each from what the earlier ones left.
        sources[name] = Part(sources[whole], name, fraction, seed)
        sources[whole] = Part(sources[whole], name, fraction, seed, rest=True)
    return {name: sources[name] for name in names}
