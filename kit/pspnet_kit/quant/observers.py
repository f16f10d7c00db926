"""Choosing the range of a tensor from what calibration pictures put into it.

Two passes: the first takes extremes, the second a histogram between them, of which percentile and least squared error
are read off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KitError
from .ranges import HIGH, LOW

Method = Literal["minmax", "average", "percentile", "mse"]
METHODS: tuple[Method, ...] = ("minmax", "average", "percentile", "mse")
BINS = 2048
INFINITY = float("inf")
MOMENTUM = 0.1
"""Of a new picture in the moving average."""


@dataclass
class Observer:
    """Sees one tensor, or all tensors that share one range, picture by picture."""

    low: float = INFINITY
    high: float = -INFINITY
    picture: tuple[float, float] = (INFINITY, -INFINITY)
    """Least and greatest of the tensors of one picture."""
    average: tuple[float, float] | None = None
    counts: NDArray[np.float64] = field(default_factory=lambda: np.zeros(BINS))

    def extremes(self, x: Tensor) -> None:
        """First pass: one of the tensors of a picture."""
        low, high = float(x.min()), float(x.max())
        if not np.isfinite([low, high]).all():
            raise KitError("the network computes infinities or NaN on the calibration pictures")
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.picture = min(self.picture[0], low), max(self.picture[1], high)

    def end_picture(self) -> None:
        """First pass: all tensors of a picture were seen, and the average moves by all of them together."""
        (low, high), (old_low, old_high) = self.picture, self.average or self.picture
        self.average = old_low + MOMENTUM * (low - old_low), old_high + MOMENTUM * (high - old_high)
        self.picture = (INFINITY, -INFINITY)

    def histogram(self, x: Tensor) -> None:
        """Second pass."""
        if self.high > self.low:
            self.counts += torch.histc(x.float(), BINS, self.low, self.high).double().cpu().numpy()

    def choose(self, method: Method, percentile: float = 99.99) -> tuple[float, float]:
        """Lower and upper end; zero is always between them."""
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        if method == "minmax" or self.high <= self.low:
            return low, high
        if method == "average":
            assert self.average is not None
            return min(self.average[0], 0.0), max(self.average[1], 0.0)
        if method == "percentile":
            below, above = self.quantiles(percentile)
            return min(below, 0.0), max(above, 0.0)
        return self.least_error(low, high)

    def quantiles(self, percentile: float) -> tuple[float, float]:
        edges = np.linspace(self.low, self.high, BINS + 1)
        share = np.concatenate([[0.0], np.cumsum(self.counts)]) / max(self.counts.sum(), 1.0)
        tail = 1 - percentile / 100
        return float(np.interp(tail, share, edges)), float(np.interp(1 - tail, share, edges))

    def least_error(self, low: float, high: float) -> tuple[float, float]:
        """The ends, each shrunk on its own, with the least squared error of rounding and clipping."""
        edges = np.linspace(self.low, self.high, BINS + 1)
        centres = (edges[:-1] + edges[1:]) / 2
        best = (low, high)
        for _ in range(2):
            for end in (0, 1):
                tries = [(f * low, best[1]) if end == 0 else (best[0], f * high) for f in np.linspace(1.0, 0.05, 96)]
                best = min(tries, key=lambda ends: squared_error(centres, self.counts, *ends))
        return best


def squared_error(values: NDArray[np.float64], counts: NDArray[np.float64], low: float, high: float) -> float:
    """Of values that come `counts` times: a twelfth of the squared step inside the range, the excess outside."""
    step = (high - low) / (HIGH - LOW)
    if step <= 0:
        return float((counts * values**2).sum())
    excess = np.maximum(np.maximum(low - values, values - high), 0.0)
    return float((counts * np.where(excess > 0, excess**2, step**2 / 12)).sum())
