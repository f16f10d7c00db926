"""Writes a network as a .tflite file: full int8, or float32 for comparisons.

Operators and versions are those that Edge TPU compilers take; logits leave at the network's stride.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ..files import write_whole
from ..quant.ops import Add, AveragePool, Concat, Conv, MaxPool, Node, OpGraph, Pad, Resize
from ..quant.quantised import QuantisedGraph
from ..quant.ranges import Affine
from .flatbuffer import Graph, Quant

InputType = Literal["uint8", "int8"]
UINT8_OFFSET = 128
"""Between a uint8 and an int8 zero point of the same meaning."""


def export_tflite(ir: QuantisedGraph | OpGraph, path: Path, description: str, input_type: InputType = "uint8") -> None:
    """Writes `path`: int8 of a QuantisedGraph, float32 of an OpGraph.

    Input `[1, h, w, 3]`: uint8 (a pixel as it is, one QUANTIZE in front) or int8 (pixel - 128), both scale 1/128; a
    float32 file takes (pixel - 127) / 128. Output `[1, h / s, w / s, classes]`, int8 or float32.

    Raises:
        KitError: when it can't be written.
    """
    write_whole(path, to_bytes(ir, description, input_type))


def to_bytes(ir: QuantisedGraph | OpGraph, description: str, input_type: InputType = "uint8") -> bytes:
    """The file of export_tflite."""
    return Writer(ir, description).write(input_type)


class Writer:
    """One file being written."""

    def __init__(self, ir: QuantisedGraph | OpGraph, description: str) -> None:
        self.ir = ir if isinstance(ir, QuantisedGraph) else None
        self.graph = ir.graph if isinstance(ir, QuantisedGraph) else ir
        self.dtype = "int8" if self.ir else "float32"
        self.file = Graph(description)
        self.tensors: dict[str, int] = {}

    def write(self, input_type: InputType) -> bytes:
        image = self.graph.input
        shape = [1, *image.shape]
        if self.ir and input_type == "uint8":
            affine = self.ir.affines[image.name]
            pixels = self.file.input("uint8", shape, Quant(affine.scale, affine.zero_point + UINT8_OFFSET))
            self.tensors[image.name] = self.file.quantize("image_int8", pixels, "int8", quant_of(affine))
        else:
            self.tensors[image.name] = self.file.input(self.dtype, shape, self.quant(image))
        for node in list(self.graph)[1:]:
            self.tensors[node.name] = self.operator(node)
            assert self.file.shape(self.tensors[node.name]) == [1, *node.shape], node.name
        return self.file.build([self.tensors[self.graph.output]])

    def operator(self, node: Node) -> int:
        inputs = [self.tensors[name] for name in node.inputs]
        x, name, dtype, quant = inputs[0], node.name, self.dtype, self.quant(node)
        if isinstance(node, Conv):
            weights, bias = self.parameters(node)
            write = self.file.depthwise if node.depthwise else self.file.conv
            return write(
                name, x, weights, bias, dtype, quant,
                stride=node.stride, dilation=node.dilation, padding=node.padding, activation=node.activation,
            )  # fmt: skip
        if isinstance(node, Add):
            return self.file.add(x, inputs[1], dtype, quant, name=name, activation=node.activation)
        if isinstance(node, AveragePool):
            return self.file.average_pool(x, *node.kernel, dtype, quant, name=name)
        if isinstance(node, MaxPool):
            return self.file.max_pool(
                name, x, dtype, quant, kernel=node.kernel, stride=node.stride, padding=node.padding
            )
        if isinstance(node, Pad):
            return self.file.pad(name, x, dtype, quant, node.pads)
        if isinstance(node, Resize):
            height, width, _ = node.shape
            if self.file.shape(x)[1:3] == [1, 1]:
                # Edge TPU compilers leave a resize from 1x1 to the CPU, and all behind it; on CPUs both are as fast.
                return self.file.tile(name, x, height, width, dtype, quant)
            return self.file.resize_bilinear(
                x, height, width, dtype, quant, name=name, size_name=f"{name}/size", align_corners=True
            )
        if isinstance(node, Concat):
            return self.file.concatenation(name, inputs, dtype, quant)
        raise TypeError(type(node).__name__)

    def parameters(self, node: Conv) -> tuple[int, int]:
        """The tensors of weights and bias."""
        axis = 3 if node.depthwise else 0
        if self.ir is None:
            weights = arrange(node.weight.numpy(), node.depthwise)
            return (
                self.file.constant(f"{node.name}/weights", weights, "float32"),
                self.file.constant(f"{node.name}/bias", node.bias.numpy(), "float32"),
            )
        q = self.ir.weights[node.name]
        bias_scales = q.scales.astype(np.float64) * self.ir.affines[node.inputs[0]].scale
        return (
            self.file.constant(
                f"{node.name}/weights", arrange(q.weight, node.depthwise), "int8", Quant(q.scales, 0, axis)
            ),
            self.file.constant(f"{node.name}/bias", q.bias, "int32", Quant(bias_scales)),
        )

    def quant(self, node: Node) -> Quant | None:
        return quant_of(self.ir.affines[node.name]) if self.ir else None


def quant_of(affine: Affine) -> Quant:
    return Quant(affine.scale, affine.zero_point)


def arrange(weight: NDArray[np.generic], depthwise: bool) -> NDArray[np.generic]:
    """PyTorch's OIHW to TFLite's OHWI; a depthwise O1HW to 1HWO."""
    return weight.transpose(1, 2, 3, 0) if depthwise else weight.transpose(0, 2, 3, 1)
