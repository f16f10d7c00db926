"""Agreement of class maps with labels, from a confusion matrix that grows picture by picture.

The figures are those of `pspnetd eval`: a class counts towards the mIoU if it is in the labels or predicted anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..data import VOID
from ..errors import KitError


class Confusion:
    """Pixels by true class (row) and predicted class (column); the last column takes predictions that are no class."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.counts = np.zeros((classes, classes + 1), np.int64)

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Adds a picture: both uint8 of one shape, ids 0 to classes - 1; label 255 is not judged.

        Raises:
            KitError: when shapes differ or a label is neither a class nor void.
        """
        if label.shape != prediction.shape:
            raise KitError(f"labels of {label.shape} for a prediction of {prediction.shape}: expected the same")
        judged = label != VOID
        truth = label[judged].astype(np.int64)
        if truth.size and truth.max() >= self.classes:
            raise KitError(f"label id {truth.max()}: expected 0 to {self.classes - 1}, or {VOID} for void")
        predicted = np.minimum(prediction[judged].astype(np.int64), self.classes)
        pairs = np.bincount(truth * (self.classes + 1) + predicted, minlength=self.counts.size)
        self.counts += pairs.reshape(self.counts.shape)

    @property
    def pixels(self) -> int:
        """Pixels that were judged."""
        return int(self.counts.sum())

    @property
    def hits(self) -> np.ndarray:
        """Right pixels, `[classes]`."""
        return self.counts.diagonal()

    @property
    def truths(self) -> np.ndarray:
        """Labelled pixels, `[classes]`."""
        return self.counts.sum(axis=1)

    def iou(self) -> np.ndarray:
        """Intersection over union `[classes]`; NaN for a class that is neither labelled nor predicted."""
        union = self.truths + self.counts[:, : self.classes].sum(axis=0) - self.hits
        return ratio(self.hits, union)

    def mean_iou(self) -> float:
        """Mean over the classes that have an IoU; NaN without any."""
        return mean(self.iou())

    def pixel_accuracy(self) -> float:
        """Share of judged pixels whose class is right."""
        return float(ratio(self.hits.sum(), self.counts.sum()))

    def mean_accuracy(self) -> float:
        """Mean recall of the classes in the labels."""
        return mean(ratio(self.hits, self.truths))

    def frequency_weighted_iou(self) -> float:
        """IoU of the classes in the labels, each weighed by its share of the labelled pixels."""
        present = self.truths > 0
        return float(ratio((self.truths * np.nan_to_num(self.iou()))[present].sum(), self.truths.sum()))

    def grouped(self, groups: Sequence[str]) -> tuple[list[str], Confusion]:
        """The same with classes of one group taken as one class.

        Args:
            groups: the group of each class.

        Returns:
            The groups in order of their first class, and their confusion.
        """
        if len(groups) != self.classes:
            raise ValueError(f"{len(groups)} groups for {self.classes} classes")
        names = list(dict.fromkeys(groups))
        place = np.array([names.index(group) for group in groups] + [len(names)])
        merged = Confusion(len(names))
        np.add.at(merged.counts, (place[:-1, None], place[None, :]), self.counts)
        return names, merged


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where there is no whole."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def mean(values: np.ndarray) -> float:
    """Of the values that are numbers; NaN without any."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else float("nan")
