"""Quantisation-aware training: a forward pass that rounds where the int8 file rounds, with gradients straight through.

The network's own parameters are trained, so its checkpoint stays a float network's; the ranges of the activations come
with it. BatchNorm is folded with its running statistics, which therefore stay as they are (Krishnamoorthi 2018, section
3.2: freezing them trains best). Ranges are learned with the weights (Esser et al. 2020) or follow what is seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..errors import KitError
from .graph import fold, trace
from .observers import Method
from .ops import Add, AveragePool, Conv, Node, OpGraph, Resize, activate, compute, convolve
from .ptq import Settings, float_ranges
from .quantised import QuantisedGraph, quantise_graph
from .ranges import HIGH, LOW, PICTURE, Affine, affine, weight_scales
from .simulate import add, average_pool, limits, resize

RangeMode = Literal["learned", "ema", "fixed"]
Ranges = Mapping[str, tuple[float, float]]
MOMENTUM = 0.01
"""Of a batch in the "ema" ranges."""


def prepare_qat(
    model: nn.Module,
    example: Tensor,
    ranges: Ranges | None = None,
    mode: RangeMode = "learned",
    method: Method = "mse",
) -> QatNetwork:
    """A module whose logits are those of the int8 file, dequantised, `[n, classes, h / s, w / s]`.

    `model` is not copied: training the result trains it. Parameters that the logits do not depend on (an auxiliary
    classifier) no longer ask for gradients.

    Args:
        model: a trained float network.
        example: real pictures as the network sees them, `[n, 3, h, w]`; the first ranges come from them.
        ranges: of QatNetwork.ranges(), to go on with; then the example's content does not matter.
        mode: learned with the weights, a moving average of what is seen while training, or as they are.
        method: how the first ranges are chosen (observers.py).

    Raises:
        KitError: where the network cannot be said in TFLite's operators, or `ranges` are another network's.
    """
    graph = trace(model, example[:1])
    if ranges is None:
        ranges = float_ranges(graph, list(torch.split(example.detach().cpu(), 1)), Settings(method))
    return QatNetwork(model, graph, ranges, mode).to(example.device)


def convert(module: QatNetwork, height: int | None = None, width: int | None = None) -> QuantisedGraph:
    """The int8 network that `module` trained for, at its example's size or another."""
    graph = module.graph
    if height and width:
        graph = module.graph_of((height, width))
    nodes: dict[str, Node] = {}
    with torch.no_grad():
        for node in graph:
            if isinstance(node, Conv):
                weight, bias = module.folded(node)
                node = replace(node, weight=weight.detach().cpu().clone(), bias=bias.detach().cpu().clone())
            nodes[node.name] = node
    return quantise_graph(OpGraph(nodes, graph.output), module.ranges())


