"""Whether a confidence of 0.8 is right eight times of ten: the reliability curve and the expected calibration error.

Guo et al. 2017, section 2: equal bins of the winner's softmax probability; ECE is the mean gap, weighed by pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..data import VOID

BINS = 15


@dataclass(frozen=True)
class Bin:
    """One bar of a reliability diagram. Confidence and accuracy are means, NaN in an empty bin."""

    low: float
    high: float
    pixels: int
    confidence: float
    accuracy: float


class Calibration:
    """Sums over all judged pixels of all pictures."""

    def __init__(self, bins: int = BINS) -> None:
        self.pixels = np.zeros(bins, np.int64)
        self.right = np.zeros(bins, np.int64)
        self.confidence = np.zeros(bins, np.float64)
        self.squares = 0.0

    def add(self, label: np.ndarray, prediction: np.ndarray, confidence: np.ndarray) -> None:
        """Adds a picture: labels and class map uint8 `[h, w]`, confidence float `[h, w]`, 0 to 1; void is left out."""
        judged = label != VOID
        sure = confidence[judged].astype(np.float64)
        right = prediction[judged] == label[judged]
        bins = len(self.pixels)
        # Bin k holds k / bins < confidence <= (k + 1) / bins, as in the paper.
        place = np.clip(np.ceil(sure * bins).astype(np.int64) - 1, 0, bins - 1)
        self.pixels += np.bincount(place, minlength=bins)
        self.right += np.bincount(place[right], minlength=bins)
        self.confidence += np.bincount(place, weights=sure, minlength=bins)
        self.squares += float(np.square(sure - right).sum())

    def expected_error(self) -> float:
        """ECE, 0 to 1; NaN without pixels."""
        total = self.pixels.sum()
        return float(np.abs(self.right - self.confidence).sum() / total) if total else float("nan")

    def brier(self) -> float:
        """Mean squared distance of the winner's confidence from being right (1) or wrong (0); NaN without pixels."""
        total = self.pixels.sum()
        return float(self.squares / total) if total else float("nan")

    def reliability(self) -> list[Bin]:
        """The bins from 0 to 1."""
        edges = np.linspace(0.0, 1.0, len(self.pixels) + 1)
        curve = []
        for index, pixels in enumerate(self.pixels.tolist()):
            confidence = float(self.confidence[index] / pixels) if pixels else float("nan")
            accuracy = float(self.right[index] / pixels) if pixels else float("nan")
            curve.append(Bin(float(edges[index]), float(edges[index + 1]), pixels, confidence, accuracy))
        return curve
