"""Gathers the pictures and labels of a set: what is here, and the names of what is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..data.labels import LabelFormat
from ..data.pictures import SUFFIXES, in_time, is_picture, size_of, turn_told
from ..errors import KitError
from ..files import digest
from . import labelme
from .clips import frames
from .labelme import Drawing
from .pictures import Frame, Picture, PictureFile, View
from .sets import LABELME, ExamSet, told
from .shelf import Shelf


class Label(Protocol):
    """The label of a picture, not yet read."""

    @property
    def path(self) -> Path:
        """The file that holds it."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        ...

    def label(self) -> NDArray[np.uint8]:
        """Group ids `[h, w]`, 255 where nothing is judged."""
        ...


@dataclass(frozen=True)
class LabelPicture:
    """A label that is a picture of ids or colours."""

    path: Path
    format: LabelFormat

    @property
    def size(self) -> tuple[int, int]:
        """See Label."""
        return size_of(self.path)

    def label(self) -> NDArray[np.uint8]:
        """See Label."""
        return self.format.read(self.path)


@dataclass(frozen=True)
class Item:
    """A picture of a set, with its label where it has one."""

    picture: Picture
    drawn: Label | None = None

    def read(self) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
        """The picture, uint8 `[h, w, 3]`, and the group ids `[h, w]`.

        Raises:
            KitError: when one of them can't be read, or their sizes differ.
        """
        image = self.picture.read()
        if self.drawn is None:
            return image, None
        # Before the label is made: a mistyped size would take all memory.
        sizes = (self.drawn.size, (image.shape[1], image.shape[0]))
        if sizes[0] != sizes[1]:
            own, other = (f"{width}x{height}" for width, height in sizes)
            told = f"{self.drawn.path}: is for {own}, but its picture {self.picture.name} is {other}"
            if isinstance(self.picture, PictureFile) and not self.picture.turned:
                told += turn_told(self.picture.path, sizes[1], sizes[0])
            raise KitError(told)
        return image, self.drawn.label()


@dataclass
class Gathered:
    """A set with what this machine has of it."""

    of: ExamSet
    items: list[Item] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    """What is not here, a sentence each."""
    missing_pictures: int = 0
    """How many pictures that is, where it is known."""
    notes: list[str] = field(default_factory=list)
    """What else is left out, and why."""


def gather(exam_set: ExamSet, shelf: Shelf) -> Gathered:
    """Looks for everything that the set lists. Pictures are not read yet.

    Raises:
        KitError: when something that must be here is not, or the set is empty.
    """
    found = Gathered(exam_set)
    if exam_set.clip:
        _clip(found, shelf)
    elif exam_set.named:
        _named(found, shelf)
    elif exam_set.labels == LABELME:
        _drawings(found, shelf)
    else:
        _listed(found, shelf)
    if not found.items and not found.missing:
        raise KitError(f"{exam_set.root}: the set {exam_set.name} is empty; expected pictures ({', '.join(SUFFIXES)})")
    return found


def _clip(found: Gathered, shelf: Shelf) -> None:
    paths = _files(found, shelf, found.of.clip)
    if paths:
        pictures = [Frame(paths[0], number, jpeg) for number, jpeg in enumerate(frames(paths[0]))]
        found.items = [Item(picture) for picture in pictures[:: found.of.every]]


def _listed(found: Gathered, shelf: Shelf) -> None:
    """Pictures of folders or globs, with label pictures of the same stem where the set has such."""
    paths = list(filter(is_picture, _of_patterns(found, shelf)))
    short = (found.of.count or 0) - len(paths)
    if short > 0:
        found.missing.append(f"{short} of {found.of.count} pictures{_from(found.of.origin())}")
        found.missing_pictures += short
    if found.of.format is None:
        found.items = [Item(PictureFile(path)) for path in paths[:: found.of.every]]
    elif paths:
        _paired(found, paths, _files(found, shelf, found.of.labels), found.of.format)


