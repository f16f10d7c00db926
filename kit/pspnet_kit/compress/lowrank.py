"""Splits convolutions into chains of smaller ones of low rank, from their weights alone.

A k x k convolution becomes 1x1, k x k, 1x1 by a Tucker-2 decomposition of its channels (Kim et al. 2016), or 1x1, k x 1
and 1 x k depthwise, 1x1 by a CP decomposition (cp.py); a 1x1 becomes two by its singular values. Nothing stands between
the factors; BatchNorm stays behind the last.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import KitError
from ..model.surgery import COLUMN, CORE, EXPAND, PARTS, REDUCE, ROW, replace, split, split_apart
from .cp import Terms, parafac
from .dependency import trace
from .macs import LayerCost, Totals, count, totals

SWEEPS = 20
Method = Literal["tucker", "cp"]


@dataclass(frozen=True)
class Rule:
    """Which ranks to take. Exactly one of the three shares is given."""

    energy: float | None = None
    """The cheapest ranks that keep this share of the squared weights."""
    ratio: float | None = None
    """Ranks as this share of the channels."""
    saving: float | None = None
    """The ranks that keep most of the squared weights and save at least this share of the layer's MACs."""
    multiple: int = 8
    """Ranks are multiples of it, or full."""
    minimum_saving: float = 0.1
    """A layer that would not save this share of its MACs stays whole: each factor is another pass over memory."""
    smallest: float = 0.01
    """A layer with less than this share of the network's MACs stays whole."""
    method: Method = "tucker"
    """Of what is larger than 1x1."""
    seed: int = 0
    """Of the CP decomposition's starts."""

    def __post_init__(self) -> None:
        shares = [share for share in (self.energy, self.ratio, self.saving) if share is not None]
        if len(shares) != 1 or not 0 < shares[0] <= 1:
            raise KitError("low rank: expected one of energy, ratio and saving, above 0 and at most 1")
        if self.multiple < 1 or not 0 <= self.minimum_saving < 1 or not 0 <= self.smallest <= 1:
            raise KitError("low rank: expected a multiple of at least 1, a minimum saving below 1 and a share up to 1")
        if self.method not in get_args(Method):
            raise KitError(f"low rank: method {self.method!r}: expected {' or '.join(get_args(Method))}")


@dataclass(frozen=True)
class Split:
    """One convolution that was split."""

    name: str
    channels: tuple[int, int]
    """Inputs, outputs."""
    kernel: tuple[int, int]
    ranks: tuple[int, int]
    """Channels behind the first and before the last factor; as many as `channels` where that factor is left out."""
    macs_before: int
    macs_after: int
    error: float
    """Norm of the difference of the weights, over the norm of the weights."""
    method: str
    """`svd`, `tucker` or `cp`; the last has one rank, told twice."""


@dataclass(frozen=True)
class Report:
    """What factorising did."""

    before: Totals
    after: Totals
    splits: list[Split]


@dataclass(frozen=True)
class _Choice:
    reduce: int
    expand: int
    macs: int
    energy: float
    terms: Terms | None = None
    """Of a CP decomposition that was made to know its energy."""


def factorise(
    model: nn.Module, size: tuple[int, int], rule: Rule, only: Sequence[str] = ("*",)
) -> tuple[nn.Module, Report]:
    """A copy of `model` whose convolutions with names like one of `only` are split where that saves MACs.

    Depthwise and grouped convolutions, what an inference does not run, and factors of an earlier split stay.

    Raises:
        KitError: when no convolution has one of the names, none is worth splitting, or one can't be decomposed.
    """
    result = copy.deepcopy(model)
    modules = dict(result.named_modules())
    layers = count(result, *size)
    before = totals(result, *size, layers)
    named = [layer for layer in layers if any(fnmatch(layer.name, pattern) for pattern in only)]
    if not named:
        raise KitError(f"low rank: no convolution is called {' or '.join(only)}")
    splits = []
    for layer in named:
        conv = modules[layer.name]
        assert isinstance(conv, nn.Conv2d)
        if layer.groups > 1 or layer.name.rpartition(".")[2] in PARTS:
            continue
        if layer.macs < rule.smallest * before.macs:
            continue
        try:
            found = _split(conv, layer, rule)
        except torch.linalg.LinAlgError as error:
            raise KitError(f"low rank: the weights of {layer.name} can't be decomposed: {error}") from error
        if found is not None:
            chain, done = found
            replace(result, layer.name, chain)
            splits.append(done)
    if not splits:
        raise KitError("low rank: under this rule no convolution saves enough MACs to be worth splitting")
    trace(result)
    return result, Report(before, totals(result, *size), splits)


