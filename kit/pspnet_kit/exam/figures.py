"""The figures of one model on one or more sets, from sums that grow picture by picture and can be added up.

IoU, calibration and errors count pixels. Shares of pixels (impossible groups, low confidence) are means over pictures:
a large picture counts as much as a small one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import VOID
from ..judge.calibration import Calibration
from ..judge.metrics import Confusion, mean, ratio
from .groups import GROUPS, PERSON

UNSURE = 0.6
"""Confidence below which a pixel counts as unsure."""


def _confusion() -> Confusion:
    return Confusion(len(GROUPS))


@dataclass
class Share:
    """The mean share of pixels over pictures, and how sure the model is of them."""

    pictures: int = 0
    total: float = 0.0
    confidence: float = 0.0
    """Of the pixels that count, each weighed by its share of its picture."""

    def add(self, counted: np.ndarray, confidence: np.ndarray | None) -> None:
        """Adds a picture: bool `[h, w]`, and float `[h, w]` where it is known."""
        self.pictures += 1
        self.total += float(counted.mean())
        if confidence is not None:
            self.confidence += float(confidence[counted].sum() / counted.size)

    def value(self) -> float:
        """0 to 1; NaN without pictures."""
        return self.total / self.pictures if self.pictures else float("nan")

    def mean_confidence(self) -> float:
        """0 to 1; NaN where no pixel counts."""
        return self.confidence / self.total if self.total else float("nan")


@dataclass
class Truth:
    """What is known of one picture."""

    label: np.ndarray | None = None
    """Group ids `[h, w]`, 255 where nothing is judged."""
    teacher: np.ndarray | None = None
    """The same from a teacher, 255 where it is not sure."""
    impossible: np.ndarray | None = None
    """bool `[256]`: the group ids that can't be here, but where a label says so."""


@dataclass
class Sums:
    """All that the figures are computed from."""

    pictures: int = 0
    labels: Confusion = field(default_factory=_confusion)
    teacher: Confusion = field(default_factory=_confusion)
    calibration: Calibration = field(default_factory=Calibration)
    impossible: Share = field(default_factory=Share)
    unsure: Share = field(default_factory=Share)
    errors: int = 0
    unsure_errors: int = 0
    compared: int = 0
    """Still pixels of one frame that the next frame was compared with."""
    flips: int = 0
    class_flips: int = 0
    confident: bool = True
    """False for class maps that come without confidences."""

    def add(self, groups: np.ndarray, confidence: np.ndarray | None, truth: Truth) -> None:
        """Adds a picture: group ids uint8 `[h, w]`, and the confidence in them, float `[h, w]`, where it is known."""
        self.pictures += 1
        self.confident = self.confident and confidence is not None
        unsure = None if confidence is None else confidence < UNSURE
        if unsure is not None:
            self.unsure.add(unsure, None)
        if truth.impossible is not None:
            impossible = truth.impossible[groups]
            if truth.label is not None:
                # A plant in a pot was drawn: here is one after all.
                impossible &= groups != truth.label
            self.impossible.add(impossible, confidence)
        if truth.teacher is not None:
            self.teacher.add(truth.teacher, groups)
        if truth.label is not None:
            self.labels.add(truth.label, groups)
            wrong = (truth.label != VOID) & (groups != truth.label)
            self.errors += int(wrong.sum())
            if unsure is not None and confidence is not None:
                self.unsure_errors += int((wrong & unsure).sum())
                self.calibration.add(truth.label, groups, confidence)

    def add_step(
        self, still: np.ndarray, before: tuple[np.ndarray, np.ndarray], now: tuple[np.ndarray, np.ndarray]
    ) -> None:
        """Adds two neighbouring frames: still pixels bool `[h, w]`, and class map and group map of each frame."""
        self.compared += int(still.sum())
        self.class_flips += int((still & (before[0] != now[0])).sum())
        self.flips += int((still & (before[1] != now[1])).sum())

    def iou(self) -> dict[str, float]:
        """By group; NaN for groups that are neither labelled nor predicted where labels are."""
        return dict(zip(GROUPS, map(float, self.labels.iou()), strict=True))

    def labelled(self) -> list[str]:
        """The groups that the labels have."""
        return [group for group, pixels in zip(GROUPS, self.labels.truths, strict=True) if pixels]

    def mean_iou(self) -> float:
        """Over the groups that the labels have; NaN without labels."""
        return mean(self.labels.iou()[self.labels.truths > 0])

    def persons(self) -> float:
        """IoU of persons with the labels; NaN where the labels have none."""
        return float(self.labels.iou()[PERSON]) if self.labels.truths[PERSON] else float("nan")

    def persons_of_teacher(self) -> float:
        """The same with the teacher, on the pixels it is sure of."""
        return float(self.teacher.iou()[PERSON]) if self.teacher.truths[PERSON] else float("nan")

    def flip_share(self) -> float:
        """Share of still pixels whose group changes from one frame to the next; NaN without clips."""
        return _share(self.flips, self.compared)

    def class_flip_share(self) -> float:
        """The same for the model's own classes."""
        return _share(self.class_flips, self.compared)

    def calibration_error(self) -> float:
        """ECE; NaN without labels or confidences."""
        return self.calibration.expected_error()

    def unsure_error_share(self) -> float:
        """The part of the errors that lies in unsure pixels; NaN without errors or confidences."""
        return _share(self.unsure_errors, self.errors) if self.confident else float("nan")

    def as_dict(self) -> dict[str, Any]:
        """Every figure, as shares from 0 to 1; None for what does not exist here."""
        figures = {
            "miou": self.mean_iou(),
            "pixel_accuracy": self.labels.pixel_accuracy(),
            "persons_iou": self.persons(),
            "persons_iou_teacher": self.persons_of_teacher(),
            "impossible": self.impossible.value(),
            "impossible_confidence": self.impossible.mean_confidence() if self.confident else float("nan"),
            "flips": self.flip_share(),
            "class_flips": self.class_flip_share(),
            "calibration_error": self.calibration_error(),
            "unsure": self.unsure.value(),
            "errors_unsure": self.unsure_error_share(),
        }
        return {
            "pictures": self.pictures,
            "labelled_pixels": self.labels.pixels,
            "labelled_groups": self.labelled(),
            **{name: plain(value) for name, value in figures.items()},
            "iou": {group: plain(value) for group, value in self.iou().items() if not np.isnan(value)},
            "confusion": self.labels.counts.tolist(),
        }


def together(parts: Iterable[Sums]) -> Sums:
    """The sums of several sets as those of one."""
    whole = Sums()
    for part in parts:
        whole.pictures += part.pictures
        whole.labels.counts += part.labels.counts
        whole.teacher.counts += part.teacher.counts
        whole.calibration.pixels += part.calibration.pixels
        whole.calibration.right += part.calibration.right
        whole.calibration.confidence += part.calibration.confidence
        whole.calibration.squares += part.calibration.squares
        for own, other in ((whole.impossible, part.impossible), (whole.unsure, part.unsure)):
            own.pictures += other.pictures
            own.total += other.total
            own.confidence += other.confidence
        whole.errors += part.errors
        whole.unsure_errors += part.unsure_errors
        whole.compared += part.compared
        whole.flips += part.flips
        whole.class_flips += part.class_flips
        whole.confident = whole.confident and part.confident
    return whole


def plain(value: float) -> float | None:
    """The number for JSON, which has no NaN."""
    return None if np.isnan(value) else float(value)


def _share(part: int, whole: int) -> float:
    return float(ratio(np.array(part), np.array(whole)))