class QatNetwork(nn.Module):
    """See prepare_qat."""

    low: Tensor
    high: Tensor
    floor: Tensor
    ceiling: Tensor

    def __init__(self, model: nn.Module, graph: OpGraph, ranges: Ranges, mode: RangeMode) -> None:
        super().__init__()
        self.model, self.graph, self.mode = model, graph, mode
        self.sizes: dict[tuple[int, int], OpGraph] = {graph.input.shape[:2]: graph}
        groups = graph.range_groups()
        self.names = sorted(set(groups.values()) - {groups[graph.input.name]})
        if set(ranges) != set(self.names):
            wrong = sorted(set(ranges) ^ set(self.names))
            raise KitError(f"these ranges are of another network: {wrong[0]} ({len(wrong)} tensors differ)")
        ends = torch.tensor([ranges[name] for name in self.names], dtype=torch.float32)
        for name, value in (("low", ends[:, 0].clone()), ("high", ends[:, 1].clone())):
            if mode == "learned":
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)
        limits = torch.tensor([natural_limits(graph, name) for name in self.names])
        self.register_buffer("floor", limits[:, 0].clone(), persistent=False)
        self.register_buffer("ceiling", limits[:, 1].clone(), persistent=False)
        used = {path for node in graph.convolutions for path in (node.module, node.norm) if path}
        for path, parameter in model.named_parameters():
            if path.rpartition(".")[0] not in used:
                parameter.requires_grad_(False)

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Low and high of every group of tensors; what a checkpoint keeps beside the network."""
        low, high = (end.detach().cpu() for end in self.ends())
        return {name: (float(low[i]), float(high[i])) for i, name in enumerate(self.names)}

    def forward(self, x: Tensor) -> Tensor:
        """Float `[n, 3, h, w]`; any size whose features the bins divide."""
        graph = self.graph_of((x.shape[2], x.shape[3]))
        with torch.autocast(x.device.type, enabled=False):
            return self.rounded(graph, x.float())

    def rounded(self, graph: OpGraph, x: Tensor) -> Tensor:
        low, high = self.ends()
        by_group = {
            name: affine(*ends) for name, ends in zip(self.names, torch.stack([low, high], 1).tolist(), strict=True)
        }
        groups = graph.range_groups()
        by_group[groups[graph.input.name]] = PICTURE
        index = {name: i for i, name in enumerate(self.names)}
        seen: dict[str, tuple[Tensor, Tensor]] = {}
        values = {graph.input.name: PICTURE.dequantise(PICTURE.quantise(x))}
        ends_after = graph.last_uses()
        for node in list(graph)[1:]:
            inputs = [values[name] for name in node.inputs]
            steps = by_group[groups[node.name]]
            sources = [by_group[groups[name]] for name in node.inputs]
            if isinstance(node, (Conv, Add)):
                units = self.convolved(node, inputs[0], sources[0], steps) if isinstance(node, Conv) else None
                whole = None
                if isinstance(node, Add):
                    units = (inputs[0] + inputs[1]) / steps.scale
                    whole = whole_sum(node, inputs, sources, steps)
                assert units is not None
                if self.mode == "ema" and self.training:
                    watch(seen, groups[node.name], activate(units.detach() * steps.scale, node.activation))
                i = index[groups[node.name]]
                values[node.name] = Rounded.apply(units, whole, low[i], high[i], steps, limits(steps, node.activation))
            else:
                values[node.name] = requantised(node, inputs, steps)
            for name in ends_after.get(node.name, []):
                del values[name]
        self.follow(seen)
        return values[graph.output]

    def convolved(self, node: Conv, x: Tensor, source: Affine, out: Affine) -> Tensor:
        """The sums in steps of the output, before they are rounded.

        Whole numbers are convolved, so float32 (and TF32) hold every sum below 2^24 exactly. Anything less would end in
        other roundings than the file's, and these add up from layer to layer.
        """
        weight, bias = self.folded(node)
        scales = weight_scales(weight, bias, source.scale)
        steps = to_steps(weight, scales[:, None, None, None])
        totals = to_steps(bias.double(), scales.double() * source.scale).float()
        sums = convolve(node, to_steps(x, source.scale), steps, totals)
        # Divides by a tensor: by a plain number, GPUs multiply with its rounded reciprocal.
        return sums * (scales * source.scale / scales.new_tensor(out.scale))[None, :, None, None]

    def folded(self, node: Conv) -> tuple[Tensor, Tensor]:
        conv = self.model.get_submodule(node.module)
        assert isinstance(conv, nn.Conv2d)
        bias = conv.bias if conv.bias is not None else conv.weight.new_zeros(conv.out_channels)
        if node.norm is None:
            return conv.weight, bias
        norm = self.model.get_submodule(node.norm)
        assert isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm))
        return fold(conv.weight, bias, norm)

    def ends(self) -> tuple[Tensor, Tensor]:
        """Low and high of all groups, with zero between them and no further than the activations reach."""
        with torch.no_grad():
            low = torch.minimum(torch.maximum(self.low, self.floor), torch.zeros_like(self.low))
            high = torch.maximum(torch.minimum(self.high, self.ceiling), torch.zeros_like(self.high))
            if self.training:
                self.low.copy_(low)
                self.high.copy_(high)
        # Straight through: at its limit an end must still learn to move back.
        return straight(self.low, low), straight(self.high, high)

    def follow(self, seen: dict[str, tuple[Tensor, Tensor]]) -> None:
        """Moves the "ema" ranges towards this batch's."""
        for i, name in enumerate(self.names):
            if name in seen:
                self.low[i].lerp_(seen[name][0], MOMENTUM)
                self.high[i].lerp_(seen[name][1], MOMENTUM)

    def graph_of(self, size: tuple[int, int]) -> OpGraph:
        """The graph at another height and width: strides, pads and pools depend on it."""
        if size not in self.sizes:
            device = next(self.model.parameters()).device
            channels = self.graph.input.shape[2]
            graph = trace(self.model, torch.zeros(1, channels, *size, device=device))
            groups = graph.range_groups()
            if set(groups.values()) - {groups[graph.input.name]} != set(self.names):
                raise KitError(
                    f"an input of {size[0]}x{size[1]} gives other operators than {self.graph.input.shape[:2]}"
                )
            self.sizes[size] = graph
        return self.sizes[size]


