"""Few values for many: k-means of numbers on a line, and the bits that a Huffman code of their indices takes."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
STEPS = 100
"""Of Lloyd's at most; numbers on a line settle long before."""


def kmeans(values: Numbers, weights: Numbers, count: int) -> Numbers:
    """At most `count` centres of `values`, sorted, for a small squared error in which each counts by its weight.

    Lloyd's steps start from evenly spaced centres (best in Han et al. 2016) and from centres of equal weight; the
    better end is taken. Values of which at most `count` differ are centres themselves.
    """
    order = np.argsort(values, kind="stable")
    line, mass = values[order], weights[order]
    distinct = np.unique(line)
    if len(distinct) <= count:
        return distinct
    sums = np.concatenate([[0.0], np.cumsum(mass)])
    moments = np.concatenate([[0.0], np.cumsum(mass * line)])
    shares = np.searchsorted(sums, (np.arange(count) + 0.5) / count * sums[-1])
    starts = (np.linspace(line[0], line[-1], count), line[np.clip(shares, 1, len(line)) - 1])
    ends = [_lloyd(line, sums, moments, start) for start in starts]
    errors = [float((mass * (line - centres[_nearest(centres, line)]) ** 2).sum()) for centres in ends]
    return ends[int(np.argmin(errors))]


def huffman_bits(counts: Iterable[int]) -> int:
    """Bits of all symbols, which occur so often, in a Huffman code of their own; one symbol alone takes a bit each."""
    heap = [int(count) for count in counts if count > 0]
    if len(heap) == 1:
        return heap[0]
    heapq.heapify(heap)
    total = 0
    while len(heap) > 1:
        # Each join puts one bit more before every symbol below it.
        joined = heapq.heappop(heap) + heapq.heappop(heap)
        total += joined
        heapq.heappush(heap, joined)
    return total


def _nearest(centres: Numbers, values: Numbers) -> NDArray[np.int64]:
    """The index of the nearest of sorted centres, for each value."""
    return np.searchsorted((centres[1:] + centres[:-1]) / 2, values)


def _lloyd(line: Numbers, sums: Numbers, moments: Numbers, centres: Numbers) -> Numbers:
    """`sums` and `moments`: of the weights, and of weights times values, of so many values from the left."""
    for _ in range(STEPS):
        ends = np.concatenate([[0], np.searchsorted(line, (centres[1:] + centres[:-1]) / 2), [len(line)]])
        mass = np.diff(sums[ends])
        # A centre that nothing is near to stays where it is.
        moved = np.where(mass > 0, np.diff(moments[ends]) / np.where(mass > 0, mass, 1), centres)
        if np.array_equal(moved, centres):
            break
        centres = np.sort(moved)
    return np.unique(centres)


__all__ = ["huffman_bits", "kmeans"]
