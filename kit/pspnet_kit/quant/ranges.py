"""Scales and zero points, and what int8 does to a tensor: the rules of TFLite's int8 specification."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KitError

LOW, HIGH = -128, 127
WEIGHT_HIGH = 127
SMALLEST_SCALE = 1e-12
"""Of what is always zero any scale will do."""


@dataclass(frozen=True)
class Affine:
    """real = scale * (quantised - zero_point), quantised in -128..127."""

    scale: float
    """Exactly a float32, as the file stores it."""
    zero_point: int

    @property
    def low(self) -> float:
        return self.scale * (LOW - self.zero_point)

    @property
    def high(self) -> float:
        return self.scale * (HIGH - self.zero_point)

    def quantise(self, x: Tensor) -> Tensor:
        """To whole numbers that are still float."""
        return torch.clamp(torch.round(x / self.scale) + self.zero_point, LOW, HIGH)

    def dequantise(self, q: Tensor) -> Tensor:
        return (q - self.zero_point) * self.scale


PICTURE = Affine(1 / 128, -1)
"""The input as int8: pixel - 128 stands for (pixel - 127) / 128."""


class RangeError(KitError):
    """A range that no int8 tensor can have. Ranges become such when training diverges."""


def affine(low: float, high: float) -> Affine:
    """Covers low..high and zero, with zero exactly on a step.

    Raises:
        RangeError: for infinities and NaN.
    """
    if not (math.isfinite(low) and math.isfinite(high)):
        raise RangeError(f"a tensor's range for int8 is {low:g} to {high:g}; expected finite numbers")
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / (HIGH - LOW)))
    if not scale > SMALLEST_SCALE:
        scale = PICTURE.scale
    return Affine(scale, int(np.clip(round(LOW - low / scale), LOW, HIGH)))


def weight_scales(weight: Tensor, bias: Tensor, input_scale: float) -> Tensor:
    """One float32 scale per output channel, symmetric; large enough that the bias fits int32, also where the weights
    are zero."""
    largest = weight.detach().abs().flatten(1).amax(1) / WEIGHT_HIGH
    for_bias = bias.detach().abs() / (input_scale * 2.0**30)
    return torch.maximum(largest, for_bias).clamp_min(1e-9).float()


@dataclass(frozen=True)
class QuantisedWeights:
    weight: NDArray[np.int8]
    """`[outputs, inputs / groups, kh, kw]`, -127..127"""
    scales: NDArray[np.float32]
    """`[outputs]`"""
    bias: NDArray[np.int32]
    """`[outputs]`, at scale input * weight"""


def quantise_weights(
    weight: Tensor, bias: Tensor, input_scale: float, scales: Tensor | None = None
) -> QuantisedWeights:
    """Rounds to nearest, at weight_scales() unless `scales` are given."""
    if scales is None:
        scales = weight_scales(weight, bias, input_scale)
    steps = torch.round(weight / scales[:, None, None, None]).clamp(-WEIGHT_HIGH, WEIGHT_HIGH)
    totals = torch.round(bias.double() / (scales.double() * input_scale))
    return QuantisedWeights(
        steps.to(torch.int8).numpy(), scales.numpy(), totals.clamp(-(2.0**31), 2.0**31 - 1).to(torch.int32).numpy()
    )
