"""Structured channel pruning: cuts the units of a dependency graph until the network costs what it may.

Convolutions get thinner for good; a width is a multiple of eight, which is what XNNPACK's and the Edge TPU's
kernels fill. What is lost is won back by training afterwards.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import KitError
from .dependency import CHANNELS, INPUTS, OUTPUTS, Graph, Group, trace
from .importance import Importance, Scores
from .macs import LayerCost, Totals, count, totals


@dataclass(frozen=True)
class Settings:
    """How to cut."""

    uniform: bool = False
    """The same share of every group, instead of what costs the network least wherever it stands."""
    multiple: int = 8
    """Widths are multiples of it, where the width was at least that before."""
    minimum: int = 8
    keep: float = 0.2
    """Share of a group's units that is never cut: no layer becomes a needle's eye."""
    steps: int = 1
    """In how many rounds the importance is judged anew, with the network already thinner."""
    traffic: float = 0.0
    """MACs that take as long as moving one activation; 0 counts MACs alone. Processors with fast int8 arithmetic wait
    for memory: their early layers cost far more than their MACs say."""
    cost_power: float | None = None
    """Another power of the MACs to divide importance by than the criterion's own; see Importance."""

    def __post_init__(self) -> None:
        if self.multiple < 1 or self.minimum < 1 or self.steps < 1:
            raise KitError("pruning: multiple, minimum and steps must be at least 1")
        if not 0 <= self.keep <= 1:
            raise KitError(f"pruning: the share to keep is {self.keep}, expected 0 to 1")


@dataclass(frozen=True)
class GroupReport:
    """Units of one group before and after."""

    name: str
    makers: tuple[str, ...]
    before: int
    after: int


@dataclass(frozen=True)
class Report:
    """What pruning did. `layers` pairs each convolution's cost before with that after."""

    before: Totals
    after: Totals
    groups: list[GroupReport]
    layers: list[tuple[LayerCost, LayerCost]]


def prune(
    model: nn.Module, size: tuple[int, int], importance: Importance, macs: int, settings: Settings | None = None
) -> tuple[nn.Module, Report]:
    """A thinner copy of `model` that needs at most `macs` for a picture of `size` (height, width).

    With settings.traffic the target is the same share of the whole cost, in which activations count too.

    Raises:
        KitError: when it needs no more than that already, or the settings do not let it become that small.
    """
    settings = settings or Settings()
    thin = copy.deepcopy(model)
    layers_before = count(thin, *size)
    before = totals(thin, *size, layers_before)
    if not 0 < macs < before.macs:
        raise KitError(f"pruning to {macs / 1e6:.1f} M MACs: the network has {before.macs / 1e6:.1f} M, expected less")
    power = importance.cost_power if settings.cost_power is None else settings.cost_power
    first = trace(thin)
    widths = {group.makers: group.size for group in first.groups}
    floors = {group.makers: _floor(group.size, settings) for group in first.groups}
    whole = sum(_cost(layer, layer.inputs, layer.outputs, settings.traffic) for layer in layers_before)
    for step in range(1, settings.steps + 1):
        target = round(whole * (macs / before.macs) ** (step / settings.steps))
        graph = trace(thin)
        plan = _Plan(graph, count(thin, *size), settings, floors)
        keep = plan.reach(importance.measure(thin, graph), target, power)
        cut(thin, graph, keep)
    layers_after = {layer.name: layer for layer in count(thin, *size)}
    kept = {group.makers: group.size for group in trace(thin).groups}
    groups = [
        GroupReport(group.name, group.makers, widths[group.makers], kept[group.makers])
        for group in first.groups
        if not group.fixed
    ]
    after = totals(thin, *size, layers_after.values())
    return thin, Report(before, after, groups, [(layer, layers_after[layer.name]) for layer in layers_before])


def cut(model: nn.Module, graph: Graph, keep: Sequence[Tensor]) -> None:
    """Takes the units that are False in `keep` (a bool `[size]` per group) out of every tensor, in place."""
    modules = dict(model.named_modules())
    masks: dict[tuple[str, str], Tensor] = {}
    for group, kept in zip(graph.groups, keep, strict=True):
        if bool(kept.all()):
            continue
        for member in group.members:
            mask = masks.setdefault(
                (member.module, member.side), torch.ones(_width(modules[member.module], member.side), dtype=torch.bool)
            )
            mask[torch.from_numpy(member.channels)] = kept[torch.from_numpy(member.units)]
    for (name, side), mask in masks.items():
        _cut_module(modules[name], side, mask.nonzero()[:, 0])


def _width(module: nn.Module, side: str) -> int:
    if isinstance(module, nn.BatchNorm2d):
        return module.num_features
    assert isinstance(module, nn.Conv2d)
    return module.in_channels if side == INPUTS else module.out_channels


def _cut_module(module: nn.Module, side: str, kept: Tensor) -> None:
    dimension = 1 if side == INPUTS else 0
    tensors = [*module._parameters.items(), *module._buffers.items()]
    for name, tensor in tensors:
        if tensor is None or tensor.dim() == 0 or (side == INPUTS and name == "bias"):
            continue
        smaller = tensor.detach().index_select(dimension, kept.to(tensor.device)).clone()
        if name in module._parameters:
            setattr(module, name, nn.Parameter(smaller, requires_grad=tensor.requires_grad))
        else:
            setattr(module, name, smaller)
    width = len(kept)
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = width
        return
    assert isinstance(module, nn.Conv2d)
    if side == INPUTS:
        module.in_channels = width
    elif side == OUTPUTS:
        module.out_channels = width
    else:
        module.in_channels = module.out_channels = module.groups = width


