"""A data set: its classes, its splits, and the pairs of picture and label in each.

layouts.py and dataset_toml.py build it from a folder, sources.py finds the files; here is what is the same for all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from . import origin
from .labels import LabelFormat, read_values
from .pictures import read_image, size_of, turn_told


@dataclass(frozen=True)
class ClassInfo:
    """A class as it goes into checkpoints and manifests."""

    name: str
    color: str
    """"#rrggbb" """
    group: str = ""


@dataclass(frozen=True)
class Pair:
    """A picture and its label picture, as files."""

    image: Path
    label: Path
    soft: Path | None = None
    """Probabilities of the groups, where the split has such: see Dataset.read_soft."""


def group_names(classes: Sequence[ClassInfo]) -> list[str]:
    """The groups of `classes`, in the order in which they come first; a class without one is a group of its own."""
    return list(dict.fromkeys(c.group or c.name for c in classes))


class Source(Protocol):
    """Where the pairs of a split come from."""

    def find(self) -> tuple[list[Pair], list[str]]:
        """All complete pairs, at least one, and what is wrong beside them: a message for each file.

        Raises:
            KitError: when there is no pair at all.
        """
        ...


@dataclass(frozen=True)
class Dataset:
    """Labelled pictures in one or more splits."""

    name: str
    classes: tuple[ClassInfo, ...]
    """In the order of the train ids."""
    licence: str
    citation: str
    root: Path
    format: LabelFormat
    sources: Mapping[str, Source] = field(repr=False)
    others: tuple[Mapping[str, str], ...] = ()
    """Other data that its labels come from, such as that of a teacher: name, licence and citation of each."""

    def origin(self) -> dict[str, Any]:
        """Name, licence and citation of this data and of all others that its labels come from, as origin.join gives."""
        own = {"name": self.name, "licence": self.licence, "citation": self.citation}
        return origin.join([own, *map(dict, self.others)])

    def splits(self) -> list[str]:
        """The names of the splits, in the data set's order."""
        return list(self.sources)

    def pairs(self, split: str, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[Pair]:
        """The pairs of a split, or of several joined with "+" ("train+val"), sorted by picture.

        `only` and `without` are patterns as in the shell for the picture's file name without its ending; they hold a
        whole drive out: `without=["0006R0_*"]`.

        Raises:
            KitError: when the split does not exist or is empty, when nothing is left of it, when a file has no
                counterpart, or when a pattern fits no picture of the whole data set.
        """
        pairs: set[Pair] = set()
        for name in split.split("+"):
            if name not in self.sources:
                raise KitError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.sources)}")
            found, problems = self.sources[name].find()
            if problems:
                more = f" ({len(problems) - 1} more such faults, listed by kit labels)" if len(problems) > 1 else ""
                raise KitError(problems[0] + more)
            pairs.update(found)
        self._refuse_typos(pairs, [*only, *without])
        kept = [
            pair
            for pair in pairs
            if (not only or any(_fits(pair, pattern) for pattern in only))
            and not any(_fits(pair, pattern) for pattern in without)
        ]
        if not kept:
            raise KitError(
                f"{self.root}: none of the {len(pairs)} pictures of {split} is left with only={list(only)} and "
                f"without={list(without)}"
            )
        return sorted(kept, key=lambda pair: pair.image)

    def read(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The picture as it is stored, RGB `[h, w, 3]`, and its train ids `[h, w]` with 255 for void.

        Raises:
            KitError: when one of them can't be read, their sizes differ, or the label has an unknown value.
        """
        image, label = read_image(pair.image, turned=False), self.format.read(pair.label)
        if image.shape[:2] != label.shape:
            raise KitError(size_mismatch(pair, (image.shape[1], image.shape[0]), (label.shape[1], label.shape[0])))
        return image, label

    def read_soft(self, pair: Pair) -> NDArray[np.uint8]:
        """The probabilities of the groups of the classes, uint8 `[groups, h', w']` in 1/255: in the file they stand one
        below another, at a coarser grid than the picture.

        Raises:
            KitError: when the pair has none, or the file isn't that of as many groups and of a picture of this shape,
                or doesn't hold probabilities.
        """
        if pair.soft is None:
            raise KitError(f"{pair.image}: has no soft targets; expected the split to name them as `soft` (kit label)")
        values, groups = read_values(pair.soft, "index"), len(group_names(self.classes))
        if len(values) % groups:
            raise KitError(f"{pair.soft}: has {len(values)} rows, expected a multiple of the {groups} groups")
        soft = values.astype(np.uint8).reshape(groups, -1, values.shape[1])
        width, height = size_of(pair.image)
        rows, columns = soft.shape[1:]
        if not _is_coarser(height, width, rows, columns):
            raise KitError(
                f"{pair.soft}: has {columns}x{rows} cells for each of {groups} groups, which is no coarser grid of its "
                f"picture {pair.image}, {width}x{height}"
            )
        sums = soft.sum(0, dtype=np.int64)
        # Each value is rounded by itself; a cell of zeros teaches nothing.
        if ((np.abs(sums - 255) > groups // 2 + 1) & (sums != 0)).any():
            raise KitError(
                f"{pair.soft}: has cells whose {groups} groups sum to {sums.min()} to {sums.max()}, expected 255, as "
                "probabilities in 1/255 do, or 0"
            )
        return soft

    def _refuse_typos(self, pairs: set[Pair], patterns: Sequence[str]) -> None:
        """A mistyped `without` would train on the drive that was to be held out."""
        unused = [pattern for pattern in patterns if not any(_fits(pair, pattern) for pair in pairs)]
        for source in self.sources.values() if unused else ():
            # Another split's fault is no concern of who asked for this one.
            with suppress(KitError):
                others, _ = source.find()
                unused = [pattern for pattern in unused if not any(_fits(pair, pattern) for pair in others)]
        if unused:
            raise KitError(f"{self.root}: the pattern {unused[0]!r} fits no picture's name in any split")


def _is_coarser(height: int, width: int, rows: int, columns: int) -> bool:
    """Whether cells of one size make such a grid of such a picture, up to one cell at its right and bottom edge."""
    if rows > height or columns > width:
        return False
    least = max(height / (rows + 1), width / (columns + 1))
    most = min(height / (rows - 1) if rows > 1 else math.inf, width / (columns - 1) if columns > 1 else math.inf)
    return least < most


def size_mismatch(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> str:
    """The message for a label of another size; sizes are width and height."""
    sizes = f"{pair.label}: is {label[0]}x{label[1]}, but its picture {pair.image} is {image[0]}x{image[1]}"
    return sizes + turn_told(pair.image, image, label)


def _fits(pair: Pair, pattern: str) -> bool:
    return fnmatchcase(pair.image.stem, pattern)
