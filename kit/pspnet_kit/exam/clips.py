"""Clips of concatenated JPEG pictures (.mjpeg), and which of their pixels stay still."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import KitError
from ..files import read_bytes

STILL = 12
"""Grey values by which a still pixel may differ from its median over the clip: more than the noise of a camera."""
_BAND = 16
_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}
"""Markers without a length: TEM, SOI and the restart markers."""


def frames(path: Path) -> list[bytes]:
    """The JPEG pictures of a clip, in order.

    Raises:
        KitError: when it can't be read, or is anything but JPEG pictures one after another.
    """
    content = read_bytes(path)
    found: list[bytes] = []
    start = 0
    while start < len(content):
        end = _end(content, start)
        if end is None:
            where = f"frame {len(found)}, at byte {start}"
            raise KitError(f"{path}: {where}: expected a whole JPEG picture; a .mjpeg clip is nothing else")
        found.append(content[start:end])
        start = end
    if not found:
        raise KitError(f"{path}: is empty; expected JPEG pictures one after another")
    return found


def _end(content: bytes, start: int) -> int | None:
    """Where the JPEG picture that begins at `start` ends; None where there is no whole one.

    Markers are followed by their lengths: a thumbnail in a picture's header has an end of its own.
    """
    if content[start : start + 2] != b"\xff\xd8":
        return None
    place = start + 2
    while True:
        # Pixels hold 0xff only before 0, a restart marker or fill bytes, so that the next other marker ends them.
        place = content.find(b"\xff", place)
        if place < 0 or place + 1 >= len(content):
            return None
        marker = content[place + 1]
        if marker == 0xD9:
            return place + 2
        if marker == 0xFF:
            place += 1
        elif marker == 0 or marker in _ALONE:
            place += 2
        else:
            place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")


def still_pixels(pictures: Iterable[np.ndarray], where: str) -> NDArray[np.bool_]:
    """Which pixels `[h, w]` stay within STILL grey values of their median over all pictures, uint8 `[h, w, 3]`.

    Raises:
        KitError: when there are fewer than two, or they differ in size.
    """
    greys: list[NDArray[np.uint8]] = []
    for picture in pictures:
        grey = np.array(Image.fromarray(picture).convert("L"), dtype=np.uint8)
        if greys and grey.shape != greys[0].shape:
            first, other = (f"{shape[1]}x{shape[0]}" for shape in (greys[0].shape, grey.shape))
            raise KitError(f"{where}: frame {len(greys)} is {other}, the first is {first}; expected one size")
        greys.append(grey)
    if len(greys) < 2:
        raise KitError(f"{where}: {len(greys)} frames; flips need at least 2")
    still = np.empty(greys[0].shape, np.bool_)
    # The median is a copy in floating point: of a band of rows it is small.
    for first_row in range(0, still.shape[0], _BAND):
        band = np.stack([grey[first_row : first_row + _BAND] for grey in greys])
        distance = np.abs(band - np.median(band, axis=0)).max(axis=0)
        still[first_row : first_row + _BAND] = distance <= STILL
    return still
