"""Makes constants of what a network computes from the shapes of its tensors: with one picture these never change.

Exporters that leave the batch open write such sizes as SHAPE, STRIDED_SLICE and PACK. As constants they can be
rewritten for another picture, and neither XNNPACK nor an Edge TPU has to stop for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from ..export.tflite_reader import Graph, graph_of, unpack
from .compare import run_all
from .cut import compact, pack

TYPES = {"INT32": np.int32, "INT64": np.int64}


def fold(model: Any, path: Path) -> int:
    """Replaces them in `model`, whose tensors have fixed shapes; returns how many operators went.

    Raises:
        KitError: when TensorFlow Lite can't compute them.
    """
    graph = graph_of(model, path)
    derived = _derived(graph)
    readers = [operator for operator in graph.operators if operator.outputs[0].index not in derived]
    ends = {tensor.index for operator in readers for tensor in operator.variables} & derived
    if not ends or any(tensor.index in derived for tensor in graph.outputs):
        return 0
    wanted = sorted(ends)
    main = model.subgraphs[0]
    for index, value in zip(wanted, _computed(model, graph, wanted, path), strict=True):
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
        model.buffers.append(buffer)
        main.tensors[index].buffer = len(model.buffers) - 1
        main.tensors[index].shape = list(value.shape)
    before = len(main.operators)
    main.operators = [main.operators[operator.index] for operator in readers]
    compact(model)
    return before - len(readers)


def _derived(graph: Graph) -> set[int]:
    """Whole-number tensors that depend on shapes alone."""
    derived: set[int] = set()
    for operator in graph.operators:
        from_shapes = bool(operator.variables) and all(tensor.index in derived for tensor in operator.variables)
        if (operator.name == "SHAPE" or from_shapes) and all(tensor.dtype in TYPES for tensor in operator.outputs):
            derived.update(tensor.index for tensor in operator.outputs)
    return derived


def _computed(model: Any, graph: Graph, wanted: list[int], path: Path) -> list[np.ndarray]:
    picture = graph.inputs[0]
    asked = unpack(pack(model, path), path)
    asked.subgraphs[0].outputs = wanted
    blank = np.zeros(picture.shape, np.int8 if picture.dtype == "INT8" else np.uint8)
    (values,) = run_all(pack(asked, path), [blank], path, len(wanted))
    return values
