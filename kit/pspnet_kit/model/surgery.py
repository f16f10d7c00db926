"""Changes the shapes of a built network: convolutions split into factors, and everything a stored state dict shows.

The tensors of a state dict are the only record of what pruning and factorising did to a network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..compress.dependency import OUTPUTS, Graph, trace
from ..errors import KitError

REDUCE, CORE, EXPAND = "reduce", "core", "expand"
"""A split convolution is an nn.Sequential of these: 1x1 to fewer channels, the k x k one, 1x1 to the outputs."""
COLUMN, ROW = "column", "row"
"""In place of the core, depthwise: kh x 1, 1 x kw."""
PARTS = (REDUCE, CORE, COLUMN, ROW, EXPAND)


def split(conv: nn.Conv2d, reduce: int | None, core: bool, expand: int | None) -> nn.Sequential:
    """The chain of convolutions without activation that takes the place of `conv`, with random weights.

    `reduce` and `expand` are the channels between the factors; None leaves that factor out. Without `core` it is
    reduce, then expand, of a 1x1 convolution. Strides, padding and dilation stay with the core, or else with the first;
    the bias is the last one's.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    biased = conv.bias is not None
    if reduce is not None:
        strided = {} if core else {"stride": conv.stride, "padding": conv.padding}
        parts[REDUCE] = nn.Conv2d(conv.in_channels, reduce, 1, bias=False, **strided)
    if core:
        parts[CORE] = nn.Conv2d(
            reduce or conv.in_channels,
            expand or conv.out_channels,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
            bias=biased and expand is None,
        )
    if expand is not None:
        parts[EXPAND] = nn.Conv2d(expand, conv.out_channels, 1, bias=biased)
    return nn.Sequential(parts).to(conv.weight.device, conv.weight.dtype).train(conv.training)


def split_apart(conv: nn.Conv2d, rank: int) -> nn.Sequential:
    """The chain 1x1, kh x 1 depthwise, 1 x kw depthwise, 1x1 of `rank` channels, with random weights."""
    (high, wide), (below, beside) = conv.kernel_size, conv.padding
    (down, across), spread = conv.stride, conv.dilation
    # Both get the whole dilation, as Edge TPU compilers want the same in x and y; over a single pixel it does nothing.
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    parts[REDUCE] = nn.Conv2d(conv.in_channels, rank, 1, bias=False)
    parts[COLUMN] = nn.Conv2d(rank, rank, (high, 1), (down, 1), (below, 0), spread, rank, bias=False)
    parts[ROW] = nn.Conv2d(rank, rank, (1, wide), (1, across), (0, beside), spread, rank, bias=False)
    parts[EXPAND] = nn.Conv2d(rank, conv.out_channels, 1, bias=conv.bias is not None)
    return nn.Sequential(parts).to(conv.weight.device, conv.weight.dtype).train(conv.training)


def replace(model: nn.Module, name: str, module: nn.Module) -> None:
    """Puts `module` at the qualified name `name`."""
    parent, _, child = name.rpartition(".")
    setattr(model.get_submodule(parent), child, module)


