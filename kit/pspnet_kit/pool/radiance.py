"""Reads Radiance .hdr pictures, and makes pictures of 8 bits of linear ones, at any exposure.

The format: Ward 1991, Real Pixels, in Graphics Gems II; the run lengths of each channel are those of Radiance 2.0.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..data.pictures import MOST_PIXELS
from ..errors import KitError
from ..files import read_bytes

WHITE = 4.0
"""The luminance that becomes white."""
MIDDLE = 0.18
"""What the median luminance becomes at exposure 0."""
_SIZE = re.compile(rb"-Y (\d{1,5}) \+X (\d{1,5})")
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
_MAX_HEADER = 65536


def read(path: Path) -> NDArray[np.float32]:
    """The picture as linear RGB, float32 `[h, w, 3]`.

    Raises:
        KitError: when the file is missing, is no Radiance picture, turned, or cut off.
    """
    content = read_bytes(path)
    if not content.startswith((b"#?RADIANCE", b"#?RGBE")):
        raise KitError(f"{path}: is no Radiance picture, which begins with #?RADIANCE")
    header_end = content.find(b"\n\n", 0, _MAX_HEADER)
    size_end = content.find(b"\n", header_end + 2, header_end + 64)
    size = _SIZE.fullmatch(content[header_end + 2 : size_end]) if 0 < header_end < size_end else None
    if size is None or b"32-bit_rle_xyze" in content[:header_end]:
        raise KitError(f"{path}: has no size as -Y HEIGHT +X WIDTH, or no RGB; other Radiance pictures are not read")
    height, width = int(size[1]), int(size[2])
    if not (8 <= width <= 32767 and 1 <= height <= 32767 and width * height <= MOST_PIXELS):
        raise KitError(f"{path}: is {width}x{height}, expected 8 to 32767 columns and at most {MOST_PIXELS} pixels")
    pixels = _pixels(path, content, size_end + 1, height, width)
    # A mantissa stands for the middle of its step, and exponent 0 for black.
    exponent = pixels[:, 3:].astype(np.int32)
    linear = np.ldexp(pixels[:, :3].astype(np.float32) + np.float32(0.5), exponent - 136)
    return np.ascontiguousarray(np.where(exponent > 0, linear, np.float32(0)).transpose(0, 2, 1))


def _pixels(path: Path, content: bytes, start: int, height: int, width: int) -> NDArray[np.uint8]:
    """Mantissas and exponent of each pixel, uint8 `[h, 4, w]`."""
    pixels = np.empty((height, 4, width), np.uint8)
    if content[start : start + 4] != bytes([2, 2, width >> 8, width & 255]):
        flat = content[start : start + height * width * 4]
        if len(flat) < height * width * 4:
            raise KitError(f"{path}: is cut off, or its run lengths are of a kind that is not read")
        return np.frombuffer(flat, np.uint8).reshape(height, width, 4).transpose(0, 2, 1)
    place = start
    for row in range(height):
        if content[place : place + 4] != bytes([2, 2, width >> 8, width & 255]):
            raise KitError(f"{path}: is cut off or broken at row {row} of {height}")
        place += 4
        line = bytearray()
        while len(line) < 4 * width:
            count = content[place] if place < len(content) else 0
            run = count - 128 if count > 128 else count
            length = 1 if count > 128 else count
            if count == 0 or place + 1 + length > len(content):
                raise KitError(f"{path}: is cut off or broken at row {row} of {height}")
            line += content[place + 1 : place + 1 + length] * (run if count > 128 else 1)
            place += 1 + length
        if len(line) != 4 * width:
            raise KitError(f"{path}: is broken at row {row} of {height}: a run is longer than the row")
        pixels[row] = np.frombuffer(line, np.uint8).reshape(4, width)
    return pixels


def of_planes(path: Path, planes: bytes, height: int, width: int) -> NDArray[np.float32]:
    """A picture as linear RGB `[h, w, 3]` of its green, blue and red floats; what is no number or negative becomes 0.

    Raises:
        KitError: when they are more or fewer than the size says; `path` is for the message.
    """
    if not planes or len(planes) != 12 * height * width:
        raise KitError(f"{path}: is said to be {width}x{height}, but decodes to another size")
    values = np.frombuffer(planes, "<f4").reshape(3, height, width)[[2, 0, 1]].transpose(1, 2, 0)
    return np.maximum(np.nan_to_num(values, nan=0, posinf=65504), 0).astype(np.float32)


def develop(linear: NDArray[np.float32], stops: float) -> NDArray[np.uint8]:
    """A picture of 8 bits, as a camera would expose it: uint8 `[h, w, 3]`, sRGB.

    The median luminance between 60 degrees up and down becomes MIDDLE. The highlights are compressed by equation 4 of
    Reinhard et al. 2002, Photographic Tone Reproduction for Digital Images.

    Args:
        linear: an equirectangular panorama `[h, w, 3]`.
        stops: how much brighter than that, in powers of two; negative for darker.
    """
    height = linear.shape[0]
    middle = linear[height // 6 : max(height - height // 6, height // 6 + 1)] @ _LUMINANCE
    exposed = linear * np.float32(MIDDLE / max(float(np.median(middle)), 1e-9) * 2.0**stops)
    mapped = np.clip(exposed * (1 + exposed / WHITE**2) / (1 + exposed), 0, 1)
    coded = np.where(mapped <= 0.0031308, 12.92 * mapped, 1.055 * mapped ** (1 / 2.4) - 0.055)
    return (coded * 255).round().astype(np.uint8)
