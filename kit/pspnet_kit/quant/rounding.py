"""Rounding weights so that a convolution's outputs change least, not its weights.

Each weight's rounding error is made up for by the weights that are still to be rounded, weighted by how their inputs
vary together: Frantar et al. 2022 (GPTQ), after Hassibi and Stork's optimal brain surgeon. Depthwise convolutions gain
most: nine correlated pixels per weight vector, where errors that do not cancel shift whole regions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .ops import Conv
from .ranges import WEIGHT_HIGH

DAMPING = 0.01
"""Of the mean variance, added to every input's own, so that the covariance can be inverted."""
POSITIONS = 2048
"""Of a picture's output that the covariance is taken over."""


def covariance(node: Conv, inputs: Tensor) -> Tensor:
    """Covariance of what the weights of one output see, `[k, k]` with k = inputs / groups * kh * kw; of a depthwise
    convolution `[outputs, k, k]`."""
    groups = inputs.shape[1] if node.depthwise else 1
    total: Tensor | float = 0.0
    mean: Tensor | float = 0.0
    for x in inputs:
        patches = windows(node, x[None]).double()
        patches = patches.view(groups, -1, patches.shape[-1])
        mean = mean + patches.mean(-1)
        total = total + patches @ patches.transpose(1, 2) / patches.shape[-1]
    assert isinstance(total, Tensor) and isinstance(mean, Tensor)
    mean = mean / len(inputs)
    centred = total / len(inputs) - mean[:, :, None] * mean[:, None, :]
    if not node.depthwise:
        return centred[0]
    return centred.repeat_interleave(node.weight.shape[0] // groups, 0)


def windows(node: Conv, x: Tensor) -> Tensor:
    """`[inputs * kh * kw, positions]`, at most POSITIONS of them, evenly spread."""
    top, bottom, left, right = node.pads
    kernel = (node.weight.shape[2], node.weight.shape[3])
    unfolded = F.unfold(F.pad(x, (left, right, top, bottom)), kernel, node.dilation, 0, node.stride)[0]
    return unfolded[:, :: -(-unfolded.shape[1] // POSITIONS)]


def compensated(weight: Tensor, scales: Tensor, spread: Tensor) -> Tensor:
    """Weights on whole multiples of `scales` (`[outputs]`), -127..127 of them.

    Args:
        weight: `[outputs, ...]`, k numbers each.
        scales: `[outputs]`.
        spread: of covariance(), `[k, k]` or `[outputs, k, k]`.
    """
    steps = scales.double()

    def nearest(column: Tensor) -> Tensor:
        return torch.round(column / steps).clamp(-WEIGHT_HIGH, WEIGHT_HIGH) * steps

    return rounded_in_turn(weight, nearest, spread)


def rounded_in_turn(weight: Tensor, nearest: Callable[[Tensor], Tensor], spread: Tensor) -> Tensor:
    """Weights that `nearest` chose, one after another, each moved first by what those before it left over.

    Args:
        weight: `[outputs, ...]`, k numbers each.
        nearest: gives the allowed values for one weight of every output, float64 `[outputs]`.
        spread: of covariance(), `[k, k]` or `[outputs, k, k]`.
    """
    rest = weight.flatten(1).double()
    spread = spread if spread.dim() == 3 else spread[None]
    size = rest.shape[1]
    variances = spread.diagonal(dim1=1, dim2=2)
    order = variances.mean(0).argsort(descending=True)
    rest, spread = rest[:, order].clone(), spread[:, order][:, :, order]
    damping = DAMPING * variances.mean(1).clamp_min(1e-12)
    damped = spread + damping[:, None, None] * torch.eye(size, dtype=spread.dtype)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    factor = torch.linalg.cholesky(inverse).transpose(1, 2)
    rounded = torch.empty_like(rest)
    for i in range(size):
        column = rest[:, i]
        rounded[:, i] = nearest(column)
        error = (column - rounded[:, i]) / factor[:, i, i]
        rest[:, i:] -= error[:, None] * factor[:, i, i:]
    back = torch.empty_like(rounded)
    back[:, order] = rounded
    return back.view_as(weight).to(weight.dtype)
