"""The resize of pictures to the model's input, bit for bit as pspnetd's crates/pixels/src/preprocess does it.

Bilinear with half-pixel centres down to half size, the mean over the exact area below that, in whole numbers: rows
first, rounded to bytes, then columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

WEIGHT_SUM = 256
SCALED_BITS = 6


@dataclass(frozen=True)
class Taps:
    """Which samples make an output and how: `index` and `weight` are `[outputs, taps]`; weight 0 counts for nothing."""

    index: np.ndarray
    weight: np.ndarray
    is_area: bool


def round_half_up(values: np.ndarray) -> np.ndarray:
    """Halves away from zero, for values of at least 0. NumPy's own rounds them to even."""
    whole = np.floor(values)
    return whole + (values - whole >= 0.5)


@lru_cache(maxsize=64)
def axis_taps(pixels: int, outputs: int) -> Taps:
    """The taps along an axis of `pixels` samples that become `outputs`."""
    return _area(pixels, outputs) if pixels > 2 * outputs else _bilinear(pixels, outputs)


def _bilinear(pixels: int, outputs: int) -> Taps:
    centre = (2 * np.arange(outputs) + 1) * pixels / (2.0 * outputs)
    position = np.clip(centre - 0.5, 0.0, pixels - 1.0)
    index = np.floor(position).astype(np.int64)
    right = round_half_up((position - index) * WEIGHT_SUM).astype(np.int64)
    carry = right == WEIGHT_SUM
    index, right = index + carry, np.where(carry, 0, right)
    pair = np.stack([index, np.minimum(index + 1, pixels - 1)], axis=1)
    return Taps(pair, np.stack([WEIGHT_SUM - right, right], axis=1), is_area=False)


def _area(pixels: int, outputs: int) -> Taps:
    edges = np.arange(outputs + 1) * pixels / float(outputs)
    start, end = edges[:-1, None], edges[1:, None]
    first = np.floor(start).astype(np.int64)
    count = int((np.minimum(np.ceil(end), pixels) - first).max())
    index = first + np.arange(count)[None, :]
    # The last sample stands for what lies past the edge, so that rounding of `end` can't leave a crumb.
    low = np.where(index >= pixels, end, np.clip(index, start, end))
    high = np.where(index + 1 >= pixels, end, np.clip(index + 1, start, end))
    shrink = pixels / float(outputs)
    whole = np.floor((WEIGHT_SUM - 1) / shrink)
    if whole >= 1:
        weight = round_half_up((high - low) * whole)
    else:
        running = [round_half_up((cut - start) / shrink * WEIGHT_SUM) for cut in (low, high)]
        weight = running[1] - running[0]
    return Taps(np.minimum(index, pixels - 1), np.clip(weight, 0, 255).astype(np.int64), is_area=True)


def _mix(samples: np.ndarray, taps: Taps) -> np.ndarray:
    """Weighs `samples` `[pixels, n]`, uint8, along the first axis: uint8 `[outputs, n]`."""
    total = np.zeros((taps.index.shape[0], samples.shape[1]), np.int32)
    for tap in range(taps.index.shape[1]):
        total += samples[taps.index[:, tap]] * taps.weight[:, tap, None].astype(np.int32)
    if not taps.is_area:
        return ((total + WEIGHT_SUM // 2) >> 8).astype(np.uint8)
    sums = taps.weight.sum(axis=1)
    factor = np.minimum(round_half_up(float(1 << (15 + SCALED_BITS)) / sums), 32767).astype(np.int64)
    scaled = ((total - 128 * sums[:, None]) * factor[:, None] + 0x4000) >> 15
    return (((scaled + 32) >> SCALED_BITS) + 128).astype(np.uint8)


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image`, uint8 `[h, w, 3]`, as uint8 `[height, width, 3]`: `model.fit = "stretch"` of pspnetd."""
    rows, columns, channels = image.shape
    down = _mix(np.ascontiguousarray(image).reshape(rows, columns * channels), axis_taps(rows, height))
    turned = down.reshape(height, columns, channels).transpose(1, 0, 2).reshape(columns, height * channels)
    across = _mix(np.ascontiguousarray(turned), axis_taps(columns, width))
    return np.ascontiguousarray(across.reshape(width, height, channels).transpose(1, 0, 2))