def fit_to(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Gives a freshly built network the shapes that `state` has, in place, for load_state_dict to follow.

    Raises:
        KitError: naming the first tensor that neither cutting channels nor splitting convolutions explains.
    """
    graph = trace(model)
    known = set(model.state_dict())
    modules = dict(model.named_modules())
    splits: list[str] = []
    for key, tensor in state.items():
        name, _, kind = key.rpartition(".")
        whole, _, part = name.rpartition(".")
        if key in known:
            _fit_tensor(modules[name], key, kind, tensor, graph)
        elif part in PARTS and isinstance(modules.get(whole), nn.Conv2d):
            if whole not in splits:
                splits.append(whole)
        else:
            raise KitError(f"{key}: the architecture has no such tensor")
    for name in splits:
        _fit_split(model, name, state, graph)
    own = model.state_dict()
    if missing := [key for key in own if key not in state]:
        raise KitError(f"{missing[0]}: missing ({len(missing)} tensors in all), the architecture needs it")
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.BatchNorm2d)):
            _make_tensors(module, name, state)
    if strange := [key for key in state if key not in model.state_dict()]:
        raise KitError(f"{strange[0]}: the architecture has no such tensor")
    trace(model)


def _fit_tensor(module: nn.Module, key: str, kind: str, tensor: Tensor, graph: Graph) -> None:
    """Takes the widths that a weight shows; the module's tensors follow when all of them are known."""
    own: Tensor = getattr(module, kind)
    if tensor.shape == own.shape:
        return
    refusal = KitError(
        f"{key}: is {_shape(tensor)}, the architecture has {_shape(own)}, and cutting channels cannot explain it"
    )
    cuttable = isinstance(module, (nn.Conv2d, nn.BatchNorm2d)) and tensor.dim() == own.dim() >= 1
    if not cuttable or not all(0 < new <= old for new, old in zip(tensor.shape, own.shape, strict=True)):
        raise refusal
    if kind != "weight":
        return
    if isinstance(module, nn.BatchNorm2d):
        module.num_features = tensor.shape[0]
        return
    assert isinstance(module, nn.Conv2d)
    outputs, inputs = tensor.shape[:2]
    depthwise = module.groups > 1
    if tensor.shape[2:] != own.shape[2:]:
        raise refusal
    if depthwise and module.groups != max(module.in_channels, module.out_channels):
        raise refusal
    if not _may_become(graph, key.rpartition(".")[0], module, outputs if depthwise else inputs, outputs):
        raise refusal
    module.out_channels = outputs
    module.in_channels = outputs if depthwise else inputs
    module.groups = outputs if depthwise else 1


def _fit_split(model: nn.Module, name: str, state: Mapping[str, Tensor], graph: Graph) -> None:
    conv = model.get_submodule(name)
    assert isinstance(conv, nn.Conv2d)
    weights = {part: state.get(f"{name}.{part}.weight") for part in PARTS}
    reduce, core, column, row, expand = (weights[part] for part in PARTS)
    first = next((part for part, weight in weights.items() if weight is not None), EXPAND)
    refusal = KitError(f"{name}.{first}.weight: no splitting of {name}, {_shape(conv.weight)}, leads to it")
    if conv.groups > 1 or any(weight is not None and weight.dim() != 4 for weight in weights.values()):
        raise refusal
    if sum(weight is not None for weight in weights.values()) < 2:
        raise refusal
    apart = column is not None and row is not None and reduce is not None and expand is not None and core is None
    if apart != (column is not None or row is not None):
        raise refusal
    if core is None and not apart and conv.kernel_size != (1, 1):
        raise refusal
    entry = reduce if reduce is not None else core
    end = expand if expand is not None else core
    assert entry is not None and end is not None
    if not _may_become(graph, name, conv, entry.shape[1], end.shape[0]):
        raise refusal
    conv.in_channels, conv.out_channels = entry.shape[1], end.shape[0]
    middle = reduce.shape[0] if reduce is not None else None
    if apart:
        assert middle is not None
        replace(model, name, split_apart(conv, middle))
        return
    replace(model, name, split(conv, middle, core is not None, expand.shape[1] if expand is not None else None))


def _may_become(graph: Graph, name: str, conv: nn.Conv2d, inputs: int, outputs: int) -> bool:
    """Whether cutting channels can lead to these numbers: fewer, and none of those that are never cut."""
    if inputs > conv.in_channels or outputs > conv.out_channels:
        return False
    if inputs < conv.in_channels and name in graph.open_inputs:
        return False
    fixed = any(g.fixed and m.module == name and m.side == OUTPUTS for g in graph.groups for m in g.members)
    return outputs == conv.out_channels or not fixed


def _make_tensors(module: nn.Conv2d | nn.BatchNorm2d, name: str, state: Mapping[str, Tensor]) -> None:
    """Gives the module tensors as its widths want them.

    Raises:
        KitError: where `state` has another shape.
    """
    if isinstance(module, nn.Conv2d):
        weight = (module.out_channels, module.in_channels // module.groups, *module.kernel_size)
        wanted = {"weight": weight, "bias": (module.out_channels,)}
    else:
        wanted = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (module.num_features,))
    for kind, shape in wanted.items():
        old: Tensor | None = getattr(module, kind)
        if old is None:
            continue
        given = state[f"{name}.{kind}"]
        if tuple(given.shape) != shape:
            raise KitError(f"{name}.{kind}: is {_shape(given)}, the tensors beside it need {'x'.join(map(str, shape))}")
        new = torch.zeros(shape, dtype=old.dtype, device=old.device)
        setattr(module, kind, nn.Parameter(new) if isinstance(old, nn.Parameter) else new)


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a number"


__all__ = ["COLUMN", "CORE", "EXPAND", "PARTS", "REDUCE", "ROW", "fit_to", "replace", "split", "split_apart"]
