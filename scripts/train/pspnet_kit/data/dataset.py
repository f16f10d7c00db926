"""A data set: its classes, its splits, and the pairs of picture and label in each.

layouts.py and dataset_toml.py build it from a folder; here is what is the same for all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from .labels import LabelFormat
from .pictures import SUFFIXES, read_image

_LOSSY_LABELS = (".jpg", ".jpeg", ".webp")


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


class Source(Protocol):
    """Where the pairs of a split come from."""

    def pairs(self) -> list[Pair]:
        """All pairs.

        Raises:
            KitError: when there are none, or one lacks its half.
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

    def splits(self) -> list[str]:
        """The names of the splits, in the data set's order."""
        return list(self.sources)

    def pairs(self, split: str, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[Pair]:
        """The pairs of a split, or of several joined with "+" ("train+val"), sorted by picture.

        `only` and `without` are patterns as in the shell for the picture's file name without its ending; they hold a
        whole drive out: `without=["0006R0_*"]`.

        Raises:
            KitError: when the split does not exist or is empty, when nothing is left of it, or when a file has no
                counterpart.
        """
        pairs: set[Pair] = set()
        for name in split.split("+"):
            if name not in self.sources:
                raise KitError(f"{self.root}: there is no split {name!r}; it has {', '.join(self.sources)}")
            pairs.update(self.sources[name].pairs())
        kept = [pair for pair in pairs if _chosen(pair.image.stem, only, without)]
        if not kept:
            raise KitError(
                f"{self.root}: none of the {len(pairs)} pictures of {split} is left with only={list(only)} and "
                f"without={list(without)}"
            )
        return sorted(kept, key=lambda pair: pair.image)

    def read(self, pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """The picture, RGB `[h, w, 3]`, and its train ids `[h, w]` with 255 for void.

        Raises:
            KitError: when one of them can't be read, their sizes differ, or the label has an unknown value.
        """
        image, label = read_image(pair.image), self.format.read(pair.label)
        if image.shape[:2] != label.shape:
            raise KitError(size_mismatch(pair, (image.shape[1], image.shape[0]), (label.shape[1], label.shape[0])))
        return image, label


@dataclass(frozen=True)
class FolderPairs:
    """Pairs from two folders or globs, matched by the part of the file name that the pattern leaves open.

    `images/*.jpg` and `labels/*_mask.png` match `images/a.jpg` with `labels/a_mask.png`.
    """

    root: Path
    split: str
    images: str
    labels: str

    def pairs(self) -> list[Pair]:
        """All pairs; see Source."""
        images, labels = list_files(self.root, self.images), list_files(self.root, self.labels)
        if not images:
            raise KitError(f"{self.root / self.images}: no pictures here, so the split {self.split} is empty")
        for here, there, what, pattern in (
            (images, labels, "label", self.labels),
            (labels, images, "picture", self.images),
        ):
            if alone := sorted(set(here) - set(there)):
                more = f" (nor have {len(alone) - 1} others)" if len(alone) > 1 else ""
                raise KitError(f"{here[alone[0]]}: has no {what} in {self.root / pattern}{more}")
        refuse_lossy(labels.values())
        return [Pair(images[key], labels[key]) for key in sorted(images)]


def list_files(root: Path, pattern: str) -> dict[str, Path]:
    """The pictures in the folder or glob `pattern` below `root`, by the part of the name that the pattern leaves open.

    Raises:
        KitError: when the folder is missing, or two files have the same name up to their ending.
    """
    before, after = "", ""
    if is_glob(pattern):
        last = pattern.rsplit("/", 1)[-1]
        wild = [index for index, letter in enumerate(last) if letter in "*?[]"]
        if wild:
            before, after = last[: wild[0]], Path("x" + last[wild[-1] + 1 :]).stem[1:]
        files = root.glob(pattern)
    else:
        if not (root / pattern).is_dir():
            raise KitError(f"{root / pattern}: no such folder")
        files = (root / pattern).iterdir()
    found: dict[str, Path] = {}
    for path in sorted(files):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        key = path.stem[len(before) : len(path.stem) - len(after)]
        if key in found:
            raise KitError(f"{path}: has the same name as {found[key]}, so their counterparts can't be told apart")
        found[key] = path
    return found


def is_glob(pattern: str) -> bool:
    """Whether `pattern` is a glob, not a folder."""
    return any(letter in pattern for letter in "*?[")


def refuse_lossy(labels: object) -> None:
    """Raises KitError for the first label file whose ending says that it is compressed with loss."""
    for path in labels:  # type: ignore[attr-defined]
        if path.suffix.lower() in _LOSSY_LABELS:
            raise KitError(
                f"{path}: labels can't be {path.suffix} files: compression blurs borders and so invents class ids. "
                "Export the labels again as PNG"
            )


def size_mismatch(pair: Pair, image: tuple[int, int], label: tuple[int, int]) -> str:
    """The message for a label of another size; sizes are width and height."""
    return f"{pair.label}: is {label[0]}x{label[1]}, but its picture {pair.image} is {image[0]}x{image[1]}"


def _chosen(stem: str, only: Sequence[str], without: Sequence[str]) -> bool:
    if only and not any(fnmatchcase(stem, pattern) for pattern in only):
        return False
    return not any(fnmatchcase(stem, pattern) for pattern in without)
