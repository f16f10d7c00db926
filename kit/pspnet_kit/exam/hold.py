"""Holds the exam: every model on every set, in LiteRT and in the daemon at once, picture by picture."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import KitError
from ..judge.daemon import Daemon
from ..judge.judgement import MOST_DISAGREEMENT
from .candidate import Candidate
from .clips import still_pixels
from .figures import Sums, Truth
from .gather import Gathered, Item
from .groups import GROUPS

Bar = Callable[[str, int], Callable[[Iterable[Any]], Iterable[Any]]]
"""A progress bar for what, and how many steps; wraps the steps."""


@dataclass
class Paper:
    """A set that is ready to be judged on."""

    of: Gathered
    still: np.ndarray | None = None
    """bool `[h, w]`, for frames that follow one another."""
    impossible: np.ndarray | None = None
    teacher: Candidate | None = None
    taught: list[np.ndarray] = field(default_factory=list)
    """What the teacher is sure of, for each picture."""

    @property
    def name(self) -> str:
        return self.of.of.name

    @property
    def place(self) -> str:
        return self.of.of.place

    def truths(self) -> Iterator[tuple[np.ndarray, Truth]]:
        """Each picture with what is known of it."""
        for index, item in enumerate(self.of.items):
            image, label = item.read()
            yield image, Truth(label, self.taught[index] if self.taught else None, self.impossible)


@dataclass
class Result:
    """What one model did."""

    candidate: Candidate
    litert: dict[str, Sums] = field(default_factory=dict)
    """By set."""
    pspnetd: dict[str, Sums] = field(default_factory=dict)
    """The same from the daemon's class maps; empty where it was not asked."""
    pixels: int = 0
    differing: int = 0
    """Of `pixels`, those to which the daemon gave another class."""

    @property
    def name(self) -> str:
        return self.candidate.predictor.name

    @property
    def path(self) -> Path:
        return self.candidate.predictor.path

    @property
    def share(self) -> float:
        """Of the pixels that differ; NaN where the daemon was not asked."""
        return self.differing / self.pixels if self.pixels else float("nan")

    def refuse_disagreement(self) -> None:
        """Raises KitError where the daemon gave other class maps than may be."""
        if self.pixels and self.share > MOST_DISAGREEMENT:
            raise KitError(
                f"{self.path}: {self.differing} of {self.pixels} pixels differ between LiteRT and pspnetd "
                f"({100 * self.share:.4f} %, at most {100 * MOST_DISAGREEMENT:g} % may)"
            )


def check(items: Iterable[Item]) -> None:
    """Reads every picture and label once, before the time for models is spent.

    Raises:
        KitError: for the first that is broken.
    """
    for item in items:
        item.read()


def prepare(gathered: Gathered, teacher: Candidate | None, bar: Bar) -> Paper:
    """What of a set is the same for all models: still pixels, impossible groups, what the teacher is sure of."""
    paper = Paper(gathered)
    described, items = gathered.of, gathered.items
    if described.impossible:
        paper.impossible = np.zeros(256, np.bool_)
        paper.impossible[[GROUPS.index(group) for group in described.impossible]] = True
    if described.sequence:
        paper.still = still_pixels((item.picture.read() for item in items), f"the set {described.name}")
    if teacher is not None:
        paper.teacher = teacher
        steps = bar(f"{teacher.predictor.name} as teacher on {described.name}", len(items))(items)
        paper.taught = [teacher.sure_groups(item.picture.read(), described.sure) for item in steps]
    return paper


def hold(candidate: Candidate, papers: Sequence[Paper], daemon: Daemon | None, bar: Bar) -> Result:
    """All sets with one model. The daemon is asked for .tflite files only.

    Raises:
        KitError: when the daemon fails, or gives a class map of another size.
    """
    result = Result(candidate)
    asked = daemon if candidate.predictor.path.suffix == ".tflite" else None
    for paper in papers:
        own = result.litert[paper.name] = Sums()
        other = Sums()
        pictures = [item.picture for item in paper.of.items]
        masks = asked.masks_of(candidate.predictor.path, pictures) if asked else None
        last: tuple[np.ndarray, np.ndarray] | None = None
        last_other: tuple[np.ndarray, np.ndarray] | None = None
        steps = bar(f"{result.name} on {paper.name}", len(pictures))(zip(pictures, paper.truths(), strict=True))
        for picture, (image, truth) in steps:
            found = candidate.answer(image)
            own.add(found.groups, found.confidence, truth)
            last = _step(own, paper.still, last, (found.classes, found.groups))
            if masks is None:
                continue
            theirs = next(masks)
            if theirs.shape != found.classes.shape:
                raise KitError(
                    f"{picture.name}: pspnetd's mask is {theirs.shape}, the picture is {found.classes.shape}"
                )
            result.pixels += theirs.size
            result.differing += int(np.count_nonzero(theirs != found.classes))
            groups = candidate.table[theirs]
            other.add(groups, None, truth)
            last_other = _step(other, paper.still, last_other, (theirs, groups))
        if masks is not None:
            result.pspnetd[paper.name] = other
    return result


def _step(
    sums: Sums,
    still: np.ndarray | None,
    before: tuple[np.ndarray, np.ndarray] | None,
    now: tuple[np.ndarray, np.ndarray],
) -> tuple[np.ndarray, np.ndarray] | None:
    """Compares a frame of a clip with the one before; returns what the next one is compared with."""
    if still is None:
        return None
    if before is not None:
        sums.add_step(still, before, now)
    return now
