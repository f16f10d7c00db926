"""The network as the operators that TFLite knows: what quantisation and export work on.

A graph is made by graph.py from a PyTorch network. BatchNorm is folded and activations are fused, so that every tensor
between two nodes is one that the TFLite file has too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["none", "relu", "relu6"]
Padding = Literal["SAME", "VALID"]
Shape = tuple[int, int, int]
"""Height, width, channels of one picture's tensor."""


@dataclass(frozen=True)
class Node:
    """One tensor and the operator that makes it."""

    name: str
    inputs: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True)
class Input(Node):
    """The picture, (pixel - 127) / 128."""


@dataclass(frozen=True, eq=False)
class Conv(Node):
    """A convolution, depthwise where `depthwise` says so."""

    weight: Tensor
    """`[outputs, inputs / groups, kh, kw]`, BatchNorm folded in."""
    bias: Tensor
    """`[outputs]`"""
    depthwise: bool
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    """Top, bottom, left, right: what `padding` comes to at this size."""
    padding: Padding
    activation: Activation
    module: str
    """Path of the convolution in the network."""
    norm: str | None
    """Path of the BatchNorm that was folded in."""


@dataclass(frozen=True)
class Add(Node):
    activation: Activation


@dataclass(frozen=True)
class AveragePool(Node):
    """Kernel = stride."""

    kernel: tuple[int, int]


@dataclass(frozen=True)
class MaxPool(Node):
    kernel: tuple[int, int]
    stride: tuple[int, int]
    pads: tuple[int, int, int, int]
    padding: Padding


@dataclass(frozen=True)
class Pad(Node):
    """Zeros around the tensor."""

    pads: tuple[int, int, int, int]


@dataclass(frozen=True)
class Resize(Node):
    """Bilinear, align_corners=True."""


@dataclass(frozen=True)
class Concat(Node):
    """Along the channels."""


KEEPS_RANGE = (AveragePool, MaxPool, Pad, Resize, Concat)
"""Operators whose int8 inputs and output must have one scale and zero point (TFLite's int8 specification)."""


@dataclass(frozen=True)
class OpGraph:
    """Nodes in an order in which they can run; the first is the input."""

    nodes: dict[str, Node]
    output: str

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for name, node in self.nodes.items():
            assert name == node.name and seen.issuperset(node.inputs), name
            seen.add(name)

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes.values())

    @property
    def input(self) -> Input:
        node = next(iter(self.nodes.values()))
        assert isinstance(node, Input)
        return node

    @property
    def convolutions(self) -> list[Conv]:
        return [node for node in self if isinstance(node, Conv)]

    def last_uses(self) -> dict[str, list[str]]:
        """Node to the tensors that nobody reads after it."""
        last = {name: node.name for node in self for name in node.inputs}
        ends: dict[str, list[str]] = {}
        for tensor, node in last.items():
            if tensor != self.output:
                ends.setdefault(node, []).append(tensor)
        return ends

    def range_groups(self) -> dict[str, str]:
        """Tensor to the first tensor of its group: those that must be quantised alike."""
        first = {name: name for name in self.nodes}

        def find(name: str) -> str:
            while first[name] != name:
                name = first[name]
            return name

        order = {name: index for index, name in enumerate(self.nodes)}
        for node in self:
            if isinstance(node, KEEPS_RANGE):
                for name in node.inputs:
                    a, b = sorted((find(name), find(node.name)), key=order.__getitem__)
                    first[b] = a
        return {name: find(name) for name in self.nodes}


def activate(x: Tensor, activation: Activation) -> Tensor:
    if activation == "relu6":
        return F.relu6(x)
    return F.relu(x) if activation == "relu" else x


def convolve(node: Conv, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Without the activation; NCHW."""
    top, bottom, left, right = node.pads
    padding: int | tuple[int, int] = 0
    if (top, left) == (bottom, right):
        padding = (top, left)
    else:
        x = F.pad(x, (left, right, top, bottom))
    groups = x.shape[1] if node.depthwise else 1
    return F.conv2d(x, weight, bias, node.stride, padding, node.dilation, groups)


def compute(node: Node, inputs: list[Tensor]) -> Tensor:
    """The node in float, `[n, c, h, w]` each."""
    x = inputs[0]
    if isinstance(node, Conv):
        return activate(convolve(node, x, node.weight, node.bias), node.activation)
    if isinstance(node, Add):
        return activate(x + inputs[1], node.activation)
    if isinstance(node, AveragePool):
        return F.avg_pool2d(x, node.kernel)
    if isinstance(node, (MaxPool, Pad)):
        top, bottom, left, right = node.pads
        if isinstance(node, Pad):
            return F.pad(x, (left, right, top, bottom))
        return F.max_pool2d(F.pad(x, (left, right, top, bottom), value=float("-inf")), node.kernel, node.stride)
    if isinstance(node, Resize):
        return F.interpolate(x, size=node.shape[:2], mode="bilinear", align_corners=True)
    if isinstance(node, Concat):
        return torch.cat(inputs, 1)
    raise TypeError(type(node).__name__)


def run(graph: OpGraph, x: Tensor) -> Iterator[tuple[Node, Tensor]]:
    """Runs the graph in float, node by node; a tensor is let go after its last use."""
    values = {graph.input.name: x}
    ends = graph.last_uses()
    yield graph.input, x
    for node in list(graph)[1:]:
        values[node.name] = compute(node, [values[name] for name in node.inputs])
        yield node, values[node.name]
        for name in ends.get(node.name, []):
            del values[name]
