"""How much a network would lose with each unit of a dependency graph: from its weights, or from gradients on data.

Every criterion gives one float64 tensor `[size]` per group, None for groups that it cannot judge (no BatchNorm, no
gradient). Higher is kept longer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import KitError
from .dependency import INPUTS, Graph, Group

Scores = list["Tensor | None"]
Batches = Iterable["tuple[Tensor, Tensor]"]
"""Images `[n, 3, h, w]` as the network takes them and whatever labels the loss takes; run through more than once."""
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits at the network's stride, labels) to a scalar."""


@dataclass(frozen=True)
class Importance:
    """A criterion."""

    measure: Callable[[nn.Module, Graph], Scores]
    cost_power: float
    """The power of the MACs that a unit frees, by which its importance is divided.

    1 would spend an exact loss where it buys the most MACs. First-order losses are too small for what many others
    depend on, and importance relative to its group does not know them at all: with 1 both gut the narrow residual
    streams and the first layers. A quarter lost least on a trained EfficientNet-Lite0.
    """


def scale() -> Importance:
    """BatchNorm's |gamma| (Liu et al. 2017, Network Slimming), mean over a group's layers, relative to its group."""

    def measure(model: nn.Module, graph: Graph) -> Scores:
        modules = dict(model.named_modules())

        def judge(group: Group) -> Tensor | None:
            gammas = []
            for name in group.makers:
                if name in graph.norms:
                    norm = modules[graph.norms[name]]
                    assert isinstance(norm, nn.BatchNorm2d)
                    gammas.append(_by_unit(group, name, norm.weight.detach().double().abs().cpu()))
            return _relative(torch.stack(gammas).mean(0)) if gammas else None

        return [judge(group) for group in graph.groups]

    return Importance(measure, cost_power=0.25)


def magnitude(power: int) -> Importance:
    """L1 (power 1) or L2 (power 2) norm of the weights that make a unit (Li et al. 2017), relative to its group."""

    def measure(model: nn.Module, graph: Graph) -> Scores:
        modules = dict(model.named_modules())

        def judge(group: Group) -> Tensor | None:
            norms = []
            for name in group.makers:
                if isinstance(conv := modules[name], nn.Conv2d):
                    weights = conv.weight.detach().double().abs().pow(power).flatten(1).sum(1)
                    norms.append(_by_unit(group, name, weights.cpu()))
            return _relative(torch.stack(norms).sum(0).pow(1 / power)) if norms else None

        return [judge(group) for group in graph.groups]

    return Importance(measure, cost_power=0.25)


def taylor(batches: Batches, loss: Loss, activations: bool = True) -> Importance:
    """First-order change of the loss when a unit becomes zero (Molchanov et al. 2019), absolute, averaged over batches.

    With `activations` a gate behind each BatchNorm is judged: the sum of g * a over a channel is gamma * dL/dgamma +
    beta * dL/dbeta. Without, and where there is no BatchNorm, it is the sum of g * w over the weights that make the
    channel. Layers that end in the same unit add up before the absolute value. The network runs as in
    inference: under BatchNorm in training mode the sum of g * w is zero whatever the channel is worth.
    """

    def measure(model: nn.Module, graph: Graph) -> Scores:
        modules = dict(model.named_modules())
        scores: Scores = [None] * len(graph.groups)
        seen = 0
        for _ in _gradients(model, batches, loss):
            seen += 1
            for index, group in enumerate(graph.groups):
                judged = [name for name in group.makers if name in graph.last]
                changes = [
                    _by_unit(group, name, change)
                    for name in judged
                    if (change := _first_order(name, modules, graph, activations)) is not None
                ]
                if changes:
                    change = torch.stack(changes).sum(0).abs()
                    earlier = scores[index]
                    scores[index] = change if earlier is None else earlier + change
        if not seen:
            raise KitError("Taylor importance: the data set gave no batch, expected at least one")
        return [None if score is None else score / seen for score in scores]

    return Importance(measure, cost_power=0.25)


def _gradients(model: nn.Module, batches: Batches, loss: Loss) -> Iterable[None]:
    """Yields after each batch, with its gradients alone in the parameters; leaves modes and gradients as they were."""
    modes = {module: module.training for module in model.modules()}
    device = next(model.parameters()).device
    model.eval()
    try:
        for images, labels in batches:
            model.zero_grad(set_to_none=True)
            value = loss(model(images.to(device)), labels.to(device))
            if not torch.isfinite(value):
                raise KitError(f"Taylor importance: the loss is {value.item()}, expected a finite number")
            value.backward()
            yield
    finally:
        model.zero_grad(set_to_none=True)
        for module, training in modes.items():
            module.training = training


def _first_order(name: str, modules: dict[str, nn.Module], graph: Graph, activations: bool) -> Tensor | None:
    """Per output channel of a convolution; None where no gradient came by."""
    if activations and name in graph.norms:
        norm = modules[graph.norms[name]]
        assert isinstance(norm, nn.BatchNorm2d)
        return _sum(_product(norm.weight), _product(norm.bias))
    conv = modules[name]
    assert isinstance(conv, nn.Conv2d)
    weights = _product(conv.weight)
    biases = None if conv.bias is None else _product(conv.bias)
    return _sum(None if weights is None else weights.flatten(1).sum(1), biases)


def _product(parameter: Tensor) -> Tensor | None:
    return None if parameter.grad is None else (parameter.detach() * parameter.grad).double().cpu()


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one if other is None else other if one is None else one + other


def _by_unit(group: Group, module: str, values: Tensor) -> Tensor:
    """Values of a module's output channels, summed over the channels of each unit: `[size]`."""
    result = torch.zeros(group.size, dtype=torch.float64)
    for member in group.members:
        if member.module == module and member.side != INPUTS:
            result.index_add_(0, torch.from_numpy(member.units), values[torch.from_numpy(member.channels)])
    return result


def _relative(values: Tensor) -> Tensor:
    """Weights tell nothing about one layer against another: each group's mean is made 1."""
    mean = values.mean()
    return values / mean if mean > 0 else torch.zeros_like(values)


__all__ = ["Batches", "Importance", "Loss", "magnitude", "scale", "taylor"]
