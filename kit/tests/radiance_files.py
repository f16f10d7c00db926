"""Radiance pictures to test with."""

from __future__ import annotations

import numpy as np


def rgbe(linear: np.ndarray) -> bytes:
    """A flat Radiance picture of these values."""
    exponent = np.where(linear.max(axis=2) > 0, np.ceil(np.log2(np.maximum(linear.max(axis=2), 1e-30))) + 1, -128)
    mantissa = np.floor(linear / 2.0 ** (exponent[..., None] - 8)).astype(np.uint8)
    pixels = np.concatenate([mantissa, (exponent[..., None] + 128).astype(np.uint8)], axis=2)
    size = f"-Y {linear.shape[0]} +X {linear.shape[1]}\n"
    return b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n" + size.encode() + pixels.tobytes()


def runs(flat: bytes) -> bytes:
    """The same picture with the run lengths of Radiance 2.0: runs where two are equal, else single values."""
    head, pixels = flat.split(b"+X ", 1)
    width, pixels = pixels.split(b"\n", 1)
    columns = int(width)
    out = head + b"+X " + width + b"\n"
    for row in np.frombuffer(pixels, np.uint8).reshape(-1, columns, 4):
        out += bytes([2, 2, columns >> 8, columns & 255])
        for channel in row.T:
            place = 0
            while place < columns:
                run = 1
                while place + run < columns and run < 127 and channel[place + run] == channel[place]:
                    run += 1
                out += bytes([128 + run, channel[place]]) if run > 1 else bytes([1, channel[place]])
                place += run
    return out
