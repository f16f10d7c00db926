"""What shape every operator gives, and which constants and options change with the picture's size: a rule for each.

A rule reads the new shapes of an operator's inputs and says those of its outputs; through Step it notes what must be
rewritten. retarget.py applies the rules to the whole graph, first with the old size, where they must give the shapes of
the file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from math import prod
from typing import Protocol

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..export.tflite_reader import Operator, Tensor

Shape = tuple[int, ...]
UNARY = (
    "ABS", "CAST", "CEIL", "COS", "DEQUANTIZE", "ELU", "EXP", "FLOOR", "GELU", "HARD_SWISH", "L2_NORMALIZATION",
    "LEAKY_RELU", "LOCAL_RESPONSE_NORMALIZATION", "LOG", "LOGISTIC", "LOG_SOFTMAX", "NEG", "QUANTIZE", "RELU", "RELU6",
    "RELU_0_TO_1", "RELU_N1_TO_1", "ROUND", "RSQRT", "SIGN", "SIN", "SOFTMAX", "SQRT", "SQUARE", "TANH",
)  # fmt: skip
BINARY = ("ADD", "DIV", "FLOOR_DIV", "MAXIMUM", "MINIMUM", "MUL", "POW", "PRELU", "SQUARED_DIFFERENCE", "SUB")
REDUCTIONS = ("MEAN", "REDUCE_MAX", "REDUCE_MIN", "SUM")


class Sizes(Protocol):
    """What maps of one height and width in the file become."""

    def __call__(self, old: tuple[int, int]) -> tuple[int, int]:
        """The new height and width. Raises CannotChangeError where it can't be told."""
        ...


class CannotChangeError(Exception):
    """Why an operator can't be given another size, as the end of a sentence."""


@dataclass
class Step:
    """One operator on its way to another size. `shapes` are the new ones of its inputs; () for one that is left out."""

    operator: Operator
    shapes: list[Shape]
    size_of: Sizes
    global_pool_beside: bool
    """Another pool of the same input averages the whole of it: a pyramid."""
    constants: dict[int, list[int]] = field(default_factory=dict)
    """New values of inputs, by their place."""
    options: dict[str, int | list[int]] = field(default_factory=dict)
    """New values of options."""
    changes: list[str] = field(default_factory=list)
    """What changes of its meaning, in words."""
    notes: list[str] = field(default_factory=list)
    """What stays, though it might have been changed."""

    def option(self, name: str, default: int = 0) -> int:
        return self.operator.option(name, default)

    def old(self, place: int) -> Shape:
        tensor = self.operator.inputs[place]
        return () if tensor is None else tensor.shape

    @property
    def old_output(self) -> Shape:
        return self.operator.outputs[0].shape

    def values(self, place: int) -> list[int]:
        """The values of a constant input.

        Raises:
            CannotChangeError: when it is computed.
        """
        tensor: Tensor | None = self.operator.inputs[place] if place < len(self.operator.inputs) else None
        if tensor is None or tensor.data is None:
            raise CannotChangeError("takes its sizes from a computed tensor")
        return tensor.integers()


Rule = Callable[[Step], list[Shape]]


def convolution(step: Step) -> list[Shape]:
    (n, *sides, _), weights = step.shapes[0], step.shapes[1]
    depthwise = step.operator.name == "DEPTHWISE_CONV_2D"
    window = [step.option(f"dilation{axis}Factor", 1) * (k - 1) + 1 for axis, k in zip("HW", weights[1:3], strict=True)]
    return [(n, *_slid(step, sides, window), weights[3] if depthwise else weights[0])]


def transposed_convolution(step: Step) -> list[Shape]:
    (n, *sides, _), before = step.shapes[2], step.old(2)[1:3]
    values, strides = step.values(0), [step.option("strideH"), step.option("strideW")]
    # The same is added or lost at the end as before.
    new = [s * (j - i) + old for s, j, i, old in zip(strides, sides, before, values[1:3], strict=True)]
    step.constants[0] = [n, *new, values[3]]
    return [(n, *new, values[3])]


