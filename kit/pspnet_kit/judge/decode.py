"""From logits at the network's stride to a class map of the picture's size, as in pspnetd's crates/pixels/src/segment.

Bilinear with half-pixel centres, then the lowest class among the greatest. Quantised logits are blended in 16-bit
whole numbers, so that masks equal the daemon's bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

FRACTION = 6
ONE = 1 << 15
BAND = 64
"""Mask rows that are blended together; bounds the memory for large pictures."""


@lru_cache(maxsize=64)
def positions(mask: int, grid: int) -> tuple[np.ndarray, np.ndarray]:
    """For each of `mask` pixels the grid cell at or before its centre, and its distance from there in 1/32768."""
    position = np.clip((np.arange(mask) + 0.5) / mask * grid - 0.5, 0.0, grid - 1.0)
    steps = np.floor(position * ONE + 0.5).astype(np.int64)
    return steps >> 15, (steps & (ONE - 1)).astype(np.int32)


def _blend(values: np.ndarray, mask: int, axis: int) -> np.ndarray:
    cells, t = positions(mask, values.shape[axis])
    left = values.take(cells, axis=axis)
    right = values.take(np.minimum(cells + 1, values.shape[axis] - 1), axis=axis)
    shape = [1] * values.ndim
    shape[axis] = mask
    return left + (((right - left) * t.reshape(shape) + 0x4000) >> 15)


def upsample(logits: np.ndarray, height: int, width: int) -> np.ndarray:
    """Logits int8 or uint8 `[h, w, classes]` as int32 `[height, width, classes]`, in 1/64 of a quantisation step."""
    values = logits.astype(np.int32) << FRACTION
    return _blend(_blend(values, height, 0), width, 1)


def bands(logits: np.ndarray, height: int, width: int) -> Iterator[tuple[slice, np.ndarray]]:
    """The same as `upsample` in bands of rows, from top to bottom: the rows, and int32 `[rows, width, classes]`."""
    rows = _blend(logits.astype(np.int32) << FRACTION, height, 0)
    for first in range(0, height, BAND):
        band = slice(first, min(first + BAND, height))
        yield band, _blend(rows[band], width, 1)


def decode(logits: np.ndarray, height: int, width: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The class map and the softmax probability of the winner.

    Args:
        logits: int8 or uint8 `[h, w, classes]`.
        scale: the quantisation step.

    Returns:
        uint8 `[height, width]` and float32 `[height, width]`.
    """
    mask = np.empty((height, width), np.uint8)
    confidence = np.empty((height, width), np.float32)
    for band, values in bands(logits, height, width):
        mask[band] = values.argmax(axis=2)
        below = (values - values.max(axis=2, keepdims=True)).astype(np.float32) * np.float32(scale / (1 << FRACTION))
        confidence[band] = 1.0 / np.exp(below).sum(axis=2)
    return mask, confidence
