"""How far colours are apart for readers with normal vision and for those who lack one kind of cone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

VISIONS = {
    "normal": np.eye(3),
    "protanopia": np.array(
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
    ),
    "deuteranopia": np.array(
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
    ),
    "tritanopia": np.array(
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]
    ),
}
"""Machado, Oliveira, Fernandes 2009, severity 1.0: matrices for linear RGB."""
_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
_WHITE = np.array([0.95047, 1.0, 1.08883])


def lab(colours: list[str], vision: str) -> NDArray[np.float64]:
    """CIE 1976 L*a*b* of sRGB colours "#rrggbb", as that vision sees them: `[n, 3]`."""
    rgb = np.array([[int(text[place : place + 2], 16) for place in (1, 3, 5)] for text in colours]) / 255
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.clip(linear @ VISIONS[vision].T, 0, 1) @ _XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], -1)


def differences(colours: list[str], vision: str) -> NDArray[np.float64]:
    """CIE 1976 delta E of every pair: `[n, n]`."""
    values = lab(colours, vision)
    apart: NDArray[np.float64] = np.linalg.norm(values[:, None] - values[None], axis=-1)
    return apart