def pool(step: Step) -> list[Shape]:
    n, *sides, c = step.shapes[0]
    before, after = step.old(0)[1:3], (sides[0], sides[1])
    window = (step.option("filterHeight"), step.option("filterWidth"))
    name = step.operator.name
    if window == before and step.old_output[1:3] == (1, 1):
        if after != before:
            _window(step, after, after)
            step.changes.append(f"{name} over the whole map has a window of {_by(after)} instead of {_by(before)}")
        return [(n, 1, 1, c)]
    if step.global_pool_beside and after != before:
        scaled = [k * j / i for k, j, i in zip(window, after, before, strict=True)]
        strides = [step.option(f"stride{a}") * j / i for a, j, i in zip("HW", after, before, strict=True)]
        if any(value != int(value) for value in (*scaled, *strides)):
            raise CannotChangeError(
                f"pools windows of {_by(window)} on a map of {_by(before)} beside a pool over the whole map; as many "
                f"do not fit a map of {_by(after)}; choose another size"
            )
        old, window = window, (int(scaled[0]), int(scaled[1]))
        _window(step, window, (int(strides[0]), int(strides[1])))
        step.changes.append(f"{name} of the pyramid has a window of {_by(window)} instead of {_by(old)}")
    elif after != before and max(window) > 3:
        does = "averages" if name == "AVERAGE_POOL_2D" else "pools"
        step.notes.append(
            f"{name} keeps its window of {_by(window)} cells, so at the new size it {does} another share of the picture"
        )
    return [(n, *_slid(step, sides, window), c)]


def _window(step: Step, window: tuple[int, int], strides: tuple[int, int]) -> None:
    step.options["filterHeight"], step.options["filterWidth"] = window
    if step.option("strideH") > 1 or step.option("strideW") > 1:
        step.options["strideH"], step.options["strideW"] = strides


