"""Reads a .tflite file into plain values: tensors, operators and the graph between them.

Needs ai-edge-litert (the schema), flatbuffers and numpy, no torch. What the values mean is left to others.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from ..errors import KitError
from ..files import read_bytes

CUSTOM = "CUSTOM"
BROKEN = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
"""What reading a damaged flatbuffer raises, depending on where an offset happens to lead."""
BYTES = {"INT8": 1, "UINT8": 1, "BOOL": 1, "INT16": 2, "FLOAT16": 2, "INT32": 4, "FLOAT32": 4, "INT64": 8}


def _names(enumeration: type) -> dict[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


OPERATORS = _names(schema.BuiltinOperator)
TYPES = _names(schema.TensorType)
ACTIVATIONS = _names(schema.ActivationFunctionType)


@dataclass(frozen=True)
class Tensor:
    """One tensor; `data` is set for constants only."""

    index: int
    name: str
    dtype: str
    """Of the schema: INT8, UINT8, INT32, FLOAT32 …"""
    shape: tuple[int, ...]
    dynamic: bool
    state: bool
    """Kept from one run to the next, as an LSTM's cells."""
    scales: int
    """How many quantisation scales: 0 none, 1 per tensor, more per channel."""
    data: NDArray[np.uint8] | None

    @property
    def size(self) -> int:
        """Bytes."""
        elements = 1
        for extent in self.shape:
            elements *= extent
        return elements * BYTES.get(self.dtype, 1)

    def integers(self) -> list[int]:
        """The values of a constant INT32 or INT64 tensor, flat; empty where there are none."""
        kinds = {"INT32": "<i4", "INT64": "<i8"}
        if self.data is None or self.dtype not in kinds:
            return []
        return [int(value) for value in np.frombuffer(self.data.tobytes(), kinds[self.dtype])]

    def __str__(self) -> str:
        return f"{self.dtype.lower()} [{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Operator:
    """One operator in execution order. An optional input that is left out is None."""

    index: int
    name: str
    """Of the schema, such as CONV_2D; the custom code of a custom operator."""
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any
    """The schema's options object, or None."""

    @property
    def variables(self) -> list[Tensor]:
        """The inputs that are computed."""
        return [tensor for tensor in self.inputs if tensor is not None and tensor.data is None]

    @property
    def constants(self) -> list[Tensor]:
        return [tensor for tensor in self.inputs if tensor is not None and tensor.data is not None]

    @property
    def activation(self) -> str:
        """The fused activation; NONE for operators that have no such field."""
        return ACTIVATIONS.get(self.option("fusedActivationFunction"), "unknown")

    def option(self, name: str, default: int = 0) -> int:
        """One of the schema's options, by the schema's name for it."""
        return int(getattr(self.options, name, default))


@dataclass(frozen=True)
class Graph:
    """The main subgraph of a file."""

    description: str
    operators: list[Operator]
    inputs: list[Tensor]
    outputs: list[Tensor]
    subgraphs: int


def read(path: Path) -> Graph:
    """Reads a model.

    Raises:
        KitError: when the file can't be read or is no TFLite model.
    """
    return graph_of(unpack(read_bytes(path), path), path)


def unpack(content: bytes, path: Path) -> Any:
    """The schema's ModelT of a file's bytes; `path` is what errors name.

    Raises:
        KitError: when they are no TFLite model.
    """
    if content[4:8] != b"TFL3":
        raise KitError(f"{path}: no TFLite model (its bytes 4 to 8 are {content[4:8]!r}, expected b'TFL3')")
    try:
        return schema.ModelT.InitFromPackedBuf(content, 0)
    except BROKEN as error:
        raise KitError(f"{path}: a damaged TFLite model ({error})") from error


def graph_of(model: Any, path: Path) -> Graph:
    """The main subgraph of a ModelT; `path` is what errors name.

    Raises:
        KitError: when its parts don't fit together.
    """
    try:
        return _graph(model)
    except BROKEN as error:
        raise KitError(f"{path}: a damaged TFLite model ({error})") from error


def _graph(model: Any) -> Graph:
    if not model.subgraphs:
        raise ValueError("it has no subgraph")
    main = model.subgraphs[0]
    tensors = [_tensor(index, tensor, model.buffers) for index, tensor in enumerate(main.tensors)]
    operators = [_operator(index, each, model.operatorCodes, tensors) for index, each in enumerate(main.operators)]
    return Graph(
        _text(model.description),
        operators,
        [tensors[i] for i in _indices(main.inputs)],
        [tensors[i] for i in _indices(main.outputs)],
        len(model.subgraphs),
    )


def _tensor(index: int, tensor: Any, buffers: Sequence[Any]) -> Tensor:
    data = buffers[tensor.buffer].data
    shape = _indices(tensor.shape)
    scale = tensor.quantization.scale if tensor.quantization is not None else None
    return Tensor(
        index,
        _text(tensor.name),
        TYPES.get(tensor.type, f"type {tensor.type}"),
        tuple(shape),
        -1 in _indices(tensor.shapeSignature) or any(extent <= 0 for extent in shape),
        bool(tensor.isVariable),
        0 if scale is None else len(scale),
        None if data is None or len(data) == 0 else np.asarray(data, np.uint8),
    )


def _operator(index: int, operator: Any, codes: Sequence[Any], tensors: list[Tensor]) -> Operator:
    code = codes[operator.opcodeIndex]
    # Files from before the field was widened only have the deprecated one; the newer one is then 0.
    name = OPERATORS.get(max(code.builtinCode, code.deprecatedBuiltinCode), "unknown")
    if name == CUSTOM:
        name = _text(code.customCode)
    return Operator(
        index,
        name,
        code.version,
        tuple(None if i < 0 else tensors[i] for i in _indices(operator.inputs)),
        tuple(tensors[i] for i in _indices(operator.outputs)),
        operator.builtinOptions,
    )


def _indices(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value or ""