class Rounded(torch.autograd.Function):
    """Values that int8 holds, of values in `units` of a step.

    Gradients: to what is inside the limits unchanged; to the range's ends as if steps were continuous, scaled by
    1 / sqrt(values * 127) (Esser et al. 2020, section 2.2).
    """

    @staticmethod
    def forward(
        ctx: Any, units: Tensor, whole: Tensor | None, low: Tensor, high: Tensor, steps: Affine, limits: tuple[int, int]
    ) -> Tensor:
        bounds = limits[0] - steps.zero_point, limits[1] - steps.zero_point
        ctx.save_for_backward(units)
        ctx.steps, ctx.limits, ctx.bounds = steps, limits, bounds
        ctx.learns = low.requires_grad or high.requires_grad
        rounded = torch.round(units).clamp_(*bounds) if whole is None else (whole - steps.zero_point).float()
        return rounded.mul_(steps.scale)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (units,) = ctx.saved_tensors
        gradient, scale = gradients[0], ctx.steps.scale
        below, above = units < ctx.bounds[0] - 0.5, units > ctx.bounds[1] + 0.5
        inside = gradient.masked_fill(below | above, 0.0)
        to_low = to_high = None
        if ctx.learns:
            of_scale = (inside * (torch.round(units) - units)).sum() / (HIGH - LOW)
            size = (units.numel() * HIGH) ** -0.5
            to_low, to_high = -of_scale * size, of_scale * size
            # An end that the activation sets, not the range, learns nothing from what it cuts.
            if ctx.limits[0] == LOW:
                to_low = to_low + gradient.masked_fill(~below, 0.0).sum() * size
            if ctx.limits[1] == HIGH:
                to_high = to_high + gradient.masked_fill(~above, 0.0).sum() * size
        return inside * scale, None, to_low, to_high, None, None


def whole_sum(node: Add, inputs: list[Tensor], sources: list[Affine], steps: Affine) -> Tensor:
    with torch.no_grad():
        a, b = (source.quantise(x).int() for source, x in zip(sources, inputs, strict=True))
        return add(a, b, sources[0], sources[1], steps, node.activation)


def requantised(node: Node, inputs: list[Tensor], steps: Affine) -> Tensor:
    """Operators that keep the scale: the file's own arithmetic forwards, the float operator's gradient backwards."""
    smooth = compute(node, inputs)
    if not isinstance(node, (AveragePool, Resize)):
        return smooth
    with torch.no_grad():
        whole = steps.quantise(inputs[0]).int()
        result = average_pool(whole, node.kernel) if isinstance(node, AveragePool) else resize(whole, node.shape[:2])
    return straight(smooth, steps.dequantise(result.float()))


def to_steps(x: Tensor, scale: Tensor | float) -> Tensor:
    """To the nearest whole number of steps, with the gradient of the division."""
    units = x / scale
    return straight(units, torch.round(units))


def straight(smooth: Tensor, value: Tensor) -> Tensor:
    """`value` with the gradient of `smooth`."""
    result: Tensor = Straight.apply(smooth, value)
    return result


class Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, smooth: Tensor, value: Tensor) -> Tensor:
        return value.detach().clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def watch(seen: dict[str, tuple[Tensor, Tensor]], group: str, x: Tensor) -> None:
    low, high = x.detach().amin(), x.detach().amax()
    if group in seen:
        low, high = torch.minimum(low, seen[group][0]), torch.maximum(high, seen[group][1])
    seen[group] = (low, high)


def natural_limits(graph: OpGraph, group: str) -> tuple[float, float]:
    """What no tensor of a group leaves, by its activations."""
    groups = graph.range_groups()
    kinds = {
        getattr(node, "activation", "none")
        for node in graph
        if groups[node.name] == group and isinstance(node, (Conv, Add))
    }
    low = float("-inf") if "none" in kinds else 0.0
    return low, 6.0 if kinds == {"relu6"} else float("inf")
