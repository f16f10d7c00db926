"""What a network costs before it runs: parameters, multiply-accumulates and bytes.

Counted the same for both kinds of file: convolutions, nothing for additions, pooling or resizing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError
from ..export.tflite_reader import read

if TYPE_CHECKING:
    from torch import nn

SUMMED = {"CONV_2D": (1, 2, 3), "DEPTHWISE_CONV_2D": (1, 2), "FULLY_CONNECTED": (1,)}
"""Axes of the weights that are summed over for one output: of [outputs, kh, kw, inputs] and [1, kh, kw, outputs]."""


@dataclass(frozen=True)
class Cost:
    """Of one picture of the model's input size."""

    parameters: int
    """Weights and biases that inference needs; an auxiliary classifier is none."""
    macs: int
    """Multiplications with an addition."""
    bytes: int
    """Of the file; of a checkpoint's float32 parameters."""


def cost(path: Path) -> Cost:
    """The cost of a checkpoint (.pt) or .tflite file."""
    if Path(path).suffix == ".tflite":
        return tflite_cost(Path(path))
    from ..checkpoint import load_model

    model, meta = load_model(path)
    return torch_cost(model, int(meta["input"]["height"]), int(meta["input"]["width"]))


def torch_cost(model: nn.Module, height: int, width: int) -> Cost:
    """The cost of a PyTorch network for an input `[1, 3, height, width]`, found by running it once.

    BatchNorm is folded into the convolution before it, so its scale and shift count as that one's bias.
    """
    from ..compress.macs import count

    layers = count(model, height, width)
    # Every layer's bias has four of its int8 bytes per output, and counts once.
    parameters = sum(layer.int8_bytes - 3 * layer.outputs for layer in layers)
    return Cost(parameters, sum(layer.macs for layer in layers), 4 * parameters)


def tflite_cost(path: Path) -> Cost:
    """The cost of a .tflite file, from its flatbuffer.

    Raises:
        KitError: when it is no such file, or has a convolution whose shapes aren't fixed.
    """
    macs = 0
    constants: dict[int, int] = {}
    for operator in read(path).operators:
        if operator.name not in (*SUMMED, "TRANSPOSE_CONV"):
            continue
        weight = operator.inputs[1]
        output = operator.outputs[0]
        if weight is None or output.dynamic:
            raise KitError(
                f"{path}: {operator.name} {operator.index} has no fixed shape ({output}); export it with one"
            )
        parameters = operator.constants
        if operator.name == "TRANSPOSE_CONV":
            # Every input pixel meets every weight; its first input is the output's shape, no parameter.
            source = operator.inputs[2]
            macs += math.prod(source.shape[:3] if source else ()) * math.prod(weight.shape)
            parameters = [tensor for tensor in parameters if tensor is not operator.inputs[0]]
        else:
            macs += math.prod(output.shape) * math.prod(weight.shape[axis] for axis in SUMMED[operator.name])
        constants |= {tensor.index: math.prod(tensor.shape) for tensor in parameters}
    return Cost(sum(constants.values()), macs, path.stat().st_size)
