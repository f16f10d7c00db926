"""What a pixel is in a foreign network's input, as far as its scale and zero point tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..export.manifest import Pixels
from ..judge.preprocess import PixelMap

IMAGENET = Pixels((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
USUAL = {"0 to 1": (0.0, 1.0), "-1 to 1": (-1.0, 1.0), "0 to 255": (0.0, 255.0), "-128 to 127": (-128.0, 127.0)}
"""Ranges of real values that pixels are turned into as a whole: then a pixel is its own tensor value."""
IMAGENET_RANGE = (-2.118, 2.64)
TOLERANCE = 0.02
"""Of a range's width: calibration misses its ends a little."""


@dataclass(frozen=True)
class Found:
    """How pixels become tensor values."""

    pixels: Pixels | None
    """For the manifest; None: as they are."""
    pixel_map: PixelMap
    told: str
    is_guess: bool


def find_pixels(signed: bool, scale: float, zero_point: int, given: Pixels | None) -> Found:
    """What pixels become in an input of int8 (`signed`) or uint8; `given` is what the user says."""
    plain = PixelMap.new(signed, scale, zero_point)
    if given is not None:
        table = PixelMap.new(signed, scale, zero_point, given.mean, given.std) if scale else plain
        return Found(given if scale else None, table, "mean and deviation as given", False)
    if not scale:
        return Found(None, plain, "the input has no scale: a pixel is its tensor value", True)
    low, high = (scale * (end - zero_point) for end in ((-128, 127) if signed else (0, 255)))
    if _near((low, high), IMAGENET_RANGE):
        table = PixelMap.new(signed, scale, zero_point, IMAGENET.mean, IMAGENET.std)
        return Found(IMAGENET, table, "the input's range is that of ImageNet's means and deviations", False)
    same = _unchanged(signed, scale, zero_point, plain)
    for name, usual in USUAL.items():
        if _near((low, high), usual):
            return Found(same, plain, f"the input is {name} in real values: a pixel is its tensor value", False)
    told = f"the input is {low:.4g} to {high:.4g} in real values, no usual range: a pixel is taken as its tensor value"
    return Found(same, plain, f"{told}; if that is wrong, say --mean and --std", True)


def _unchanged(signed: bool, scale: float, zero_point: int, plain: PixelMap) -> Pixels | None:
    """What keeps every pixel as it is, in the manifest's terms and in few digits; None where no such numbers do."""
    middle = float(zero_point + (128 if signed else 0))
    for digits in (1, 3, 6):
        step = round(1 / scale, digits)
        same = Pixels((middle,) * 3, (step,) * 3)
        if step > 0 and np.array_equal(PixelMap.new(signed, scale, zero_point, same.mean, same.std).table, plain.table):
            return same
    return None


def _near(found: Sequence[float], wanted: Sequence[float]) -> bool:
    width = wanted[1] - wanted[0]
    return all(abs(one - other) <= TOLERANCE * width for one, other in zip(found, wanted, strict=True))