def _floor(size: int, settings: Settings) -> int:
    """The fewest units that a group of `size` may keep."""
    share = math.ceil(math.ceil(size * settings.keep) / settings.multiple) * settings.multiple
    return min(size, max(settings.minimum, share, settings.multiple))


def _cost(layer: LayerCost, inputs: int, outputs: int, traffic: float) -> int:
    """MACs of a layer at these widths, and those that its reads and writes are worth."""
    depthwise = layer.groups == layer.inputs == layer.outputs and layer.groups > 1
    share = outputs / layer.outputs if depthwise else inputs * outputs / (layer.inputs * layer.outputs)
    return round(layer.macs * share + traffic * (inputs * layer.input_area + outputs * layer.output_area))


class _Plan:
    """How many units each group keeps, and what the network costs then, before anything is cut."""

    def __init__(
        self, graph: Graph, layers: Iterable[LayerCost], settings: Settings, floors: dict[tuple[str, ...], int]
    ) -> None:
        self.groups, self.settings = graph.groups, settings
        self.floors = [floors[group.makers] for group in graph.groups]
        self.costs = {layer.name: layer for layer in layers}
        self.widths = {(layer.name, INPUTS): layer.inputs for layer in self.costs.values()}
        self.widths |= {(layer.name, OUTPUTS): layer.outputs for layer in self.costs.values()}
        self.kept = [group.size for group in graph.groups]
        self.sides = [self._sides(group) for group in graph.groups]

    def _sides(self, group: Group) -> list[tuple[str, str, int]]:
        """Widths that a unit of the group counts in: layer, side, channels for each unit."""
        sides = []
        for member in group.members:
            if member.module in self.costs:
                both = member.side == CHANNELS
                sides += [
                    (member.module, side, member.per_unit) for side in ((INPUTS, OUTPUTS) if both else (member.side,))
                ]
        return sides

    def cost(self, name: str) -> int:
        return _cost(self.costs[name], self.widths[name, INPUTS], self.widths[name, OUTPUTS], self.settings.traffic)

    def total(self) -> int:
        return sum(self.cost(name) for name in self.costs)

    def resize(self, index: int, width: int) -> int:
        """Gives a group another width; returns the cost that this frees."""
        names = {name for name, _, _ in self.sides[index]}
        before = sum(self.cost(name) for name in names)
        change = width - self.kept[index]
        for name, side, per_unit in self.sides[index]:
            self.widths[name, side] += change * per_unit
        self.kept[index] = width
        return before - sum(self.cost(name) for name in names)

    def next_width(self, index: int) -> int | None:
        """The next smaller multiple, None at the floor."""
        multiple = self.settings.multiple
        width = (self.kept[index] - 1) // multiple * multiple
        return width if width >= self.floors[index] else None

    def reach(self, scores: Scores, target: int, cost_power: float) -> list[Tensor]:
        """Chooses what to keep for a cost of at most `target`: a bool `[size]` per group."""
        free = [
            index
            for index, group in enumerate(self.groups)
            if not group.fixed and scores[index] is not None and self.sides[index]
        ]
        if self.settings.uniform:
            self._uniform(free, target)
        else:
            self._greedy(free, scores, target, cost_power)
        if self.total() > target:
            raise KitError(
                f"pruning to {target / 1e6:.1f} M MACs: with at least {self.settings.keep:.0%} and "
                f"{self.settings.minimum} channels of each layer the least is {self.total() / 1e6:.1f} M"
            )
        keep = []
        for group, score, width in zip(self.groups, scores, self.kept, strict=True):
            mask = torch.ones(group.size, dtype=torch.bool)
            if score is not None and width < group.size:
                mask[score.argsort()[: group.size - width]] = False
            keep.append(mask)
        return keep

    def _greedy(self, free: Sequence[int], scores: Scores, target: int, cost_power: float) -> None:
        """Again and again the step to the next width that loses the least importance for the cost it frees."""
        losses = {}
        for index in free:
            score = scores[index]
            assert score is not None
            losses[index] = np.concatenate([[0.0], score.sort().values.cumsum(0).numpy()])
        total = self.total()
        while total > target:
            best: tuple[float, int, int] | None = None
            for index in free:
                width = self.next_width(index)
                if width is None:
                    continue
                size, kept = self.groups[index].size, self.kept[index]
                freed = self.resize(index, width)
                self.resize(index, kept)
                if freed <= 0:
                    continue
                loss = losses[index][size - width] - losses[index][size - kept]
                ratio = loss / (kept - width) / (freed / (kept - width)) ** cost_power
                if best is None or ratio < best[0]:
                    best = (ratio, index, width)
            if best is None:
                return
            total -= self.resize(best[1], best[2])

    def _uniform(self, free: Sequence[int], target: int) -> None:
        """The largest share that meets the target, found by halving."""
        multiple = self.settings.multiple
        sizes = {index: self.kept[index] for index in free}

        def set_share(share: float) -> int:
            for index, size in sizes.items():
                width = max(self.floors[index], round(size * share / multiple) * multiple)
                self.resize(index, min(size, width))
            return self.total()

        low, high = 0.0, 1.0
        for _ in range(24):
            middle = (low + high) / 2
            low, high = (middle, high) if set_share(middle) <= target else (low, middle)
        set_share(low)


__all__ = ["GroupReport", "Report", "Settings", "cut", "prune"]
