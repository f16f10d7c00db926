"""Reads label pictures: from the values that a file holds (indices or colours) to train ids, 255 = void.

Which values a data set uses is said by its layout, in a LabelFormat.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import open_regular
from .pictures import open_picture

if TYPE_CHECKING:
    from .dataset import Dataset, Pair

VOID = 255
"""The train id of pixels that neither loss nor score counts."""

MAX_CLASSES = 255
_LOSSLESS = ("PNG", "BMP", "PPM")
_NAMED = 5  # unknown values that a message names
_BLENDED = 30  # more unknown colours than this in one picture are no mistake in the palette


@dataclass(frozen=True)
class LabelFormat:
    """What the pixels of a data set's label pictures mean."""

    kind: str
    """"index": one number per pixel (grey or palette index); "color": RGB."""
    ids: Mapping[int, int]
    """From an index, or a colour as 0xrrggbb, to the train id or VOID."""

    def read(self, path: Path) -> NDArray[np.uint8]:
        """The train ids `[h, w]`.

        Raises:
            KitError: when the file can't be read, is of the wrong kind, or holds a value that `ids` does not know.
        """
        values = read_values(path, self.kind)
        decoded = self.decode(values)
        if (decoded < 0).any():
            raise KitError(f"{path}: {self.explain(self.unknown(values, decoded))}")
        return decoded.astype(np.uint8)

    def decode(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Train ids `[h, w]` of what read_values gave; -1 where the value is unknown."""
        if self.kind == "index":
            looked_up: NDArray[np.int16] = self._table[values]
            return looked_up
        known, targets = self._sorted_colors
        places = np.searchsorted(known, values).clip(max=len(known) - 1)
        return np.where(known[places] == values, targets[places], np.int16(-1))

    def unknown(self, values: NDArray[Any], decoded: NDArray[np.int16]) -> list[Unknown]:
        """The values that `decoded` has -1 for, the most frequent first."""
        flat = np.flatnonzero(decoded.ravel() < 0)
        found, first, counts = np.unique(values.ravel()[flat], return_index=True, return_counts=True)
        width = values.shape[1]
        places = [divmod(int(flat[index]), width) for index in first]
        unknown = [
            Unknown(int(value), int(count), x, y) for value, count, (y, x) in zip(found, counts, places, strict=True)
        ]
        return sorted(unknown, key=lambda one: (-one.pixels, one.value))

    def explain(self, unknown: Sequence[Unknown]) -> str:
        """The unknown values of one picture in words, and what was expected."""
        said = []
        for one in unknown[:_NAMED]:
            name = f"class id {one.value}" if self.kind == "index" else f"colour {hex_color(one.value)}"
            pixels = "1 pixel" if one.pixels == 1 else f"{one.pixels} pixels"
            said.append(f"unknown {name} in {pixels}, the first at x={one.x}, y={one.y}")
        if len(unknown) > _NAMED:
            said.append(f"{len(unknown) - _NAMED} more unknown values")
        if self.kind == "index":
            return "; ".join(said) + f" (expected the ids {_ranges(sorted(self.ids))})"
        blended = "; so many colours come from smoothed borders: draw and scale labels without anti-aliasing"
        return (
            "; ".join(said)
            + f" (expected the {len(self.ids)} colours of classes and void)"
            + (blended if len(unknown) > _BLENDED else "")
        )

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(256, -1, dtype=np.int16)
        for value, train_id in self.ids.items():
            table[value] = train_id
        return table

    @cached_property
    def _sorted_colors(self) -> tuple[NDArray[np.uint32], NDArray[np.int16]]:
        pairs = sorted(self.ids.items())
        return (
            np.array([color for color, _ in pairs], dtype=np.uint32),
            np.array([train_id for _, train_id in pairs], dtype=np.int16),
        )


@dataclass(frozen=True)
class Unknown:
    """A value in a label picture that belongs to no class: how many pixels have it, and the first in reading order."""

    value: int
    pixels: int
    x: int
    y: int


def read_values(path: Path, kind: str) -> NDArray[Any]:
    """What the file holds: indices, uint8 `[h, w]`, or colours 0xrrggbb, uint32 `[h, w]`.

    Raises:
        KitError: when the file can't be read, is compressed with loss, or can't hold labels of this kind.
    """
    with open_picture(path) as picture:
        if picture.format not in _LOSSLESS:
            raise KitError(lossy(path, str(picture.format)))
        if kind == "index":
            if picture.mode not in ("L", "P", "1"):
                raise KitError(f"{path}: is a picture of mode {picture.mode}; {_not_an_index(picture.mode)}")
            pixels = np.array(picture, dtype=np.uint8)
            return pixels // _grey_step(path) if picture.mode == "L" and picture.format == "PNG" else pixels
        if picture.mode.startswith(("I", "F")):
            raise KitError(f"{path}: has 16 or more bits per pixel; colour labels have 3 channels of 8 bits")
        if "A" in picture.mode and picture.getchannel("A").getextrema() != (255, 255):
            raise KitError(f"{path}: has transparent pixels, whose class can't be told; save it without transparency")
        rgb = np.array(picture.convert("RGB"), dtype=np.uint32)
        return (rgb[..., 0] << 16) | (rgb[..., 1] << 8) | rgb[..., 2]


def class_frequencies(dataset: Dataset, pairs: Sequence[Pair]) -> NDArray[np.float64]:
    """How many pixels of the labels of `pairs` each class has, `[classes]`; void is not counted."""
    counts = np.zeros(256, dtype=np.int64)
    for pair in pairs:
        counts += np.bincount(dataset.format.read(pair.label).ravel(), minlength=256)
    return counts[: len(dataset.classes)].astype(np.float64)


def lossy(path: Path, kind: str) -> str:
    """The message for a label in a file format that does not keep every pixel, or may not."""
    return (
        f"{path}: labels can't be {kind} files, expected PNG: compression with loss blurs borders and so invents class "
        "ids. Export the labels again"
    )


def parse_color(text: str) -> int:
    """0xrrggbb of "#rrggbb".

    Raises:
        ValueError: for any other form.
    """
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise ValueError(text)
    return int(text[1:], 16)


def hex_color(color: int) -> str:
    """ "#rrggbb" of 0xrrggbb."""
    return f"#{color:06x}"


def _not_an_index(mode: str) -> str:
    if mode.startswith("I"):
        return "ids need 8 bits per pixel (grey or palette), not 16 or more"
    return "expected one id per pixel (8-bit grey or palette). Are these colours? Then say so in a dataset.toml"


def _grey_step(path: Path) -> int:
    """Pillow stretches grey PNGs of 2 and 4 bits to 0..255; dividing by this gives the stored ids back."""
    with open_regular(path) as file:
        depth = file.read(25)[24]
    return {2: 85, 4: 17}.get(depth, 1)


def _ranges(numbers: Sequence[int]) -> str:
    """ "0-3, 7, 255" of sorted numbers."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in parts)