def _paired(found: Gathered, paths: Sequence[Path], labels: Sequence[Path], label_format: LabelFormat) -> None:
    by_stem = _by_stem(filter(is_picture, labels))
    # Also where only some of them are taken.
    _by_stem(paths)
    for path in paths[:: found.of.every]:
        if path.stem not in by_stem:
            raise KitError(f"{path}: has no label in {found.of.labels}")
        found.items.append(Item(PictureFile(path, turned=False), LabelPicture(by_stem[path.stem], label_format)))


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """The paths by their names without endings, each of which may be there once."""
    known: dict[str, Path] = {}
    for path in paths:
        if other := known.get(path.stem):
            raise KitError(
                f"{path}: has the same name as {other}, so their counterparts can't be told apart; rename one, or make "
                "two sets of them"
            )
        known[path.stem] = path
    return known


def _of_patterns(found: Gathered, shelf: Shelf) -> list[Path]:
    """The files of all patterns in their order, each once though several patterns fit it."""
    files = {path for pattern in found.of.patterns for path in _files(found, shelf, pattern)}
    return in_time(files) if found.of.sequence else sorted(files)


def _files(found: Gathered, shelf: Shelf, pattern: str) -> list[Path]:
    """The files of a path or glob: from the list's folder, else below the folders of --pictures.

    Raises:
        KitError: when there are none and the set does not say where they come from.
    """
    files = shelf.below(found.of.root, pattern)
    if not files and not found.of.source:
        raise KitError(f"{found.of.root / pattern}: the set {found.of.name} has no pictures or labels here")
    if not files and not found.of.count:
        found.missing.append(f"{pattern}{_from(found.of.origin())}")
    return files


def _named(found: Gathered, shelf: Shelf) -> None:
    for named in found.of.named:
        beside = found.of.root / named.file
        path: Path | None = beside
        if beside.is_file():
            _hold_to(beside, named.sha256)
        else:
            path = shelf.with_digest(named.sha256, beside.name)
        if path is not None:
            found.items.append(Item(PictureFile(path)))
        elif origin := told(named.source or found.of.source):
            _absent(found, named.file, origin)
        else:
            raise KitError(f"{beside}: no such file, and no source of it is said")


def _drawings(found: Gathered, shelf: Shelf) -> None:
    """LabelMe files, each with the picture beside it, or with one that is found by what the file says of it."""
    files = _of_patterns(found, shelf)
    paths = [path for path in files if path.suffix == ".json" and not path.name.startswith(".")]
    drawings = [labelme.read(path, found.of.mapping) for path in paths][:: found.of.every]
    drawn = {path.with_suffix("") for path in paths} | {drawing.beside.with_suffix("") for drawing in drawings}
    if without := [path for path in files if is_picture(path) and path.with_suffix("") not in drawn]:
        raise KitError(f"{without[0]}: has no LabelMe file; expected {without[0].with_suffix('.json')}")
    for drawing in drawings:
        if (path := _picture_of(drawing, shelf)) is not None:
            found.items.append(Item(_as_drawn(path, drawing), drawing))
        elif drawing.source:
            _absent(found, drawing.picture, told(drawing.source))
        else:
            raise KitError(f"{drawing.path}: its picture {drawing.beside} is not there, and no source of it is said")


def _picture_of(drawing: Drawing, shelf: Shelf) -> Path | None:
    if drawing.beside.is_file():
        if drawing.sha256:
            _hold_to(drawing.beside, drawing.sha256)
        return drawing.beside
    if drawing.sha256 and (path := shelf.with_digest(drawing.sha256, drawing.beside.name)):
        return path
    # The digest may be that of the view; the panorama is then known by its name alone.
    original = Path(str(drawing.source.get("path", ""))).name
    return shelf.named(original) if drawing.panorama and original else None


def _as_drawn(path: Path, drawing: Drawing) -> Picture:
    """The file, or the view that was cut from it where the file is another picture than the drawn one."""
    if drawing.panorama and size_of(path) != (drawing.width, drawing.height):
        return View(path, drawing.panorama)
    return PictureFile(path)


def _hold_to(path: Path, sha256: str) -> None:
    if (found := digest(path)) != sha256:
        raise KitError(f"{path}: is another picture than the listed one: its SHA-256 is {found}, expected {sha256}")


def _absent(found: Gathered, name: str, origin: str) -> None:
    found.missing.append(f"{name}{_from(origin)}")
    found.missing_pictures += 1


def _from(origin: str) -> str:
    return f" (from {origin})" if origin else ""
