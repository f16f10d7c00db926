"""Makes an OpGraph of a PyTorch network in eval form, by torch.fx.

Takes whatever is built of the modules in MODULES, so pruned widths and convolutions split into sequences need nothing
special. What TFLite's operators cannot say is refused with the module's name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from ..errors import KitError
from ..model.blocks import SamePad
from .ops import Activation, Add, AveragePool, Concat, Conv, Input, MaxPool, Node, OpGraph, Pad, Padding, Resize

NO_PADS = (0, 0, 0, 0)
PASSED = (nn.Identity, nn.Dropout, nn.Dropout2d)
ACTIVATIONS: dict[Any, Activation] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    F.relu: "relu",
    F.relu6: "relu6",
    torch.relu: "relu",
    "relu": "relu",
}
ADDITIONS = (operator.add, operator.iadd, torch.add, "add", "add_")
NOT_TENSORS = (getattr, operator.getitem, "size")
"""Calls that ask for shapes; the example's run answers them."""


@dataclass
class Value:
    """What stands for an fx node: a tensor of the OpGraph, with padding that the next node has to take in."""

    name: str
    pads: tuple[int, int, int, int] = NO_PADS


def trace(model: nn.Module, example: Tensor) -> OpGraph:
    """The graph of `model` at the example's size.

    Args:
        model: a network of one input and one output; its mode is restored afterwards.
        example: `[1, channels, height, width]` on the model's device.

    Raises:
        KitError: at a module or function that TFLite's operators cannot say, with its path.
    """
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        traced = fx.GraphModule(model, Tracer().trace(model))
        run = Recorder(traced)
        with torch.no_grad():
            run.run(example)
    except (fx.proxy.TraceError, TypeError) as error:
        raise KitError(f"{type(model).__name__} cannot be traced: {error}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    return Translation(traced, run.shapes).translate()


class Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, SamePad) or super().is_leaf_module(m, module_qualified_name)


