"""Non-uniform quantisation of weights: those of a convolution take at most 2^bits values, found by k-means.

Han et al. 2016 (Deep Compression). With pictures, squared errors count by how much the weights' inputs vary, each
weight makes up for those before it (quant/rounding.py), and biases take back the shift of the outputs' mean.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Any, Literal, cast, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import KitError
from ..quant.graph import trace
from ..quant.ops import Conv, activate, compute, convolve
from ..quant.rounding import covariance, rounded_in_turn
from .kmeans import Numbers, huffman_bits, kmeans

Scope = Literal["layer", "channel"]
FLOAT_BYTES = 4
"""Of a value in a layer's codebook. A channel's are int8: its scale is in the int8 file anyway."""


@dataclass(frozen=True)
class Settings:
    """What the weights are allowed to be."""

    bits: int
    scope: Scope = "layer"
    """Whether a convolution has one codebook, or one for each output channel. A depthwise one never has a common one:
    its channels are filters of their own, each with a scale of its own."""

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 7:
            raise KitError(f"codebook: {self.bits} bits: expected 1 to 7; with 8 it is what int8 has anyway")
        if self.scope not in get_args(Scope):
            raise KitError(f"codebook: scope {self.scope!r}: expected {' or '.join(get_args(Scope))}")

    @property
    def values(self) -> int:
        """Of a codebook, at most."""
        return 1 << self.bits

    def books(self, node: Conv) -> int:
        """How many codebooks the convolution has."""
        return 1 if self.scope == "layer" and not node.depthwise else node.weight.shape[0]

    def book_bytes(self, node: Conv) -> int:
        """Of all its codebooks."""
        books = self.books(node)
        return self.values * books * (FLOAT_BYTES if books < node.weight.shape[0] else 1)

    def total_bytes(self, node: Conv) -> int:
        """Of indices and codebooks."""
        return -(-node.weight.numel() * self.bits // 8) + self.book_bytes(node)


@dataclass(frozen=True)
class Layer:
    """One convolution that got codebooks."""

    name: str
    weights: int
    """As many bytes in plain int8."""
    bytes: int
    """Of indices and codebooks."""
    huffman_bytes: int
    """The same with Huffman-coded indices, without the table of their lengths."""
    error: float
    """Norm of the difference of the weights, over the norm of the weights."""


@dataclass(frozen=True)
class Report:
    """What was done."""

    layers: list[Layer]
    left: int
    """Weights of convolutions that stay plain: codebooks would save nothing there, or they were not named."""


def codebook(
    model: nn.Module,
    size: tuple[int, int],
    settings: Settings,
    inputs: Tensor | None = None,
    only: Sequence[str] = ("*",),
) -> tuple[nn.Module, Report]:
    """A copy of `model` in which the convolutions that an inference runs, and whose names are like one of `only`, take
    few values.

    Args:
        model: on the CPU.
        size: height and width of its input.
        settings: how few.
        inputs: pictures, float `[n, 3, h, w]`, all of which are in memory at once; None: weights alone are looked at.
        only: name patterns.

    Raises:
        KitError: when no convolution has one of the names, or codebooks save nothing in any.
    """
    result = copy.deepcopy(model).eval()
    graph = trace(result, torch.zeros(1, 3, *size))
    named = [node for node in graph.convolutions if any(fnmatch(node.module, pattern) for pattern in only)]
    if not named:
        raise KitError(f"codebook: no convolution is called {' or '.join(only)}")
    coded = {node.name for node in named if settings.total_bytes(node) < node.weight.numel()}
    if not coded:
        raise KitError(
            f"codebook: {settings.bits} bits by {settings.scope}: indices and codebooks take no less than int8 weights"
        )
    layers: list[Layer] = []
    with torch.no_grad():
        if inputs is None:
            layers += [_code(result, node, settings, None)[0] for node in graph.convolutions if node.name in coded]
            return result, _report(graph.convolutions, layers)
        exact, ours = {graph.input.name: inputs}, {graph.input.name: inputs}
        ends = graph.last_uses()
        for node in list(graph)[1:]:
            meant, seen = ([values[name] for name in node.inputs] for values in (exact, ours))
            if isinstance(node, Conv):
                weight = node.weight
                if node.name in coded:
                    layer, weight = _code(result, node, settings, seen[0])
                    layers.append(layer)
                aim = convolve(node, meant[0], node.weight, node.bias)
                got = convolve(node, seen[0], weight, node.bias)
                got = got + _correct(result, node, (aim - got).mean((0, 2, 3)))[None, :, None, None]
                exact[node.name], ours[node.name] = activate(aim, node.activation), activate(got, node.activation)
            else:
                exact[node.name], ours[node.name] = compute(node, meant), compute(node, seen)
            for name in ends.get(node.name, []):
                del exact[name], ours[name]
    return result, _report(graph.convolutions, layers)


def coded_layers(history: Sequence[dict[str, Any]]) -> frozenset[str]:
    """Paths of the convolutions that have codebooks, by a checkpoint's history: none after any other step."""
    last = history[-1] if history else {}
    return frozenset(layer["name"] for layer in last["layers"]) if last.get("command") == "codebook" else frozenset()


