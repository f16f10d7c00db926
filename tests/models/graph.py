"""Builds TFLite flatbuffers one operator at a time, from the schema's own object API.

Knows tensors, quantisation and the operators that the test models use. What the models mean is in make.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}


@dataclass(frozen=True)
class Quant:
    """real = scale * (quantised - zero_point); several scales mean one per channel of dimension `axis`."""

    scale: float | Sequence[float] | NDArray[np.float64]
    zero_point: int = 0
    axis: int = 0

    @property
    def step(self) -> float:
        """The scale of a tensor that has only one."""
        return float(np.atleast_1d(self.scale)[0])

    def pack(self) -> schema.QuantizationParametersT:
        scales = np.atleast_1d(np.asarray(self.scale, np.float32))
        packed = schema.QuantizationParametersT()
        packed.scale = [float(s) for s in scales]
        packed.zeroPoint = [self.zero_point] * len(scales)
        packed.quantizedDimension = self.axis
        return packed


class AlignedBuilder(flatbuffers.Builder):
    """Puts every array on a 16-byte boundary, as the schema's `force_align: 16` asks; the Python packer alone does not,
    and ARM kernels read the weights in place."""

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 (the base class names it)
        self.StartVector(x.itemsize, x.size, 16)
        self.head = self.head - x.nbytes
        self.Bytes[self.head : self.head + x.nbytes] = x.tobytes(order="C")
        return self.EndVector()


class Graph:
    """One subgraph. Every method that adds an operator returns the index of its output tensor."""

    def __init__(self, description: str) -> None:
        self.description = description
        self.tensors: list[schema.TensorT] = []
        self.buffers: list[schema.BufferT] = [schema.BufferT()]  # buffer 0 is empty by convention
        self.codes: list[schema.OperatorCodeT] = []
        self.operators: list[schema.OperatorT] = []
        self.inputs: list[int] = []

    # Tensors

    def tensor(
        self,
        name: str,
        dtype: str,
        shape: Sequence[int],
        quant: Quant | None = None,
        data: np.ndarray | None = None,
        signature: Sequence[int] | None = None,
    ) -> int:
        t = schema.TensorT()
        t.name, t.type, t.shape = name, TENSOR_TYPES[dtype], list(shape)
        t.shapeSignature = list(signature) if signature else None
        t.quantization = quant.pack() if quant else None
        t.buffer = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data, dtype=dtype).tobytes(), np.uint8)
            t.buffer = len(self.buffers)
            self.buffers.append(buffer)
        self.tensors.append(t)
        return len(self.tensors) - 1

    def constant(self, name: str, data: Any, dtype: str, quant: Quant | None = None) -> int:
        array = np.asarray(data)
        return self.tensor(name, dtype, array.shape, quant, array)

    def input(
        self,
        dtype: str,
        shape: Sequence[int],
        quant: Quant | None = None,
        signature: Sequence[int] | None = None,
    ) -> int:
        index = self.tensor(f"image{len(self.inputs) or ''}", dtype, shape, quant, signature=signature)
        self.inputs.append(index)
        return index

    def shape(self, tensor: int) -> list[int]:
        return list(self.tensors[tensor].shape)

    # Operators

    def op(
        self,
        name: str,
        version: int,
        inputs: Sequence[int],
        output: int,
        options: Any = None,
        custom_code: str | None = None,
    ) -> int:
        builtin = getattr(schema.BuiltinOperator, name)
        key = (builtin, version, custom_code)
        known = [(c.builtinCode, c.version, c.customCode) for c in self.codes]
        if key not in known:
            code = schema.OperatorCodeT()
            code.builtinCode, code.version, code.customCode = key
            code.deprecatedBuiltinCode = min(builtin, 127)
            self.codes.append(code)
            known.append(key)
        operator = schema.OperatorT()
        operator.opcodeIndex = known.index(key)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.operators.append(operator)
        return output

    def average_pool(
        self,
        x: int,
        height: int,
        width: int,
        dtype: str,
        quant: Quant | None,
        signature: Sequence[int] | None = None,
    ) -> int:
        n, h, w, c = self.shape(x)
        out_shape = [n, max(h // height, 1), max(w // width, 1), c]
        options = schema.Pool2DOptionsT()
        options.padding = schema.Padding.VALID
        options.strideH = options.filterHeight = height
        options.strideW = options.filterWidth = width
        version = {"int8": 2, "int16": 3}.get(dtype, 1)
        out = self.tensor("cells", dtype, out_shape, quant, signature=signature)
        return self.op("AVERAGE_POOL_2D", version, [x], out, options)

    def conv(
        self,
        name: str,
        x: int,
        weights: int,
        bias: int,
        dtype: str,
        quant: Quant | None,
        signature: Sequence[int] | None = None,
    ) -> int:
        n, h, w, _ = self.shape(x)
        options = schema.Conv2DOptionsT()
        options.padding = schema.Padding.SAME
        options.strideH = options.strideW = options.dilationHFactor = options.dilationWFactor = 1
        version = {"int8": 3, "int16": 4}.get(dtype, 1)
        out = self.tensor(name, dtype, [n, h, w, self.shape(weights)[0]], quant, signature=signature)
        return self.op("CONV_2D", version, [x, weights, bias], out, options)

    def quantize(self, name: str, x: int, dtype: str, quant: Quant) -> int:
        out = self.tensor(name, dtype, self.shape(x), quant)
        return self.op("QUANTIZE", 1, [x], out, schema.QuantizeOptionsT())

    def dequantize(self, x: int) -> int:
        return self.op("DEQUANTIZE", 2, [x], self.tensor("logits_float", "float32", self.shape(x)))

    def transpose(self, name: str, x: int, order: Sequence[int], dtype: str, quant: Quant) -> int:
        shape = self.shape(x)
        axes = self.constant(f"{name}_order", list(order), "int32")
        out = self.tensor(name, dtype, [shape[i] for i in order], quant)
        return self.op("TRANSPOSE", 2, [x, axes], out, schema.TransposeOptionsT())

    def resize_bilinear(self, x: int, height: int, width: int, dtype: str, quant: Quant) -> int:
        n, _, _, c = self.shape(x)
        size = self.constant("size", [height, width], "int32")
        out = self.tensor("logits_full", dtype, [n, height, width, c], quant)
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners, options.halfPixelCenters = False, True
        return self.op("RESIZE_BILINEAR", 3, [x, size], out, options)

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

    def add(self, a: int, b: int, dtype: str, quant: Quant) -> int:
        out = self.tensor("sum", dtype, self.shape(a), quant)
        return self.op("ADD", 2, [a, b], out, schema.AddOptionsT())

    def custom(self, code: str, x: int, dtype: str, shape: Sequence[int], quant: Quant) -> int:
        return self.op("CUSTOM", 1, [x], self.tensor("logits", dtype, shape, quant), custom_code=code)

    # The file

    def build(self, outputs: Sequence[int]) -> bytes:
        """The model file; `outputs` are the tensors that leave the graph."""
        subgraph = schema.SubGraphT()
        subgraph.name = "main"
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs, subgraph.outputs = self.inputs, list(outputs)
        model = schema.ModelT()
        model.version, model.description = 3, self.description
        model.operatorCodes, model.subgraphs, model.buffers = self.codes, [subgraph], self.buffers
        builder = AlignedBuilder(4096)
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())