def _split(conv: nn.Conv2d, layer: LayerCost, rule: Rule) -> tuple[nn.Module, Split] | None:
    """The chain for a convolution that the rule splits."""
    apart = rule.method == "cp" and layer.kernel != (1, 1)
    choice = _choose_terms(conv, layer, rule) if apart else _choose(conv, layer, rule)
    if choice is None or choice.macs >= layer.macs or choice.macs > layer.macs * (1 - rule.minimum_saving):
        return None
    if apart:
        chain, error = decompose_apart(conv, choice.reduce, rule.seed, choice.terms)
    else:
        chain, error = decompose(conv, choice.reduce, choice.expand)
    done = Split(
        layer.name,
        (layer.inputs, layer.outputs),
        layer.kernel,
        (choice.reduce, choice.expand),
        layer.macs,
        choice.macs,
        error,
        "cp" if apart else "tucker" if layer.kernel != (1, 1) else "svd",
    )
    return chain, done


def decompose(conv: nn.Conv2d, reduce: int, expand: int) -> tuple[nn.Module, float]:
    """The chain for `conv` and the relative error of its weights.

    For a 1x1 convolution both ranks must be the same. A factor of full rank would be a mere change of basis: it is left
    out, so that two full ranks give back the convolution itself.
    """
    weight = conv.weight.detach().double()
    outputs, inputs = weight.shape[:2]
    if weight[0, 0].numel() == 1:
        if reduce != expand:
            raise ValueError(f"a 1x1 convolution has one rank, not {reduce} and {expand}")
        first, second = svd(weight[:, :, 0, 0], reduce)
        parts = {REDUCE: first[:, :, None, None], EXPAND: second[:, :, None, None]}
        chain = split(conv, reduce, False, expand)
        built = (second @ first)[:, :, None, None]
    else:
        if (reduce, expand) == (inputs, outputs):
            return conv, 0.0
        left, core, right = tucker(weight, reduce, expand)
        parts = {CORE: core}
        if reduce < inputs:
            parts[REDUCE] = left.T[:, :, None, None]
        else:
            parts[CORE] = torch.einsum("oihw,ci->ochw", parts[CORE], left)
        if expand < outputs:
            parts[EXPAND] = right[:, :, None, None]
        else:
            parts[CORE] = torch.einsum("oihw,co->cihw", parts[CORE], right)
        chain = split(conv, reduce if reduce < inputs else None, True, expand if expand < outputs else None)
        built = torch.einsum("oihw,ci,do->dchw", core, left, right)
    _fill(chain, parts, conv)
    norm = float(weight.norm())
    return chain, float((built - weight).norm()) / norm if norm else 0.0


def decompose_apart(conv: nn.Conv2d, rank: int, seed: int = 0, terms: Terms | None = None) -> tuple[nn.Module, float]:
    """The chain of CP's factors for `conv`, of `terms` where they are known, and its relative error."""
    found = terms or parafac(conv.weight, rank, seed)
    chain = split_apart(conv, rank)
    _fill(chain, dict(zip((REDUCE, COLUMN, ROW, EXPAND), found.parts(), strict=True)), conv)
    return chain, found.error


def _fill(chain: nn.Sequential, parts: dict[str, Tensor], conv: nn.Conv2d) -> None:
    """Gives the chain its weights, and the bias that `conv` has."""
    with torch.no_grad():
        for name, value in parts.items():
            chain.get_submodule(name).weight.copy_(value)
        if conv.bias is not None:
            last = chain[-1]
            assert isinstance(last, nn.Conv2d) and last.bias is not None
            last.bias.copy_(conv.bias)


