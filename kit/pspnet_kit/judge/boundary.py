"""The boundary F-score: how well the outlines of a class lie on the true ones (Csurka et al. 2013, section 3).

Precision is the share of predicted outline pixels that have a true one of their class within the tolerance, recall the
reverse, the tolerance 0.75 % of the picture's diagonal (as in Perazzi et al. 2016 and the paper's code).
"""

from __future__ import annotations

import numpy as np

from ..data import VOID
from .metrics import mean

TOLERANCE = 0.0075


def outline(mask: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Pixels of `mask`, bool `[h, w]`, with one of the four neighbours outside of it.

    What is not `valid`, and what lies beyond the picture, is no outside.
    """
    outside = ~mask & valid
    beside = np.zeros_like(mask)
    beside[1:] |= outside[:-1]
    beside[:-1] |= outside[1:]
    beside[:, 1:] |= outside[:, :-1]
    beside[:, :-1] |= outside[:, 1:]
    return mask & beside


def dilate(mask: np.ndarray, radius: float) -> np.ndarray:
    """Pixels within `radius` of a pixel of `mask`, bool `[h, w]`, by Euclidean distance."""
    height, width = mask.shape
    grown = np.zeros_like(mask)
    reach = int(radius)
    for dy in range(-min(reach, height - 1), min(reach, height - 1) + 1):
        half = int((radius * radius - dy * dy) ** 0.5)
        sums = np.zeros((height, width + 2 * half + 1), np.int32)
        np.cumsum(np.pad(mask, ((0, 0), (half, half))), axis=1, out=sums[:, 1:])
        wide = sums[:, 2 * half + 1 :] > sums[:, :width]
        grown[max(dy, 0) : height + min(dy, 0)] |= wide[max(-dy, 0) : height - max(dy, 0)]
    return grown


def f_scores(label: np.ndarray, prediction: np.ndarray, classes: int, tolerance: float = TOLERANCE) -> np.ndarray:
    """The score of each class in one picture.

    Args:
        label: uint8 `[h, w]`, 255 is void: what is predicted there is not judged.
        prediction: uint8 `[h, w]`.
        tolerance: share of the diagonal.

    Returns:
        `[classes]`, 0 to 1; NaN for a class without an outline in labels and prediction.
    """
    valid = label != VOID
    height, width = label.shape
    radius = tolerance * float(np.hypot(height, width))
    scores = np.full(classes, np.nan)
    for index in range(classes):
        truth = outline((label == index) & valid, valid)
        found = outline((prediction == index) & valid, valid)
        both = truth | found
        if not both.any():
            continue
        scores[index] = 0.0
        if not truth.any() or not found.any():
            continue
        part = _around(both, int(radius) + 1)
        truth, found = truth[part], found[part]
        precision = (found & dilate(truth, radius)).sum() / found.sum()
        recall = (truth & dilate(found, radius)).sum() / truth.sum()
        if precision + recall > 0:
            scores[index] = 2 * precision * recall / (precision + recall)
    return scores


def _around(mask: np.ndarray, margin: int) -> tuple[slice, slice]:
    parts = []
    for axis in (1, 0):
        places = np.flatnonzero(mask.any(axis=axis))
        parts.append(slice(max(int(places[0]) - margin, 0), int(places[-1]) + margin + 1))
    return parts[0], parts[1]


class Boundary:
    """Scores over pictures: a class's is the mean over those where it has an outline in labels or prediction."""

    def __init__(self, classes: int) -> None:
        self.sums = np.zeros(classes)
        self.pictures = np.zeros(classes, np.int64)

    def add(self, label: np.ndarray, prediction: np.ndarray) -> None:
        """Adds a picture, as for f_scores."""
        scores = f_scores(label, prediction, len(self.sums))
        known = ~np.isnan(scores)
        self.sums[known] += scores[known]
        self.pictures += known

    def scores(self) -> np.ndarray:
        """`[classes]`, 0 to 1; NaN for a class that never had an outline."""
        return np.divide(self.sums, self.pictures, out=np.full(len(self.sums), np.nan), where=self.pictures > 0)

    def mean(self) -> float:
        """Mean over the classes that have a score; NaN without any."""
        return mean(self.scores())
