"""The kit's flatbuffer builder with the operators that only test models have.

What the models mean is in make.py.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "kit"))

from pspnet_kit.export import flatbuffer
from pspnet_kit.export.flatbuffer import TENSOR_TYPES, Quant

__all__ = ["Graph", "Quant", "wrapped"]


class Graph(flatbuffer.Graph):
    """One subgraph. Every method that adds an operator returns the index of its output tensor."""

    def dequantize(self, x: int) -> int:
        return self.op("DEQUANTIZE", 2, [x], self.tensor("logits_float", "float32", self.shape(x)))

    def transpose(self, name: str, x: int, order: Sequence[int], dtype: str, quant: Quant) -> int:
        shape = self.shape(x)
        axes = self.constant(f"{name}_order", list(order), "int32")
        out = self.tensor(name, dtype, [shape[i] for i in order], quant)
        return self.op("TRANSPOSE", 2, [x, axes], out, schema.TransposeOptionsT())

    def argmax(self, x: int, dtype: str) -> int:
        axis = self.constant("axis", 3, "int32")
        options = schema.ArgMaxOptionsT()
        options.outputType = TENSOR_TYPES[dtype]
        return self.op("ARG_MAX", 2, [x, axis], self.tensor("classes", dtype, self.shape(x)[:3]), options)

    def cast(self, x: int, source: str, dtype: str) -> int:
        options = schema.CastOptionsT()
        options.inDataType, options.outDataType = TENSOR_TYPES[source], TENSOR_TYPES[dtype]
        return self.op("CAST", 1, [x], self.tensor(f"classes_{dtype}", dtype, self.shape(x)), options)

    def reshape(self, x: int, shape: Sequence[int], dtype: str, quant: Quant | None = None) -> int:
        target = self.constant("shape", list(shape), "int32")
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        out = self.tensor("reshaped", dtype, shape, quant)
        return self.op("RESHAPE", 1, [x, target], out, options)

    def grow(self, x: int, side: int, quant: Quant) -> None:
        """Operators that nobody reads, with tensors of side x side floats. That size comes from the picture (as the larger of
        `side` and two of its values), so TensorFlow Lite learns it in the middle of an inference: its arena grows then, and
        moves what lies in it."""

        def cast(name: str, x: int, source: str, dtype: str, shape: list[int]) -> int:
            options = schema.CastOptionsT()
            options.inDataType, options.outDataType = TENSOR_TYPES[source], TENSOR_TYPES[dtype]
            return self.op("CAST", 1, [x], self.tensor(name, dtype, shape), options)

        begin, size = self.constant("begin", [0, 0, 0, 0], "int32"), self.constant("size", [1, 1, 1, 2], "int32")
        values = self.tensor("values", "int8", [1, 1, 1, 2], quant)
        self.op("SLICE", 2, [x, begin, size], values, schema.SliceOptionsT())
        dims = cast("dims", self.reshape(values, [2], "int8", quant), "int8", "int32", [2])
        least = self.constant("least", [side, side], "int32")
        dims = self.op("MAXIMUM", 1, [dims, least], self.tensor("larger", "int32", [2]), schema.MaximumMinimumOptionsT())
        one = self.constant("one", np.float32(1), "float32")
        filled = self.op("FILL", 1, [dims, one], self.tensor("filled", "float32", [1, 1]), schema.FillOptionsT())
        options = schema.ConcatenationOptionsT()
        options.axis = 0
        twice = self.op("CONCATENATION", 1, [filled, filled], self.tensor("twice", "float32", [2, 1]), options)
        cast("unread", twice, "float32", "int32", [2, 1])

    def custom(self, code: str, x: int, dtype: str, shape: Sequence[int], quant: Quant) -> int:
        return self.op("CUSTOM", 1, [x], self.tensor("logits", dtype, shape, quant), custom_code=code)


def wrapped(model: bytes, code: str) -> bytes:
    """A model with the same two ends whose only operator is the custom one of this name; its options are `model`."""
    whole = schema.ModelT.InitFromPackedBuf(model, 0)
    inside = whole.subgraphs[0]
    g = Graph(f"{whole.description.decode()}, compiled")
    for end in (inside.inputs, inside.outputs):
        (index,) = end
        tensor = inside.tensors[index]
        tensor.buffer = 0
        g.tensors.append(tensor)
    g.inputs = [0]
    g.op("CUSTOM", 1, [0], 1, custom_code=code)
    g.operators[0].customOptions = np.frombuffer(model, np.uint8)
    return g.build([1])