def _report(convolutions: Sequence[Conv], layers: list[Layer]) -> Report:
    every = sum(node.weight.numel() for node in convolutions)
    return Report(layers, every - sum(layer.weights for layer in layers))


def _code(model: nn.Module, node: Conv, settings: Settings, seen: Tensor | None) -> tuple[Layer, Tensor]:
    """Gives the convolution its values; returns them with BatchNorm folded in, as `node` has its weights."""
    conv = cast(nn.Conv2d, model.get_submodule(node.module))
    rows = conv.weight.detach().double().flatten(1)
    factor = _factor(model, node)
    spread = covariance(node, seen) if seen is not None else None
    importance = torch.ones_like(rows)
    if spread is not None and bool(spread.any()):
        varied = spread.diagonal(dim1=-2, dim2=-1).expand_as(rows)
        # Inputs that never vary still have weights, and a place for them is taken where that costs nothing.
        importance = varied.clamp_min(1e-9 * float(varied.max())) * factor[:, None] ** 2
        importance = importance.clamp_min(1e-30)
    groups = settings.books(node)
    values, weights = (matrix.reshape(groups, -1).numpy() for matrix in (rows, importance))
    books = _Books([kmeans(*pair, settings.values) for pair in zip(values, weights, strict=True)])
    if spread is None:
        chosen = books.nearest(rows)
    else:
        chosen = rounded_in_turn(
            conv.weight.detach().double(), lambda column: books.nearest(column[:, None])[:, 0], spread
        )
    indices = books.indices(chosen.flatten(1))
    conv.weight.copy_(chosen.view_as(conv.weight))
    coded = sum(huffman_bits(np.bincount(row)) for row in indices.numpy().reshape(groups, -1))
    norm = float(rows.norm())
    layer = Layer(
        node.module,
        rows.numel(),
        settings.total_bytes(node),
        -(-coded // 8) + settings.book_bytes(node),
        float((chosen.flatten(1) - rows).norm()) / norm if norm else 0.0,
    )
    return layer, conv.weight.detach() * factor[:, None, None, None].to(conv.weight.dtype)


class _Books:
    """The codebooks of a convolution: one for every output, or one alone that serves all."""

    def __init__(self, books: Sequence[Numbers]) -> None:
        width = max(map(len, books))
        self.table = torch.from_numpy(np.stack([np.pad(book, (0, width - len(book)), mode="edge") for book in books]))
        """Each filled up with its last value."""
        self.middles = ((self.table[:, 1:] + self.table[:, :-1]) / 2).contiguous()

    def indices(self, rows: Tensor) -> Tensor:
        """Of the nearest value for every number of `[outputs, n]`."""
        if len(self.table) == 1:
            return torch.searchsorted(self.middles[0], rows.contiguous())
        return torch.searchsorted(self.middles, rows.contiguous())

    def nearest(self, rows: Tensor) -> Tensor:
        """The nearest value for every number of `[outputs, n]`."""
        return self.table.expand(len(rows), -1).gather(1, self.indices(rows))


def _factor(model: nn.Module, node: Conv) -> Tensor:
    """What folding BatchNorm multiplies each output's weights by, float64 `[outputs]`."""
    if node.norm is None:
        return torch.ones(node.weight.shape[0], dtype=torch.float64)
    norm = cast(nn.BatchNorm2d, model.get_submodule(node.norm))
    assert norm.running_var is not None
    scale = torch.rsqrt(norm.running_var + norm.eps)
    return (scale * norm.weight if norm.affine else scale).detach().double()


def _correct(model: nn.Module, node: Conv, shift: Tensor) -> Tensor:
    """Moves the bias behind the convolution by `shift` `[outputs]`; returns by how much: 0 where there is none."""
    bias = cast("Tensor | None", model.get_submodule(node.norm or node.module).bias)
    if bias is None:
        return torch.zeros_like(shift)
    bias.add_(shift)
    return shift


__all__ = ["Layer", "Report", "Scope", "Settings", "codebook", "coded_layers"]
