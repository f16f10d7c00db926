"""Finds which channels of a network can only be cut together, by following them through a trace of its forward.

Every output channel of a convolution is followed on its own: additions tie channels, concatenations shift them,
depthwise convolutions and BatchNorm carry them on. What is not understood is never cut. Fang et al. 2023 (DepGraph)
describe the problem; here the channels themselves are joined, so offsets need no rules.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import fx, nn

from ..errors import KitError

OUTPUTS, INPUTS, CHANNELS, NORM = "outputs", "inputs", "channels", "norm"
"""Which channels are cut: a convolution's outputs, its inputs, both at once if it is depthwise, or BatchNorm's."""

Layout = np.ndarray
"""int64 [channels of a tensor]: the number of the channel, as the convolutions made them, that stands at each place."""

CARRIERS = (
    nn.ReLU, nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.SiLU, nn.LeakyReLU, nn.Sigmoid, nn.Identity, nn.Dropout,
    nn.Dropout2d, nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.ZeroPad2d, nn.Upsample,
)  # fmt: skip
CARRYING_FUNCTIONS = {
    F.relu, F.relu6, F.hardtanh, F.hardswish, F.silu, F.dropout, F.dropout2d, F.interpolate, F.avg_pool2d,
    F.max_pool2d, torch.max_pool2d, F.adaptive_avg_pool2d, torch.relu, torch.clamp, torch.sigmoid,
}  # fmt: skip
CARRYING_METHODS = {"relu", "relu_", "clamp", "clamp_", "contiguous", "detach", "sigmoid", "float"}
TYING_FUNCTIONS = {
    operator.add, operator.iadd, operator.sub, operator.isub, operator.mul, operator.imul,
    torch.add, torch.sub, torch.mul,
}  # fmt: skip
TYING_METHODS = {"add", "add_", "sub", "sub_", "mul", "mul_"}
SHAPE_METHODS = {"size", "dim"}
SHAPE_ATTRIBUTES = {"shape", "dtype", "device", "ndim"}


@dataclass(frozen=True)
class Member:
    """Channels of one module that belong to a group: `channels[i]` is cut when unit `units[i]` is."""

    module: str
    side: str
    units: np.ndarray
    channels: np.ndarray

    @property
    def per_unit(self) -> int:
        """How many of the module's channels each unit takes."""
        return len(self.units) // len(np.unique(self.units))


@dataclass(frozen=True)
class Group:
    """Units that the same modules make and read. A unit is cut as a whole, units are cut one by one."""

    size: int
    members: tuple[Member, ...]
    fixed: bool
    """Never to be cut: outputs of the network, or channels that reach what the trace does not understand."""

    @property
    def makers(self) -> tuple[str, ...]:
        """The convolutions whose outputs the units are, the ones that pass them on (depthwise) among them."""
        return tuple(m.module for m in self.members if m.side == OUTPUTS) + tuple(
            m.module for m in self.members if m.side == CHANNELS
        )

    @property
    def name(self) -> str:
        """The first convolution that makes the units, and how many more do."""
        made = [member.module for member in self.members if member.side == OUTPUTS]
        return made[0] + (f" (+{len(made) - 1})" if len(made) > 1 else "")


@dataclass(frozen=True)
class Graph:
    """What `trace` found."""

    groups: list[Group]
    norms: dict[str, str]
    """A convolution to the BatchNorm that alone follows it."""
    last: set[str]
    """Convolutions whose outputs something else than a depthwise convolution reads."""
    open_inputs: set[str]
    """Convolutions that read the network's input, or something else whose channels are not known."""


def trace(model: nn.Module) -> Graph:
    """Follows the channels of `model`, with its auxiliary classifier if it has one.

    Raises:
        KitError: where the forward cannot be traced, or a module does not get as many channels as it takes.
    """
    training = model.training
    model.training = True
    try:
        graph = fx.Tracer().trace(model)
    except fx.proxy.TraceError as error:
        raise KitError(f"{type(model).__name__}: its forward cannot be followed: {error}") from error
    finally:
        model.training = training
    return _Follower(model).follow(graph)