def svd(matrix: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """The best `first` `[rank, inputs]` and `second` `[outputs, rank]` with second @ first near `matrix`.

    The singular values are shared out evenly, which keeps both factors in the range that int8 likes.
    """
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    root = s[:rank].sqrt()
    return root[:, None] * v[:rank], u[:, :rank] * root


def tucker(weight: Tensor, reduce: int, expand: int, sweeps: int = SWEEPS) -> tuple[Tensor, Tensor, Tensor]:
    """Tucker-2 of `[outputs, inputs, kh, kw]` over its channels: HOSVD, then HOOI sweeps (De Lathauwer et al. 2000).

    Returns `[inputs, reduce]` and `[outputs, expand]` with orthonormal columns around the core
    `[expand, reduce, kh, kw]`, as (inputs' basis, core, outputs' basis).
    """
    left, right = _basis(weight, 1)[0][:, :reduce], _basis(weight, 0)[0][:, :expand]
    kept = -1.0
    for _ in range(sweeps):
        left = _basis(torch.einsum("oihw,or->rihw", weight, right), 1)[0][:, :reduce]
        half = torch.einsum("oihw,ir->orhw", weight, left)
        right, energies = _basis(half, 0)
        right, energy = right[:, :expand], float(energies[:expand].sum())
        if energy - kept <= 1e-7 * energy:
            break
        kept = energy
    core = torch.einsum("oihw,ir,oq->qrhw", weight, left, right)
    return left, core, right


def _basis(weight: Tensor, mode: int) -> tuple[Tensor, Tensor]:
    """Left singular vectors of an unfolding along `mode`, and its squared singular values, largest first."""
    unfolded = weight.transpose(0, mode).flatten(1)
    values, vectors = torch.linalg.eigh(unfolded @ unfolded.T)
    return vectors.flip(1), values.flip(0).clamp(min=0)


def _choose(conv: nn.Conv2d, layer: LayerCost, rule: Rule) -> _Choice | None:
    """By the rule, among ranks that are multiples or full."""
    choices = _choices(conv, layer, rule.multiple)
    if rule.ratio is not None:
        inputs, outputs = (_share(side, rule) for side in (layer.inputs, layer.outputs))
        if layer.kernel == (1, 1):
            inputs = outputs = min(inputs, outputs)
        return next((c for c in choices if (c.reduce, c.expand) == (inputs, outputs)), None)
    if rule.energy is not None:
        enough = [choice for choice in choices if choice.energy >= rule.energy - 1e-12]
        return min(enough, key=lambda choice: (choice.macs, -choice.energy), default=None)
    assert rule.saving is not None
    cheap = [choice for choice in choices if choice.macs <= layer.macs * (1 - rule.saving)]
    return max(cheap, key=lambda choice: (choice.energy, -choice.macs), default=None)


def _choose_terms(conv: nn.Conv2d, layer: LayerCost, rule: Rule) -> _Choice | None:
    """The rank of a CP decomposition by the rule; None where none saves enough.

    What a rank keeps is only known once the decomposition is made, so `energy` looks for the smallest rank by halving.
    """
    high, wide = layer.kernel

    def choice(rank: int, terms: Terms | None = None) -> _Choice:
        ends = layer.inputs * layer.input_area + layer.outputs * layer.output_area
        macs = rank * (ends + high * layer.between_area + wide * layer.output_area)
        return _Choice(rank, rank, macs, 1 - terms.error**2 if terms else 0.0, terms)

    saving = rule.saving if rule.saving is not None else rule.minimum_saving
    most = int(layer.macs * (1 - saving) // choice(1).macs) // rule.multiple
    if rule.ratio is not None:
        return choice(max(1, round(max(layer.inputs, layer.outputs) * rule.ratio / rule.multiple)) * rule.multiple)
    if rule.saving is not None:
        return choice(most * rule.multiple) if most else None
    assert rule.energy is not None
    low, found = 1, None
    while low <= most:
        middle = (low + most) // 2
        terms = parafac(conv.weight, middle * rule.multiple, rule.seed)
        if 1 - terms.error**2 >= rule.energy - 1e-12:
            found, most = choice(middle * rule.multiple, terms), middle - 1
        else:
            low = middle + 1
    return found


def _share(channels: int, rule: Rule) -> int:
    assert rule.ratio is not None
    return min(channels, max(1, round(channels * rule.ratio / rule.multiple)) * rule.multiple)


def _ranks(channels: int, multiple: int) -> list[int]:
    return [*range(multiple, channels, multiple), channels]


def _choices(conv: nn.Conv2d, layer: LayerCost, multiple: int) -> list[_Choice]:
    """Ranks with their cost and the share of the squared weights that they keep (before HOOI, for k x k)."""
    weight = conv.weight.detach().double()
    if layer.kernel == (1, 1):
        squares = torch.linalg.svdvals(weight[:, :, 0, 0]) ** 2
        kept = (squares.cumsum(0) / squares.sum().clamp(min=1e-300)).tolist()
        per_rank = (layer.inputs + layer.outputs) * layer.output_area
        # Strides are the first factor's, so both run at the size of the output.
        return [
            _Choice(rank, rank, rank * per_rank, kept[rank - 1])
            for rank in _ranks(min(layer.inputs, layer.outputs), multiple)
        ]
    left, right = _basis(weight, 1)[0], _basis(weight, 0)[0]
    core = torch.einsum("oihw,ir,oq->qrhw", weight, left, right).pow(2).sum((2, 3))
    kept_table = (core.cumsum(0).cumsum(1) / core.sum().clamp(min=1e-300)).tolist()
    window = layer.kernel[0] * layer.kernel[1]
    choices = []
    for reduce in _ranks(layer.inputs, multiple):
        entry = layer.inputs * reduce * layer.input_area if reduce < layer.inputs else 0
        for expand in _ranks(layer.outputs, multiple):
            end = expand * layer.outputs * layer.output_area if expand < layer.outputs else 0
            macs = entry + reduce * expand * window * layer.output_area + end
            choices.append(_Choice(reduce, expand, macs, kept_table[expand - 1][reduce - 1]))
    return choices


__all__ = ["Method", "Report", "Rule", "Split", "decompose", "decompose_apart", "factorise", "svd", "tucker"]
