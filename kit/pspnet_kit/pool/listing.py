"""Reads the list of a pool: which files, where from, under which licence, and what is made of each.

An example:

    [[source]]
    name = "yard-clips"                       # the outputs' names begin with it
    title = "Clips of a yard"
    repository = "github:owner/clips"         # or package = "opencv-doc 4.6.0 (Debian)"
    commit = "0123456789abcdef0123456789abcdef01234567"     # with a repository only
    licence = "CC-BY-4.0"                     # one of listing.LICENCES
    stated = "README.md"                      # where the source says so
    attribution = "Jane Doe"
    raw = "https://example.org/0123/{path}"   # optional: where a file can be downloaded
    get = "apt-get download opencv-doc"       # optional: how a person gets the files
    changes = "cropped"                       # optional: for the notice, besides what the kit changes
    files = [
        { path = "a.jpg", sha256 = "…", place = "yard" },
        { path = "b.mp4", sha256 = "…", place = "car park", frames = [0, 599, 5] },      # first, last, step
        { path = "b.mp4", sha256 = "…", place = "car park", frames = [600, 794, 10], held = true },
        { path = "c.hdr", sha256 = "…", place = "hall", exposures = [1.5, 0.0, -2.0] },  # bright, mid, dark: stops
        { path = "d.png", sha256 = "…", place = "street", crop = [0, 0, 640, 200] },     # left, top, width, height
        { path = "e.jpg", sha256 = "…", place = "car park", tiles = [3, 2] },    # six pictures: 3 side by side, 2 rows
    ]

`held = true` keeps pictures out of training, to judge with. `name` in a file replaces the stem of its path.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..data.pictures import SUFFIXES
from ..data.toml_table import Table
from ..errors import KitError, shown

LICENCES = {
    "CC0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    "CC-BY-2.0": "https://creativecommons.org/licenses/by/2.0/",
    "CC-BY-3.0": "https://creativecommons.org/licenses/by/3.0/",
    "CC-BY-4.0": "https://creativecommons.org/licenses/by/4.0/",
    "public domain": "",
    "MIT": "https://opensource.org/license/mit",
    "BSD-2-Clause": "https://opensource.org/license/bsd-2-clause",
    "BSD-3-Clause": "https://opensource.org/license/bsd-3-clause",
    "Apache-2.0": "https://www.apache.org/licenses/LICENSE-2.0",
    "unrestricted": "",
    "CDLA-Permissive-1.0": "https://cdla.dev/permissive-1-0/",
}
"""The licences that permit any use, and where their texts stand."""
EXPOSURES = ("bright", "mid", "dark")
VIDEOS = (".avi", ".mp4", ".mkv", ".webm", ".mov", ".gif")
PANORAMAS = (".hdr", ".exr")
MOST_STOPS = 20
"""By which an exposure may differ from the scene's own: what lies beyond is black or white."""
MOST_FRAMES = 100_000
"""Of one entry."""
MOST_TILES = 1000
LONGEST_NAME = 100
"""Letters of an output's name: what is added to it has to fit into a file's name too."""
LARGEST = 10**9
"""No frame, row or column has a greater number."""
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Source:
    """A repository or package that pictures come from, with the licence that it states for them."""

    name: str
    title: str
    origin: str
    """The repository with its commit, or the package with its version."""
    licence: str
    stated: str
    attribution: str
    raw: str
    get: str
    changes: str


@dataclass(frozen=True)
class Entry:
    """A file of a source and what is made of it: a picture, frames of a video, or a panorama's exposures."""

    source: Source
    path: str
    sha256: str
    place: str
    stem: str
    """Of the outputs' names."""
    held: bool
    frames: tuple[int, int, int] | None
    exposures: tuple[float, ...]
    crop: tuple[int, int, int, int] | None
    tiles: tuple[int, int] | None = None
    """Columns and rows that a large picture is cut into, after `crop`."""

    @property
    def suffix(self) -> str:
        """The ending of the file, in small letters, with its dot."""
        return PurePosixPath(self.path).suffix.lower()

    @property
    def where(self) -> str:
        """For messages: the file and where it comes from."""
        return f"{self.path} of {self.source.origin}"


def read(path: Path) -> list[Entry]:
    """The files of the list, in its order.

    Raises:
        KitError: for anything that is wrong in it, with the key.
    """
    top = Table.of(path)
    entries: list[Entry] = []
    names: set[str] = set()
    for table in top.tables("source"):
        source = _source(table)
        if source.name in names:
            raise table.wrong("name", f"is {source.name!r}, as that of an earlier source")
        names.add(source.name)
        files = table.tables("files")
        if not files:
            raise table.wrong("files", "is empty")
        entries += [_entry(source, file) for file in files]
        table.refuse_others()
    top.refuse_others()
    if not entries:
        raise KitError(f"{path}: has no source, expected tables [[source]]")
    _refuse_doubles(path, entries)
    return entries


def _refuse_doubles(path: Path, entries: Sequence[Entry]) -> None:
    """Refuses what would overwrite another output, be learned twice, or be learned though it is held back."""
    names: dict[str, Entry] = {}
    frames: dict[tuple[str, int], Entry] = {}
    for entry in entries:
        for number in range(entry.frames[0], entry.frames[1] + 1, entry.frames[2]) if entry.frames else (-1,):
            name = entry.stem if number < 0 else f"{entry.stem}, frame {number},"
            if (other := frames.setdefault((entry.sha256, number), entry)) is not entry:
                what = "" if number < 0 else f"frame {number} of "
                raise KitError(f"{path}: {what}{entry.where} is there twice, also as that of {other.where}")
            if (other := names.setdefault(name, entry)) is not entry:
                raise KitError(f"{path}: {entry.where} has the name {name!r} of {other.where}; give it a `name`")