class Recorder(fx.Interpreter):
    """Runs the traced network and keeps the shape of every tensor."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[fx.Node, torch.Size] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.shapes[n] = result.shape
        return result


@dataclass
class Translation:
    """One pass over the fx graph. Activations and BatchNorms change the node that they follow."""

    traced: fx.GraphModule
    shapes: dict[fx.Node, torch.Size]
    nodes: dict[str, Node] = field(default_factory=dict)
    values: dict[fx.Node, Value] = field(default_factory=dict)

    def translate(self) -> OpGraph:
        output = None
        for n in self.traced.graph.nodes:
            if n.op == "output":
                output = n.args[0]
            elif n.op == "placeholder":
                self.values[n] = self.add(Input, n, ())
            elif n in self.shapes:
                self.values[n] = self.call(n)
        if not isinstance(output, fx.Node) or self.values[output].pads != NO_PADS:
            raise KitError("the network does not end in one tensor")
        return OpGraph(self.needed(self.values[output].name), self.values[output].name)

    def call(self, n: fx.Node) -> Value:
        if n.op == "call_module":
            return self.module(n, self.traced.get_submodule(str(n.target)))
        if n.op not in ("call_function", "call_method"):
            raise KitError(f"{n.target}: a tensor of its own in the network, which the export does not know")
        if n.target in ACTIVATIONS:
            return self.activation(n, ACTIVATIONS[n.target])
        if n.target in ADDITIONS:
            return self.addition(n)
        make = FUNCTIONS.get(n.target)
        if make is None:
            raise KitError(
                f"{name_of(n)} calls {getattr(n.target, '__name__', n.target)}, which the export does not know"
            )
        return make(self, n)

    def module(self, n: fx.Node, module: nn.Module) -> Value:
        if isinstance(module, PASSED):
            return self.values[source(n)]
        if isinstance(module, SamePad):
            value = self.values[source(n)]
            added = (module.before, module.after) * 2
            return Value(value.name, sum_pads(value.pads, added))
        if isinstance(module, nn.Conv2d):
            return self.convolution(n, module)
        if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            return self.norm(n, module)
        if type(module) in ACTIVATIONS:
            return self.activation(n, ACTIVATIONS[type(module)])
        if isinstance(module, nn.MaxPool2d):
            return self.max_pool(n, module)
        if isinstance(module, nn.AdaptiveAvgPool2d):
            return self.average_pool(n, module.output_size)
        raise KitError(f"{n.target}: {type(module).__name__} has no TFLite operator in this export")

    def convolution(self, n: fx.Node, module: nn.Conv2d) -> Value:
        depthwise = module.groups > 1 and module.groups == module.in_channels
        if module.groups > 1 and not depthwise:
            raise KitError(f"{n.target}: a convolution of {module.groups} groups; 1 or one per channel was expected")
        if module.padding_mode != "zeros" or isinstance(module.padding, str):
            raise KitError(f"{n.target}: padding {module.padding!r} ({module.padding_mode}); zeros in numbers expected")
        value = self.values[source(n)]
        stride, dilation, kernel = pair(module.stride), pair(module.dilation), pair(module.kernel_size)
        own = (module.padding[0], module.padding[0], module.padding[1], module.padding[1])
        pads = sum_pads(value.pads, own)
        passed = NO_PADS
        if pads != NO_PADS and self.moves_zeros(n, module):
            pads, passed = NO_PADS, pads
        node = self.window(n, value.name, pads, kernel, stride, dilation)
        bias = module.weight.new_zeros(module.out_channels) if module.bias is None else module.bias
        shape = self.shape(n)
        if passed != NO_PADS:
            shape = (shape[0] - passed[0] - passed[1], shape[1] - passed[2] - passed[3], shape[2])
        name = str(n.target) if str(n.target) not in self.nodes else n.name
        conv = Conv(
            name, (node.tensor,), shape, module.weight.detach().cpu().clone(), bias.detach().cpu().clone(), depthwise,
            stride, dilation, node.pads, node.padding, "none", str(n.target), None,
        )  # fmt: skip
        self.nodes[conv.name] = conv
        return Value(conv.name, passed)

    def moves_zeros(self, n: fx.Node, module: nn.Conv2d) -> bool:
        """Whether the zeros around the input of a 1x1 convolution stay zeros, so that the next one can add them."""
        pointwise = module.kernel_size == (1, 1) and module.stride == (1, 1) and module.bias is None
        users = list(n.users)
        follower = self.traced.get_submodule(str(users[0].target)) if users and users[0].op == "call_module" else None
        return pointwise and len(users) == 1 and isinstance(follower, nn.Conv2d)

    def window(
        self,
        n: fx.Node,
        tensor: str,
        pads: tuple[int, int, int, int],
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int] = (1, 1),
    ) -> Window:
        """Says the pads as SAME or VALID; where neither has them, a PAD goes before."""
        height, width, _ = self.nodes[tensor].shape
        if pads == NO_PADS:
            return Window(tensor, "VALID" if kernel != (1, 1) else "SAME", pads)
        sides = [same_pads(*sizes) for sizes in zip((height, width), kernel, stride, dilation, strict=True)]
        if pads == (*sides[0], *sides[1]):
            return Window(tensor, "SAME", pads)
        padded = self.pad(f"{name_of(n)}/pad", tensor, pads)
        return Window(padded, "VALID", NO_PADS)

    def pad(self, name: str, tensor: str, pads: tuple[int, int, int, int]) -> str:
        height, width, channels = self.nodes[tensor].shape
        shape = (height + pads[0] + pads[1], width + pads[2] + pads[3], channels)
        self.nodes[name] = Pad(name, (tensor,), shape, pads)
        return name

    def norm(self, n: fx.Node, module: nn.BatchNorm2d | nn.SyncBatchNorm) -> Value:
        value = self.values[source(n)]
        conv = self.nodes[value.name]
        plain = isinstance(conv, Conv) and conv.activation == "none" and conv.norm is None and value.pads == NO_PADS
        if not plain or not self.only_user(n):
            raise KitError(f"{n.target}: a BatchNorm that does not directly follow a convolution of its own")
        assert isinstance(conv, Conv)
        if module.running_mean is None:
            raise KitError(f"{n.target}: a BatchNorm without running statistics")
        weight, bias = fold(conv.weight, conv.bias, module)
        self.nodes[conv.name] = replace(conv, weight=weight.detach(), bias=bias.detach(), norm=str(n.target))
        return value

    def activation(self, n: fx.Node, activation: Activation) -> Value:
        value = self.values[source(n)]
        node = self.nodes[value.name]
        if not isinstance(node, (Conv, Add)) or not self.only_user(n) or node.activation != "none":
            raise KitError(f"{name_of(n)}: {activation} that does not directly follow a convolution or sum of its own")
        self.nodes[node.name] = replace(node, activation=activation)
        return value

    def only_user(self, n: fx.Node) -> bool:
        """Whether nobody else sees what `n` changes."""
        while True:
            n = source(n)
            if len(n.users) > 1:
                return False
            passed = n.op == "call_module" and isinstance(self.traced.get_submodule(str(n.target)), PASSED)
            if not passed:
                return True

    def addition(self, n: fx.Node) -> Value:
        a, b = (self.plain(x, n) if isinstance(x, fx.Node) else None for x in n.args[:2])
        if a is None or b is None or self.nodes[a].shape != self.nodes[b].shape or n.kwargs.get("alpha", 1) != 1:
            raise KitError(f"{name_of(n)}: a sum of other than two tensors of one shape")
        return self.add(Add, n, (a, b), activation="none")

    def concatenation(self, n: fx.Node) -> Value:
        axis = n.args[1] if len(n.args) > 1 else n.kwargs.get("dim", 0)
        if axis not in (1, -3):
            raise KitError(f"{name_of(n)}: concatenates dimension {axis}; 1, the channels, was expected")
        tensors: Any = n.args[0] if n.args else n.kwargs["tensors"]
        return self.add(Concat, n, tuple(self.plain(x, n) for x in tensors))

    def resize(self, n: fx.Node) -> Value:
        mode, aligned = n.kwargs.get("mode", "nearest"), n.kwargs.get("align_corners")
        if mode != "bilinear" or aligned is not True:
            raise KitError(f"{name_of(n)}: resizes by {mode}, align_corners={aligned}; bilinear and True were expected")
        tensor = self.plain(source(n), n)
        if self.nodes[tensor].shape == self.shape(n):
            return Value(tensor)
        return self.add(Resize, n, (tensor,))

    def function_pool(self, n: fx.Node) -> Value:
        return self.average_pool(n, n.args[1] if len(n.args) > 1 else n.kwargs["output_size"])

    def average_pool(self, n: fx.Node, cells: Any) -> Value:
        tensor = self.plain(source(n), n)
        height, width, _ = self.nodes[tensor].shape
        rows, columns = pair(cells)
        if height % rows or width % columns:
            raise KitError(
                f"{name_of(n)}: {rows}x{columns} cells do not divide {height}x{width}; choose an input size whose "
                "features they divide"
            )
        if (rows, columns) == (height, width):
            return Value(tensor)
        return self.add(AveragePool, n, (tensor,), kernel=(height // rows, width // columns))

    def max_pool(self, n: fx.Node, module: nn.MaxPool2d) -> Value:
        if pair(module.dilation) != (1, 1) or module.ceil_mode:
            raise KitError(f"{n.target}: a dilated or ceiling max pool")
        tensor = self.plain(source(n), n)
        kernel, stride, padding = pair(module.kernel_size), pair(module.stride), pair(module.padding)
        pads = (padding[0], padding[0], padding[1], padding[1])
        node = self.window(n, tensor, pads, kernel, stride)
        if node.tensor != tensor and getattr(self.nodes[tensor], "activation", "none") == "none":
            raise KitError(f"{n.target}: pads what can be negative; zeros there could become the maximum")
        return self.add(MaxPool, n, (node.tensor,), kernel=kernel, stride=stride, pads=node.pads, padding=node.padding)

    def add(self, kind: Callable[..., Node], n: fx.Node, inputs: tuple[str, ...], **more: Any) -> Value:
        node = kind(name_of(n), inputs, self.shape(n), **more)
        self.nodes[node.name] = node
        return Value(node.name)

    def plain(self, x: fx.Node, n: fx.Node) -> str:
        """The tensor of an argument, with a PAD where it carries pads."""
        value = self.values[x]
        return value.name if value.pads == NO_PADS else self.pad(f"{name_of(n)}/pad", value.name, value.pads)

    def shape(self, n: fx.Node) -> tuple[int, int, int]:
        if len(self.shapes[n]) != 4:
            raise KitError(f"{name_of(n)}: a tensor of shape {tuple(self.shapes[n])}; four dimensions were expected")
        _, channels, height, width = self.shapes[n]
        return height, width, channels

    def needed(self, output: str) -> dict[str, Node]:
        """Without what the output does not depend on, such as an auxiliary classifier."""
        wanted = {output, next(iter(self.nodes))}
        for name in reversed(list(self.nodes)):
            if name in wanted:
                wanted.update(self.nodes[name].inputs)
        return {name: node for name, node in self.nodes.items() if name in wanted}


@dataclass(frozen=True)
class Window:
    tensor: str
    padding: Padding
    pads: tuple[int, int, int, int]


FUNCTIONS: dict[Any, Callable[[Translation, fx.Node], Value]] = {
    torch.cat: Translation.concatenation,
    F.interpolate: Translation.resize,
    F.adaptive_avg_pool2d: Translation.function_pool,
}


def fold(weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d | nn.SyncBatchNorm) -> tuple[Tensor, Tensor]:
    """Weights and bias of a convolution with its BatchNorm in eval form folded in; gradients flow to all of them."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var = norm.running_mean.to(weight.device), norm.running_var.to(weight.device)
    factor = torch.rsqrt(var + norm.eps)
    shift = torch.zeros_like(mean)
    if norm.affine:
        factor, shift = factor * norm.weight.to(weight.device), norm.bias.to(weight.device)
    return weight * factor[:, None, None, None], (bias - mean) * factor + shift


def same_pads(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TensorFlow's SAME adds before and after."""
    total = max((-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def sum_pads(a: tuple[int, int, int, int], b: tuple[int, ...]) -> tuple[int, int, int, int]:
    return a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]


def source(n: fx.Node) -> fx.Node:
    first = n.args[0] if n.args else n.kwargs["input"]
    assert isinstance(first, fx.Node)
    return first


def name_of(n: fx.Node) -> str:
    return str(n.target) if n.op == "call_module" else n.name


def pair(value: Any) -> tuple[int, int]:
    return (value[0], value[1]) if isinstance(value, (tuple, list)) else (int(value), int(value))
