"""Gives a network another input size, by rewriting the shapes and the constants that depend on it. Weights stay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..errors import KitError
from ..export.tflite_reader import Graph, Operator, graph_of
from .original import LARGEST_TENSOR
from .shapes import MAKES_MAPS, RULES, CannotChangeError, Shape, Step

POOLS = ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
Side = tuple[int, int]


def retarget(model: Any, size: Side, path: Path) -> tuple[list[str], list[str]]:
    """Changes `model`, of one picture in and one map out, to a picture of `size`, height and width.

    Returns:
        What else changed, and what stays though it might have been changed.

    Raises:
        KitError: naming the operator that can't be changed.
    """
    graph = graph_of(model, path)
    before: Side = (graph.inputs[0].shape[1], graph.inputs[0].shape[2])
    _check(_walk(graph, before, before, path), graph, path)
    steps, shapes = _walk(graph, before, size, path)
    main = model.subgraphs[0]
    for step in steps:
        _rewrite(model, main.operators[step.operator.index], step)
    for index, shape in shapes.items():
        main.tensors[index].shape = list(shape)
    changes = dict.fromkeys(each for step in steps for each in step.changes)
    notes = dict.fromkeys(each for step in steps for each in step.notes)
    return list(changes), list(notes)


@dataclass
class Maps:
    """What maps of a height and width become, learnt from those that were met so far."""

    picture: Side
    wanted: Side
    met: dict[Side, set[Side]]

    def note(self, old: Shape, new: Shape) -> None:
        if len(old) == len(new) == 4:
            self.met.setdefault((old[1], old[2]), set()).add((new[1], new[2]))

    def __call__(self, old: Side) -> Side:
        met = self.met.get(old, set())
        if len(met) == 1:
            return next(iter(met))
        scaled = [side * new / side_of for side, new, side_of in zip(old, self.wanted, self.picture, strict=True)]
        exact = (int(scaled[0]), int(scaled[1]))
        if list(exact) == scaled and min(exact) >= 1 and (not met or exact in met):
            return exact
        where = "no other map has that size" if not met else "maps of that size become different ones"
        raise CannotChangeError(
            f"makes a map of {old[0]}x{old[1]}, and what it becomes can't be told ({where}); choose a size of which "
            f"it is the same part as of {self.picture[0]}x{self.picture[1]}"
        )


def _walk(graph: Graph, before: Side, size: Side, path: Path) -> tuple[list[Step], dict[int, Shape]]:
    """Every operator with its changes, and the new shape of every tensor that is computed."""
    picture = graph.inputs[0]
    shapes: dict[int, Shape] = {picture.index: (1, *size, 3)}
    maps = Maps(before, size, {})
    maps.note(picture.shape, shapes[picture.index])
    beside = _pyramids(graph)
    steps = []
    for operator in graph.operators:
        tensors = operator.inputs
        inputs = [() if tensor is None else shapes.get(tensor.index, tensor.shape) for tensor in tensors]
        step = Step(operator, inputs, maps, bool(tensors and tensors[0] and tensors[0].index in beside))
        changed = any(tensor is not None and tensor.shape != new for tensor, new in zip(tensors, inputs, strict=True))
        try:
            made = _made(step) if changed or operator.name in MAKES_MAPS else [each.shape for each in operator.outputs]
        except CannotChangeError as error:
            raise KitError(f"{path}: {_named(operator)} {error}") from error
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise KitError(f"{path}: {_named(operator)} has a form that is not known here ({error})") from error
        for tensor, shape in zip(operator.outputs, made, strict=True):
            if min(shape, default=1) < 1 or prod(shape) > LARGEST_TENSOR:
                raise KitError(f"{path}: {_named(operator)} would give {list(shape)}")
            shapes[tensor.index] = shape
            maps.note(tensor.shape, shape)
        steps.append(step)
    return steps, shapes


def _made(step: Step) -> list[Shape]:
    rule = RULES.get(step.operator.name)
    if rule is None:
        raise CannotChangeError("is an operator whose shapes are not known here: the size can't be changed")
    made = rule(step)
    if len(made) != len(step.operator.outputs):
        raise CannotChangeError(f"has {len(step.operator.outputs)} outputs")
    return made


def _check(walked: tuple[Sequence[Step], dict[int, Shape]], graph: Graph, path: Path) -> None:
    """With the size that the network has, the rules must give the shapes that its file says."""
    steps, shapes = walked
    for step in steps:
        # Where no input changes, _walk takes the file's word; here nothing changes, so the rule is asked again.
        rule = RULES.get(step.operator.name)
        if rule is None or not any(tensor.index in shapes for tensor in step.operator.variables):
            continue
        try:
            made = rule(Step(step.operator, step.shapes, step.size_of, step.global_pool_beside))
        except CannotChangeError as error:
            raise KitError(f"{path}: {_named(step.operator)} {error}") from error
        except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
            raise KitError(f"{path}: {_named(step.operator)} has a form that is not known here ({error})") from error
        for tensor, shape in zip(step.operator.outputs, made, strict=False):
            if tensor.shape != shape:
                raise KitError(
                    f"{path}: {_named(step.operator)} gives {list(tensor.shape)}, by the rules known here "
                    f"{list(shape)}; the size can't be changed"
                )


def _pyramids(graph: Graph) -> set[int]:
    """Tensors that a pool averages as a whole."""
    pools = [operator for operator in graph.operators if operator.name in POOLS]
    whole = (o for o in pools if o.outputs[0].shape[1:3] == (1, 1) and o.variables)
    return {operator.variables[0].index for operator in whole}


def _named(operator: Operator) -> str:
    return f"operator {operator.index}, {operator.name} ('{operator.outputs[0].name}'),"


def _rewrite(model: Any, operator: Any, step: Step) -> None:
    """Writes what a step changes: constants get buffers of their own, since others may read the same ones."""
    main = model.subgraphs[0]
    for name, value in step.options.items():
        setattr(operator.builtinOptions, name, value)
    for place, values in step.constants.items():
        tensor = step.operator.inputs[place]
        if tensor is None or tensor.integers() == values:
            continue
        kind = {"INT32": "<i4", "INT64": "<i8"}[tensor.dtype]
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.asarray(values, kind).tobytes(), np.uint8)
        model.buffers.append(buffer)
        changed = schema.TensorT()
        changed.__dict__.update(main.tensors[tensor.index].__dict__)
        changed.buffer = len(model.buffers) - 1
        main.tensors.append(changed)
        inputs = [int(index) for index in operator.inputs]
        inputs[place] = len(main.tensors) - 1
        operator.inputs = inputs