def _source(table: Table) -> Source:
    name = table.text("name")
    if not _NAME.fullmatch(name) or len(name) > LONGEST_NAME:
        raise table.wrong("name", f"is {shown(name)}, expected small letters, digits and dashes")
    licence = table.text("licence")
    if licence not in LICENCES:
        known = ", ".join(LICENCES)
        raise table.wrong("licence", f"is {licence!r}, expected one that permits any use: {known}")
    if "repository" in table.content:
        origin = f"{table.text('repository')}@{table.text('commit')}"
    else:
        origin = table.text("package")
    raw = table.text("raw", "")
    if raw and not (_is_address(raw) and "{path}" in raw):
        raise table.wrong("raw", f"is {shown(raw)}, expected a web address with {{path}} in it")
    return Source(
        name=name,
        title=table.text("title"),
        origin=origin,
        licence=licence,
        stated=table.text("stated"),
        attribution=table.text("attribution"),
        raw=raw,
        get=table.text("get", ""),
        changes=table.text("changes", ""),
    )


def _is_address(text: str) -> bool:
    try:
        parts = urllib.parse.urlsplit(text)
        # The port is only looked at when it is asked for.
        return parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0 and text.isascii()
    except ValueError:
        return False


def _entry(source: Source, table: Table) -> Entry:
    path, sha256 = table.text("path"), table.text("sha256")
    if not _SHA256.fullmatch(sha256):
        raise table.wrong("sha256", f"is {sha256!r}, expected 64 digits and letters a to f")
    if path.startswith("/") or ".." in PurePosixPath(path).parts:
        raise table.wrong("path", f"is {path!r}, expected a path inside the source")
    suffix = PurePosixPath(path).suffix.lower()
    stem = table.text("name", PurePosixPath(path).stem)
    stem = re.sub(r"[^a-z0-9]+", "-", stem.lower().removesuffix("_1k")).strip("-")
    if len(stem) > LONGEST_NAME:
        raise table.wrong("name", f"is {shown(stem)}, expected at most {LONGEST_NAME} letters")
    frames = _numbers(table, "frames", 3, "first, last and step") if suffix in VIDEOS else ()
    exposures = _numbers(table, "exposures", 3, f"the stops of {', '.join(EXPOSURES)}") if suffix in PANORAMAS else ()
    crop = _numbers(table, "crop", 4, "left, top, width and height") if "crop" in table.content else ()
    tiles = _numbers(table, "tiles", 2, "columns and rows") if suffix in SUFFIXES and "tiles" in table.content else ()
    if suffix not in (*SUFFIXES, *VIDEOS, *PANORAMAS):
        endings = ", ".join((*SUFFIXES, *VIDEOS, *PANORAMAS))
        raise table.wrong("path", f"is {path!r}, expected a file that ends in one of {endings}")
    if frames and not (0 <= frames[0] <= frames[1] <= LARGEST and 1 <= frames[2] <= LARGEST):
        raise table.wrong("frames", f"is {shown(frames)}, expected first, last and step, the first not after the last")
    if frames and (count := (frames[1] - frames[0]) // frames[2] + 1) > MOST_FRAMES:
        raise table.wrong("frames", f"is {shown(frames)}, which are {count}, expected at most {MOST_FRAMES}")
    if exposures and not all(abs(stops) <= MOST_STOPS for stops in exposures):
        raise table.wrong("exposures", f"is {shown(exposures)}, expected stops from -{MOST_STOPS} to {MOST_STOPS}")
    if crop and (min(crop[:2]) < 0 or min(crop[2:]) < 1 or max(crop) > LARGEST):
        raise table.wrong("crop", f"is {shown(crop)}, expected left, top, width and height inside the picture")
    if tiles and (min(tiles) < 1 or tiles[0] * tiles[1] > MOST_TILES):
        raise table.wrong(
            "tiles", f"is {shown(tiles)}, expected columns and rows, at least 1 each and at most {MOST_TILES} tiles"
        )
    entry = Entry(
        source=source,
        path=path,
        sha256=sha256,
        place=table.text("place"),
        stem=stem if suffix in PANORAMAS else f"{source.name}_{stem}",
        held=table.flag("held"),
        frames=(int(frames[0]), int(frames[1]), int(frames[2])) if frames else None,
        exposures=exposures,
        crop=(int(crop[0]), int(crop[1]), int(crop[2]), int(crop[3])) if crop else None,
        tiles=(int(tiles[0]), int(tiles[1])) if tiles else None,
    )
    table.refuse_others()
    return entry


def _numbers(table: Table, key: str, count: int, expected: str) -> tuple[float, ...]:
    values = table.take(key, list, f"a list of {expected}")
    whole = key != "exposures"
    kinds = (int,) if whole else (int, float)
    if len(values) != count or not all(isinstance(value, kinds) and not isinstance(value, bool) for value in values):
        raise table.wrong(key, f"is {shown(values)}, expected a list of {expected}")
    return tuple(values)