def _slid(step: Step, sides: Sequence[int], window: Sequence[int]) -> list[int]:
    """What a sliding window leaves of each side."""
    strides = [int(np.atleast_1d(step.options.get(f"stride{a}", step.option(f"stride{a}")))[0]) for a in "HW"]
    if min(strides) < 1:
        raise CannotChangeError(f"has a stride of {min(strides)}")
    same = step.option("padding") == schema.Padding.SAME
    left = [side if same else side - k + 1 for side, k in zip(sides, window, strict=True)]
    if min(left) < 1:
        raise CannotChangeError(f"needs a map of at least {_by(window)}, but gets {_by(sides)}")
    return [-(-length // stride) for length, stride in zip(left, strides, strict=True)]


def resize(step: Step) -> list[Shape]:
    n, _, _, c = step.shapes[0]
    old = step.values(1)
    new = step.size_of((old[0], old[1]))
    step.constants[1] = list(new)
    return [(n, *new, c)]


def tile(step: Step) -> list[Shape]:
    shape, times = step.shapes[0], step.values(1)
    if len(shape) == 4 and shape[1:3] == (1, 1) and step.old_output[1:3] != (1, 1):
        times = [times[0], *step.size_of((step.old_output[1], step.old_output[2])), times[3]]
        step.constants[1] = times
    return [tuple(side * number for side, number in zip(shape, times, strict=True))]


def broadcast_to(step: Step) -> list[Shape]:
    target = step.values(1)
    if len(target) == 4:
        target[1:3] = step.size_of((target[1], target[2]))
        step.constants[1] = target
    return [tuple(target)]


def unary(step: Step) -> list[Shape]:
    return [step.shapes[0]]


def binary(step: Step) -> list[Shape]:
    return [_broadcast(step.shapes[0], step.shapes[1])]


def _broadcast(one: Shape, other: Shape) -> Shape:
    try:
        return tuple(np.broadcast_shapes(one, other))
    except ValueError:
        raise CannotChangeError(f"would join {list(one)} with {list(other)}") from None


def concatenation(step: Step) -> list[Shape]:
    first = step.shapes[0]
    axis = step.option("axis") % len(first)
    others = {shape[:axis] + shape[axis + 1 :] for shape in step.shapes}
    if len(others) != 1:
        raise CannotChangeError(f"would join {' with '.join(str(list(shape)) for shape in step.shapes)}")
    return [(*first[:axis], sum(shape[axis] for shape in step.shapes), *first[axis + 1 :])]


def split(step: Step) -> list[Shape]:
    place = 1 if step.operator.name == "SPLIT" else 0
    shape, axis = step.shapes[place], step.values(0 if place else 2)[0] % len(step.shapes[place])
    if shape[axis] != step.old(place)[axis]:
        raise CannotChangeError("splits the picture's height or width")
    return [(*shape[:axis], each.shape[axis], *shape[axis + 1 :]) for each in step.operator.outputs]


def strided_slice(step: Step) -> list[Shape]:
    shape, old = step.shapes[0], step.old(0)
    begin, end, strides = (step.values(place) for place in (1, 2, 3))
    if step.option("ellipsisMask") or step.option("newAxisMask") or len(begin) != len(shape):
        raise CannotChangeError("has a form of slice that is not known here")
    masks = [step.option(f"{name}Mask") for name in ("begin", "end", "shrinkAxis")]
    new_end, kept = list(end), []
    for axis, side in enumerate(shape):
        open_begin, open_end, shrinks = (bool(mask >> axis & 1) for mask in masks)
        whole = strides[axis] > 0 and (open_begin or begin[axis] == 0) and (open_end or end[axis] >= old[axis])
        if whole and not shrinks:
            new_end[axis] = side
            kept.append(-(-side // strides[axis]))
        elif side != old[axis]:
            raise CannotChangeError("cuts a part out of the picture's height or width")
        elif not shrinks:
            low = None if open_begin else begin[axis]
            kept.append(len(range(side)[low : None if open_end else end[axis] : strides[axis]]))
    step.constants[2] = new_end
    return [tuple(kept)]


def plain_slice(step: Step) -> list[Shape]:
    shape, old, begin, size = step.shapes[0], step.old(0), step.values(1), step.values(2)
    new, kept = list(size), []
    for axis, side in enumerate(shape):
        whole = begin[axis] == 0 and size[axis] in (-1, old[axis])
        if side != old[axis] and not whole:
            raise CannotChangeError("cuts a part out of the picture's height or width")
        kept.append(side if whole else side - begin[axis] if size[axis] == -1 else size[axis])
        new[axis] = kept[axis]
    step.constants[2] = new
    return [tuple(kept)]


def pad(step: Step) -> list[Shape]:
    amounts = step.values(1)
    return [tuple(side + amounts[2 * i] + amounts[2 * i + 1] for i, side in enumerate(step.shapes[0]))]


def batches(step: Step) -> list[Shape]:
    """SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND, with the padding that the file has."""
    (n, h, w, c), (down, across), amounts = step.shapes[0], step.values(1)[:2], step.values(2)[:4]
    if step.operator.name == "BATCH_TO_SPACE_ND":
        return [(n // (down * across), h * down - sum(amounts[:2]), w * across - sum(amounts[2:]), c)]
    padded = (h + sum(amounts[:2]), w + sum(amounts[2:]))
    if padded[0] % down or padded[1] % across:
        raise CannotChangeError(
            f"needs a map that {down}x{across} blocks fill, but gets {_by(padded)}; choose another size"
        )
    return [(n * down * across, padded[0] // down, padded[1] // across, c)]


def depth(step: Step) -> list[Shape]:
    """SPACE_TO_DEPTH and DEPTH_TO_SPACE."""
    (n, h, w, c), block = step.shapes[0], step.option("blockSize")
    if step.operator.name == "DEPTH_TO_SPACE":
        return [(n, h * block, w * block, c // block**2)]
    if h % block or w % block:
        raise CannotChangeError(f"needs a map that {block}x{block} blocks fill, but gets {h}x{w}; choose another size")
    return [(n, h // block, w // block, c * block**2)]


def reduction(step: Step) -> list[Shape]:
    shape = step.shapes[0]
    axes = {axis % len(shape) for axis in step.values(1)}
    if step.option("keepDims"):
        return [tuple(1 if axis in axes else side for axis, side in enumerate(shape))]
    return [tuple(side for axis, side in enumerate(shape) if axis not in axes)]


def transpose(step: Step) -> list[Shape]:
    return [tuple(step.shapes[0][axis] for axis in step.values(1))]


def fully_connected(step: Step) -> list[Shape]:
    shape, (units, depth_) = step.shapes[0], step.shapes[1]
    if step.option("keepNumDims"):
        return [(*shape[:-1], units)]
    if prod(shape) % depth_ or shape[-1] != step.old(0)[-1]:
        raise CannotChangeError("reads every pixel of a map of fixed size")
    return [(prod(shape) // depth_, units)]


def batch_matmul(step: Step) -> list[Shape]:
    one, other = (
        (*shape[:-2], shape[-1], shape[-2]) if step.option(name) else shape
        for shape, name in zip(step.shapes[:2], ("adjX", "adjY"), strict=True)
    )
    if one[-1] != other[-2]:
        raise CannotChangeError(f"would multiply {list(one)} by {list(other)}")
    return [(*_broadcast(one[:-2], other[:-2]), one[-2], other[-1])]


def squeeze(step: Step) -> list[Shape]:
    old = step.old(0)
    given = getattr(step.operator.options, "squeezeDims", None)
    axes = {int(axis) % len(old) for axis in (() if given is None else given)}
    axes = axes or {axis for axis, side in enumerate(old) if side == 1}
    return [tuple(side for axis, side in enumerate(step.shapes[0]) if axis not in axes)]


def expand_dims(step: Step) -> list[Shape]:
    shape = list(step.shapes[0])
    shape.insert(step.values(1)[0] % (len(shape) + 1), 1)
    return [tuple(shape)]


def reshape(step: Step) -> list[Shape]:
    """The old target with height, width and their products replaced, where only one way fits the number of values.

    A target that is a map becomes what other maps of its size do: it may have been a row of cells before.
    """
    old, new, target = step.old(0), step.shapes[0], step.old_output
    if len(step.operator.inputs) > 1:
        step.values(1)
    if old == new:
        return [target]
    found = {shape for shape in _maps(target, step.size_of) if prod(shape) == prod(new)}
    if len(found) != 1:
        found = {shape for shape in _targets(old, new, target) if prod(shape) == prod(new)}
    if len(found) != 1:
        raise CannotChangeError(f"makes {list(target)} of {list(old)}, and what it makes of {list(new)} can't be told")
    (shape,) = found
    if len(step.operator.inputs) > 1:
        step.constants[1] = list(shape)
    if getattr(step.operator.options, "newShape", None) is not None:
        step.options["newShape"] = list(shape)
    return [shape]


def _maps(target: Shape, size_of: Sizes) -> Iterator[Shape]:
    """The target as a map of another size, NHWC and NCHW."""
    for first in (1, 2) if len(target) == 4 else ():
        with contextlib.suppress(CannotChangeError):
            yield (*target[:first], *size_of((target[first], target[first + 1])), *target[first + 2 :])


def _targets(old: Shape, new: Shape, target: Shape) -> Iterator[Shape]:
    """All shapes in which each extent stays, or becomes what a run of the input's extents with that product becomes."""
    choices = []
    for extent in target:
        runs = [(a, b) for a in range(len(old)) for b in range(a + 1, len(old) + 1) if prod(old[a:b]) == extent]
        choices.append({extent, *(prod(new[a:b]) for a, b in runs)})
    if prod(len(choice) for choice in choices) <= 10_000:
        yield from product(*choices)


RULES: dict[str, Rule] = {
    **dict.fromkeys(UNARY, unary),
    **dict.fromkeys(BINARY, binary),
    **dict.fromkeys(REDUCTIONS, reduction),
    **dict.fromkeys(("CONV_2D", "DEPTHWISE_CONV_2D"), convolution),
    **dict.fromkeys(("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D"), pool),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), resize),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD"), pad),
    **dict.fromkeys(("SPLIT", "SPLIT_V"), split),
    **dict.fromkeys(("SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND"), batches),
    **dict.fromkeys(("SPACE_TO_DEPTH", "DEPTH_TO_SPACE"), depth),
    "TRANSPOSE_CONV": transposed_convolution,
    "TILE": tile,
    "BROADCAST_TO": broadcast_to,
    "CONCATENATION": concatenation,
    "STRIDED_SLICE": strided_slice,
    "SLICE": plain_slice,
    "TRANSPOSE": transpose,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "SQUEEZE": squeeze,
    "EXPAND_DIMS": expand_dims,
    "RESHAPE": reshape,
}
MAKES_MAPS = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR", "TILE", "BROADCAST_TO")
"""Operators whose output can change though no input does: they spread one cell over a map."""


def _by(sides: Sequence[int]) -> str:
    return "x".join(map(str, sides))