@dataclass
class _Value:
    """A tensor of the trace: its channels (None: unknown) and the convolutions whose outputs it carries."""

    layout: Layout | None
    origins: frozenset[str] = frozenset()


@dataclass
class _Follower:
    model: nn.Module
    parents: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)
    sides: dict[tuple[str, str], Layout] = field(default_factory=dict)
    norms: dict[str, str] = field(default_factory=dict)
    last: set[str] = field(default_factory=set)
    open_inputs: set[str] = field(default_factory=set)
    order: dict[str, int] = field(default_factory=dict)
    """Of the convolutions in the trace, for messages."""

    def follow(self, graph: fx.Graph) -> Graph:
        modules = dict(self.model.named_modules())
        values: dict[fx.Node, _Value | None] = {}
        """None for what is no tensor: shapes and numbers."""
        for node in graph.nodes:
            operands = [value for argument in node.all_input_nodes if (value := values[argument]) is not None]
            if node.op == "placeholder":
                values[node] = _Value(None)
            elif node.op == "output":
                self.use(operands)
                self.fix(operands)
            elif node.op == "call_module":
                values[node] = self.module(str(node.target), modules[str(node.target)], operands)
            else:
                values[node] = self.function(node, operands, values)
        return Graph(self.groups(), self.norms, self.last, self.open_inputs)

    def module(self, name: str, module: nn.Module, operands: list[_Value]) -> _Value:
        x = operands[0]
        if isinstance(module, nn.Conv2d):
            return self.convolution(name, module, x)
        if isinstance(module, nn.BatchNorm2d):
            if len(x.origins) == 1:
                self.norms[next(iter(x.origins))] = name
            return _Value(self.attach(name, NORM, x.layout, module.num_features, x.origins), x.origins)
        if isinstance(module, CARRIERS):
            return x
        return self.opaque(operands)

    def convolution(self, name: str, conv: nn.Conv2d, x: _Value) -> _Value:
        self.order.setdefault(name, len(self.order))
        if conv.groups > 1 and conv.groups == conv.in_channels == conv.out_channels:
            return _Value(self.attach(name, CHANNELS, x.layout, conv.in_channels, x.origins), frozenset({name}))
        self.use([x])
        inputs = self.attach(name, INPUTS, x.layout, conv.in_channels, x.origins)
        if inputs is None:
            self.open_inputs.add(name)
        outputs = self.sides.get((name, OUTPUTS))
        if outputs is None:
            first = len(self.parents)
            self.parents.extend(range(first, first + conv.out_channels))
            outputs = self.sides[name, OUTPUTS] = np.arange(first, first + conv.out_channels)
        value = _Value(outputs, frozenset({name}))
        if conv.groups > 1:
            self.fix([x, value])
        return value

    def function(self, node: fx.Node, operands: list[_Value], values: dict[fx.Node, _Value | None]) -> _Value | None:
        target: Any = node.target
        is_function, is_method = node.op == "call_function", node.op == "call_method"
        if not operands:
            return None if node.op != "get_attr" else _Value(None)
        if (is_method and target in SHAPE_METHODS) or (target is getattr and node.args[1] in SHAPE_ATTRIBUTES):
            return None
        if (is_function and target in CARRYING_FUNCTIONS) or (is_method and target in CARRYING_METHODS):
            return operands[0]
        if is_function and target is F.pad and len(_argument(node, 1, "pad", ())) <= 4:
            return operands[0]
        if is_function and target in (torch.cat, torch.concat):
            return self.concatenate(node, operands, values)
        if (is_function and target in TYING_FUNCTIONS) or (is_method and target in TYING_METHODS):
            return self.tie(operands)
        return self.opaque(operands)

    def concatenate(self, node: fx.Node, operands: list[_Value], values: dict[fx.Node, _Value | None]) -> _Value:
        if _argument(node, 1, "dim", 0) not in (1, -3):
            return self.tie(operands)
        # A tensor may stand in the list twice, which `operands` tells once.
        parts = [value for part in _argument(node, 0, "tensors", ()) if (value := values[part]) is not None]
        layouts = [part.layout for part in parts if part.layout is not None]
        if len(layouts) < len(parts):
            return self.opaque(parts)
        return _Value(np.concatenate(layouts), frozenset().union(*(part.origins for part in parts)))

    def tie(self, operands: list[_Value]) -> _Value:
        """Elementwise on two tensors: channels at the same place become one unit."""
        origins: frozenset[str] = frozenset().union(*(operand.origins for operand in operands))
        layouts = [operand.layout for operand in operands]
        known = [layout for layout in layouts if layout is not None]
        if len(known) < len(layouts) or (len({len(layout) for layout in known}) > 1 and min(map(len, known)) == 1):
            self.fix(operands)
            return _Value(None, origins)
        if len({len(layout) for layout in known}) > 1:
            sizes = " and ".join(str(len(layout)) for layout in known)
            raise KitError(f"{' and '.join(self.latest(o.origins) for o in operands)}: added, but of {sizes} channels")
        for other in known[1:]:
            self.join(known[0], other)
        return _Value(known[0], origins)

    def opaque(self, operands: list[_Value]) -> _Value:
        self.use(operands)
        self.fix(operands)
        return _Value(None)

    def attach(self, name: str, side: str, layout: Layout | None, size: int, origins: Iterable[str]) -> Layout | None:
        if layout is None:
            return None
        if len(layout) != size:
            raise KitError(f"{name}.weight: made for {size} channels, but {self.latest(origins)} gives {len(layout)}")
        if (earlier := self.sides.get((name, side))) is not None:
            self.join(earlier, layout)
        return self.sides.setdefault((name, side), layout)

    def use(self, values: Iterable[_Value]) -> None:
        for value in values:
            self.last.update(value.origins)

    def fix(self, values: Iterable[_Value]) -> None:
        for value in values:
            if value.layout is not None:
                self.fixed.update(value.layout.tolist())

    def join(self, one: Layout, other: Layout) -> None:
        for a, b in zip(one.tolist(), other.tolist(), strict=True):
            a, b = self.root(a), self.root(b)
            self.parents[max(a, b)] = min(a, b)

    def root(self, channel: int) -> int:
        while self.parents[channel] != channel:
            self.parents[channel] = self.parents[self.parents[channel]]
            channel = self.parents[channel]
        return channel

    def latest(self, origins: Iterable[str]) -> str:
        return max(origins, key=self.order.__getitem__, default="the input")

    def groups(self) -> list[Group]:
        roots = {side: [self.root(channel) for channel in layout.tolist()] for side, layout in self.sides.items()}
        fixed = {self.root(channel) for channel in self.fixed}
        places: dict[int, list[tuple[tuple[str, str], int]]] = {}
        for side, channels in roots.items():
            for position, root in enumerate(channels):
                places.setdefault(root, []).append((side, position))
        alike: dict[Any, list[int]] = {}
        for root in sorted(places):
            key = (root in fixed, tuple(side for side, _ in places[root]))
            alike.setdefault(key, []).append(root)
        return [self.group(units, places, key[0]) for key, units in alike.items()]

    def group(self, units: Sequence[int], places: dict[int, list[tuple[tuple[str, str], int]]], fixed: bool) -> Group:
        found: dict[tuple[str, str], tuple[list[int], list[int]]] = {}
        for unit, root in enumerate(units):
            for side, position in places[root]:
                pair = found.setdefault(side, ([], []))
                pair[0].append(unit)
                pair[1].append(position)
        members = tuple(
            Member(module, side, np.array(owners), np.array(channels))
            for (module, side), (owners, channels) in found.items()
        )
        return Group(len(units), members, fixed)


def _argument(node: fx.Node, position: int, name: str, default: Any) -> Any:
    return node.args[position] if len(node.args) > position else node.kwargs.get(name, default)


__all__ = ["CHANNELS", "INPUTS", "NORM", "OUTPUTS", "Graph", "Group", "Member", "trace"]
