"""Where the pairs of a split come from: two folders or globs, a list of names, or a part of another split."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ..errors import KitError
from ..files import read_text
from .dataset import Pair, Source
from .labels import lossy
from .pictures import SUFFIXES, is_picture

_LOSSY = (".jpg", ".jpeg", ".webp")
_WILD = "*?[]"


@dataclass(frozen=True)
class FolderPairs:
    """Pairs from two folders or globs below `root`, matched by the part of the path that the pattern leaves open.

    `images/*.jpg` and `labels/*_mask.png` match `images/a.jpg` with `labels/a_mask.png`.
    """

    root: Path
    split: str
    images: str
    labels: str
    soft: str = ""

    def find(self) -> tuple[list[Pair], list[str]]:
        """See Source."""
        images, labels = list_files(self.root, self.images), list_files(self.root, self.labels)
        if not images:
            endings = ", ".join(SUFFIXES)
            raise KitError(f"{self.root / self.images}: the split {self.split} is empty, expected pictures ({endings})")
        problems = [
            f"{here[key]}: has no {what} in {self.root / pattern}"
            for here, there, what, pattern in (
                (images, labels, "label", self.labels),
                (labels, images, "picture", self.images),
            )
            for key in here
            if key not in there
        ]
        soft = list_files(self.root, self.soft) if self.soft else {}
        if self.soft:
            place = self.root / self.soft
            problems += [f"{images[key]}: has no soft targets in {place}" for key in images if key not in soft]
        pairs = [Pair(images[key], labels[key], soft.get(key)) for key in images if key in labels]
        if not pairs:
            raise KitError(f"{self.root / self.images}: no picture here has a label in {self.root / self.labels}")
        _refuse_lossy(pairs)
        return pairs, problems


@dataclass(frozen=True)
class ListedPairs:
    """Pairs whose names stand in a text file, one a line; the folders may hold more than that."""

    listing: Path
    images: Path
    labels: Path

    def find(self) -> tuple[list[Pair], list[str]]:
        """See Source."""
        lines = read_text(self.listing).splitlines()
        images, labels = list_files(self.images, "."), list_files(self.labels, ".")
        pairs: dict[str, Pair] = {}
        problems: list[str] = []
        for number, line in enumerate(lines, start=1):
            name = line.strip()
            if not name:
                continue
            place = f"{self.listing}, line {number}"
            if name in pairs:
                problems.append(f"{place}: {name} is there twice")
            elif name in images and name in labels:
                pairs[name] = Pair(images[name], labels[name])
            else:
                problems.append(f"{place}: there is no {name} in {self.labels if name in images else self.images}")
        if not pairs:
            raise KitError(problems[0] if problems else f"{self.listing}: is empty, expected a picture's name a line")
        _refuse_lossy(list(pairs.values()))
        return list(pairs.values()), problems


@dataclass(frozen=True)
class Part:
    """A fraction of another split, or what that fraction leaves.

    The pictures are put in the order of SHA-256("<seed>:<file name without ending>"), and the first round(fraction *
    number) of them, at least one, are the fraction: the same on every machine, and nearly the same when pictures are
    added. Neighbouring frames of one film land on both sides and flatter the score: give such data explicit splits.
    """

    whole: Source
    split: str
    fraction: float
    seed: int
    rest: bool = False

    def find(self) -> tuple[list[Pair], list[str]]:
        """See Source."""
        pairs, problems = self.whole.find()
        if len(pairs) < 2:
            raise KitError(f"{pairs[0].image}: is the only picture; the split {self.split} can't take a part of one")
        pairs.sort(key=lambda pair: (_place(self.seed, pair.image), pair.image))
        cut = min(max(1, round(self.fraction * len(pairs))), len(pairs) - 1)
        return (pairs[cut:] if self.rest else pairs[:cut]), problems


def _place(seed: int, picture: Path) -> bytes:
    # The name's own bytes: they need not be UTF-8.
    return hashlib.sha256(os.fsencode(f"{seed}:{picture.stem}")).digest()


def list_files(root: Path, pattern: str) -> dict[str, Path]:
    """The pictures in the folder or glob `pattern` below `root`, by the part of the path that the pattern leaves open.

    Raises:
        KitError: when the folder is missing, or two files have the same name up to their ending.
    """
    base, wild = split_pattern(root, pattern)
    wild = wild or "*"
    if not base.is_dir():
        raise KitError(f"{base}: no such folder")
    open_part = _without_ending(PurePosixPath(wild))
    places = [index for index, letter in enumerate(open_part) if letter in _WILD]
    before, after = (places[0], len(open_part) - places[-1] - 1) if places else (0, 0)
    found: dict[str, Path] = {}
    for path in sorted(base.glob(wild)):
        if not is_picture(path):
            continue
        name = _without_ending(PurePosixPath(path.relative_to(base)))
        key = name[before : len(name) - after]
        if key in found:
            raise KitError(f"{path}: has the same name as {found[key]}, so their counterparts can't be told apart")
        found[key] = path
    return found


def matching(roots: Iterable[Path], pattern: str) -> list[Path]:
    """What a path that may have wildcards fits below any of `roots`: first what is called as the path is written.

    Raises:
        ValueError, NotImplementedError, IndexError: for what can't be a pattern.
    """
    found: dict[int, list[Path]] = {}
    for base, wild in (split_pattern(root, pattern) for root in roots):
        fits = base.glob(wild) if wild else filter(Path.exists, [base])
        found.setdefault(len(PurePosixPath(wild).parts), []).extend(fits)
    return next((found[count] for count in sorted(found) if found[count]), [])


def split_pattern(root: Path, pattern: str) -> tuple[Path, str]:
    """The part of a path that has no wildcards, or has them in names that are there, and the rest, which may be ""."""
    parts = PurePosixPath(pattern).parts
    base = root
    for index, part in enumerate(parts):
        if any(letter in _WILD for letter in part) and not (base / part).exists():
            return base, "/".join(parts[index:])
        base /= part
    return base, ""


def _without_ending(path: PurePosixPath) -> str:
    return str(path.with_suffix("")) if path.suffix else str(path)


def _refuse_lossy(pairs: Sequence[Pair]) -> None:
    for pair in pairs:
        if pair.label.suffix.lower() in _LOSSY:
            raise KitError(lossy(pair.label, pair.label.suffix))
