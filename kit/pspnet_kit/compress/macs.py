"""Counts multiply-accumulates, parameters and int8 bytes layer by layer, for one input size.

Only what an inference runs is counted: the auxiliary classifier costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerCost:
    """One convolution as it ran."""

    name: str
    inputs: int
    outputs: int
    kernel: tuple[int, int]
    groups: int
    input_area: int
    """Height times width of what it reads, padding included where that is a layer of its own."""
    output_area: int
    between_area: int
    """Height of what it writes times width of what it reads: what comes out where only rows are combined."""
    macs: int
    parameters: int
    """Weights and biases of the convolution; BatchNorm is folded into them."""
    int8_bytes: int
    """A byte for each weight and four for the bias of each output, which BatchNorm leaves behind."""


@dataclass(frozen=True)
class Totals:
    """Sums over the network."""

    macs: int
    parameters: int
    """Those of PyTorch: with BatchNorm's scale and shift, without the auxiliary classifier."""
    int8_bytes: int


def count(model: nn.Module, height: int, width: int) -> list[LayerCost]:
    """What each convolution costs for one picture of `height` x `width`, in the order of their first run."""
    layers: dict[str, LayerCost] = {}

    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            assert isinstance(module, nn.Conv2d)
            before = layers[name].macs if name in layers else 0
            layers[name] = _cost(name, module, inputs[0], output, before)

        return record

    _run(model, height, width, watch, nn.Conv2d)
    return list(layers.values())


def totals(model: nn.Module, height: int, width: int, layers: Iterable[LayerCost] | None = None) -> Totals:
    """Sums for the network; `layers` are those of `count`, if they are known already."""
    ran: set[nn.Module] = set()

    def watch(_: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda module, inputs, output: ran.add(module)

    _run(model, height, width, watch, nn.Module)
    used = {parameter for module in ran for parameter in module.parameters(recurse=False)}
    costs = count(model, height, width) if layers is None else list(layers)
    return Totals(
        macs=sum(layer.macs for layer in costs),
        parameters=sum(parameter.numel() for parameter in used),
        int8_bytes=sum(layer.int8_bytes for layer in costs),
    )


def comparison(before: Totals, after: Totals) -> str:
    """A table of three lines: MACs, parameters and int8 bytes, before, after and what is left in per cent."""
    rows = [
        ("MACs (M)", before.macs / 1e6, after.macs / 1e6),
        ("parameters (k)", before.parameters / 1e3, after.parameters / 1e3),
        ("int8 bytes (k)", before.int8_bytes / 1e3, after.int8_bytes / 1e3),
    ]
    lines = [f"{'':16}{'before':>12}{'after':>12}{'left':>9}"]
    lines += [f"{name:16}{old:12.1f}{new:12.1f}{100 * new / old:8.1f}%" for name, old, new in rows]
    return "\n".join(lines)


def table(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell; the first one to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows)


def _area(x: Tensor) -> int:
    return int(x.shape[-2] * x.shape[-1])


def _cost(name: str, conv: nn.Conv2d, x: Tensor, y: Tensor, before: int) -> LayerCost:
    weights = conv.weight.numel()
    return LayerCost(
        name=name,
        inputs=conv.in_channels,
        outputs=conv.out_channels,
        kernel=(conv.kernel_size[0], conv.kernel_size[1]),
        groups=conv.groups,
        input_area=_area(x),
        output_area=_area(y),
        between_area=int(y.shape[-2] * x.shape[-1]),
        macs=before + weights * _area(y),
        parameters=weights + (conv.out_channels if conv.bias is not None else 0),
        int8_bytes=weights + 4 * conv.out_channels,
    )


def _run(
    model: nn.Module,
    height: int,
    width: int,
    watch: Callable[[str], Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]],
    kind: type[nn.Module],
) -> None:
    """One forward of zeros in eval mode with a hook on every module of `kind`; the model stays as it was."""
    modes = {module: module.training for module in model.modules()}
    hooks = [
        module.register_forward_hook(watch(name)) for name, module in model.named_modules() if isinstance(module, kind)
    ]
    first = next(model.parameters())
    try:
        model.eval()
        with torch.no_grad():
            model(torch.zeros(1, 3, height, width, device=first.device, dtype=first.dtype))
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training


__all__ = ["LayerCost", "Totals", "comparison", "count", "table", "totals"]
