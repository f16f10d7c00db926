"""The int8 file's own arithmetic in PyTorch, step for step as TFLite with XNNPACK does it.

The specification of what the file computes: tests hold it to the interpreter, and training with quantisation (qat.py)
rounds where it rounds. Sources: XNNPACK's scalar kernels for qs8 convolution (float requantisation), vadd and
ibilinear; TFLite's reference integer kernel for AVERAGE_POOL_2D.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from .ops import Activation, Add, AveragePool, Conv, Node, Resize, compute, convolve
from .quantised import QuantisedGraph
from .ranges import HIGH, LOW, Affine, QuantisedWeights, RangeError

RESIZE_BITS = 11
ADD_BITS = 20
LEAST_RATIO = 2.0**-40
"""Of an addend's scale to that of the sum: beyond, the fixed point has more bits than int64."""
RELU6_HIGH = 6.0


def simulate(ir: QuantisedGraph, pictures: Tensor) -> dict[str, Tensor]:
    """Every tensor's int8 numbers, int32 `[n, c, h, w]` by name, for pictures uint8 `[n, h, w, 3]`."""
    values = {ir.graph.input.name: pictures.permute(0, 3, 1, 2).int() + LOW}
    for node in list(ir.graph)[1:]:
        values[node.name] = step(ir, node, [values[name] for name in node.inputs])
    return values


def step(ir: QuantisedGraph, node: Node, inputs: list[Tensor]) -> Tensor:
    """One operator on int32 tensors that hold int8 numbers."""
    out = ir.affines[node.name]
    ins = [ir.affines[name] for name in node.inputs]
    if isinstance(node, Conv):
        return convolution(node, inputs[0], ir.weights[node.name], ins[0], out)
    if isinstance(node, Add):
        return add(inputs[0], inputs[1], ins[0], ins[1], out, node.activation)
    if isinstance(node, AveragePool):
        return average_pool(inputs[0], node.kernel)
    if isinstance(node, Resize):
        return resize(inputs[0], node.shape[:2])
    zero = out.zero_point
    # Pools of whole numbers are not in every PyTorch; float32 holds these exactly.
    return compute(node, [(x - zero).float() for x in inputs]).int() + zero


def convolution(node: Conv, x: Tensor, q: QuantisedWeights, source: Affine, out: Affine) -> Tensor:
    """Sums in int32, times a float32 scale per channel, to the nearest even, clamped to the activation's range."""
    weight, bias = torch.from_numpy(q.weight).double(), torch.from_numpy(q.bias).double()
    # Whole numbers below 2^53: double holds every sum exactly.
    sums = convolve(node, (x - source.zero_point).double(), weight.to(x.device), bias.to(x.device))
    scales = np.float32(source.scale) * q.scales / np.float32(out.scale)
    scaled = sums.float() * torch.from_numpy(scales).to(x.device)[None, :, None, None]
    low, high = limits(out, node.activation)
    return (torch.round(scaled) + out.zero_point).clamp(low, high).int()


def add(a: Tensor, b: Tensor, source_a: Affine, source_b: Affine, out: Affine, activation: Activation) -> Tensor:
    """Fixed point: multipliers of 20 bits and more, halves up.

    Raises:
        RangeError: where the scales are too far apart for that.
    """
    ratios = [float(np.float32(source.scale) / np.float32(out.scale)) for source in (source_a, source_b)]
    if not LEAST_RATIO <= max(ratios) < 2.0**ADD_BITS:
        raise RangeError(f"an addition's larger input has {max(ratios):g} times the range of its sum, too far for int8")
    shift = ADD_BITS - math.floor(math.log2(max(ratios)))
    multipliers = [round(math.ldexp(ratio, shift)) for ratio in ratios]
    sums = (a - source_a.zero_point).long() * multipliers[0] + (b - source_b.zero_point).long() * multipliers[1]
    low, high = limits(out, activation)
    return (((sums + (1 << (shift - 1))) >> shift) + out.zero_point).clamp(low, high).int()


def average_pool(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    """The mean of the int8 numbers, halves away from zero."""
    count = kernel[0] * kernel[1]
    sums = torch.round(compute_mean(x, kernel) * count).long()
    half = torch.div(sums.abs() + count // 2, count, rounding_mode="floor")
    return (sums.sign() * half).int()


def compute_mean(x: Tensor, kernel: tuple[int, int]) -> Tensor:
    return torch.nn.functional.avg_pool2d(x.double(), kernel)


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Weights of 11 bits along each axis, one rounding at the end, halves up."""
    rows = AxisWeights(x.shape[2], size[0])
    columns = AxisWeights(x.shape[3], size[1])
    left, right = x[..., columns.low], x[..., columns.high]
    across = (left << RESIZE_BITS) + (right - left) * columns.weight.to(x.device)
    top, bottom = across[:, :, rows.low], across[:, :, rows.high]
    sums = (top << RESIZE_BITS) + (bottom - top) * rows.weight.to(x.device)[:, None]
    return (sums + (1 << (2 * RESIZE_BITS - 1))) >> (2 * RESIZE_BITS)


class AxisWeights:
    """For each output place of one axis: the two input places and the weight of the second, align_corners=True."""

    def __init__(self, source: int, target: int) -> None:
        scale = np.float32(source - 1) / np.float32(target - 1) if target > 1 else np.float32(0)
        place = np.arange(target, dtype=np.float32) * scale
        low = np.minimum(place.astype(np.int64), source - 1)
        self.low = torch.from_numpy(low)
        self.high = torch.from_numpy(np.minimum(low + 1, source - 1))
        fraction = (place - low.astype(np.float32)) * np.float32(1 << RESIZE_BITS)
        self.weight = torch.from_numpy(np.rint(fraction).astype(np.int32))


def limits(out: Affine, activation: Activation) -> tuple[int, int]:
    """What the fused activation leaves of -128..127."""
    low, high = LOW, HIGH
    if activation != "none":
        low = max(low, out.zero_point)
    if activation == "relu6":
        high = min(high, out.zero_point + round(RELU6_HIGH / out.scale))
    return low, high
