"""Builds TFLite flatbuffers one operator at a time, from the schema's own object API.

Knows tensors, quantisation and the operators of a PSPNet. What a model means is its caller's matter: tflite.py writes
networks, tests/models writes the daemon's test models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

Padding = Literal["SAME", "VALID"]
Activation = Literal["none", "relu", "relu6"]

TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}
ACTIVATIONS = {
    "none": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
INT8_VERSIONS = {"int8": 2, "int16": 3}
"""Of the pools; CONV_2D and DEPTHWISE_CONV_2D are one higher."""


@dataclass(frozen=True)
class Quant:
    """real = scale * (quantised - zero_point); several scales mean one per channel of dimension `axis`."""

    scale: float | Sequence[float] | NDArray[np.floating[Any]]
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

    head: int

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

    def conv(
        self,
        name: str,
        x: int,
        weights: int,
        bias: int,
        dtype: str,
        quant: Quant | None,
        signature: Sequence[int] | None = None,
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: Padding = "SAME",
        activation: Activation = "none",
    ) -> int:
        """CONV_2D; `weights` are `[outputs, kh, kw, inputs]`."""
        options = schema.Conv2DOptionsT()
        self.window(options, padding, stride, activation)
        options.dilationHFactor, options.dilationWFactor = dilation
        version = {"int8": 3, "int16": 4}.get(dtype, 1)
        channels, kh, kw, _ = self.shape(weights)
        shape = self.slid(x, (kh, kw), stride, dilation, padding, channels)
        out = self.tensor(name, dtype, shape, quant, signature=signature)
        return self.op("CONV_2D", version, [x, weights, bias], out, options)

    def depthwise(
        self,
        name: str,
        x: int,
        weights: int,
        bias: int,
        dtype: str,
        quant: Quant | None,
        *,
        stride: tuple[int, int] = (1, 1),
        dilation: tuple[int, int] = (1, 1),
        padding: Padding = "SAME",
        activation: Activation = "none",
    ) -> int:
        """DEPTHWISE_CONV_2D; `weights` are `[1, kh, kw, outputs]`."""
        options = schema.DepthwiseConv2DOptionsT()
        self.window(options, padding, stride, activation)
        options.dilationHFactor, options.dilationWFactor = dilation
        _, kh, kw, channels = self.shape(weights)
        options.depthMultiplier = channels // self.shape(x)[3]
        version = 3 if dtype == "int8" else 2 if dilation != (1, 1) else 1
        out = self.tensor(name, dtype, self.slid(x, (kh, kw), stride, dilation, padding, channels), quant)
        return self.op("DEPTHWISE_CONV_2D", version, [x, weights, bias], out, options)

    def average_pool(
        self,
        x: int,
        height: int,
        width: int,
        dtype: str,
        quant: Quant | None,
        signature: Sequence[int] | None = None,
        *,
        name: str = "cells",
    ) -> int:
        """AVERAGE_POOL_2D with kernel = stride and no padding."""
        n, h, w, c = self.shape(x)
        out_shape = [n, max(h // height, 1), max(w // width, 1), c]
        out = self.tensor(name, dtype, out_shape, quant, signature=signature)
        return self.pool("AVERAGE_POOL_2D", x, out, dtype, (height, width), (height, width), "VALID")

    def max_pool(
        self,
        name: str,
        x: int,
        dtype: str,
        quant: Quant | None,
        *,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
    ) -> int:
        shape = self.slid(x, kernel, stride, (1, 1), padding, self.shape(x)[3])
        out = self.tensor(name, dtype, shape, quant)
        return self.pool("MAX_POOL_2D", x, out, dtype, kernel, stride, padding)

    def pool(
        self,
        operator: str,
        x: int,
        out: int,
        dtype: str,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        padding: Padding,
    ) -> int:
        options = schema.Pool2DOptionsT()
        self.window(options, padding, stride, "none")
        options.filterHeight, options.filterWidth = kernel
        return self.op(operator, INT8_VERSIONS.get(dtype, 1), [x], out, options)

    def pad(self, name: str, x: int, dtype: str, quant: Quant | None, pads: tuple[int, int, int, int]) -> int:
        """PAD with real zeros; `pads` are top, bottom, left, right."""
        top, bottom, left, right = pads
        amounts = self.constant(f"{name}/amounts", [[0, 0], [top, bottom], [left, right], [0, 0]], "int32")
        n, h, w, c = self.shape(x)
        out = self.tensor(name, dtype, [n, h + top + bottom, w + left + right, c], quant)
        return self.op("PAD", INT8_VERSIONS.get(dtype, 1), [x, amounts], out, schema.PadOptionsT())

    def quantize(self, name: str, x: int, dtype: str, quant: Quant) -> int:
        out = self.tensor(name, dtype, self.shape(x), quant)
        return self.op("QUANTIZE", 1, [x], out, schema.QuantizeOptionsT())

    def resize_bilinear(
        self,
        x: int,
        height: int,
        width: int,
        dtype: str,
        quant: Quant | None,
        *,
        name: str = "logits_full",
        size_name: str = "size",
        align_corners: bool = False,
    ) -> int:
        """RESIZE_BILINEAR with half-pixel centres (version 3), or corners on corners, which older readers know too."""
        n, _, _, c = self.shape(x)
        size = self.constant(size_name, [height, width], "int32")
        out = self.tensor(name, dtype, [n, height, width, c], quant)
        options = schema.ResizeBilinearOptionsT()
        options.alignCorners, options.halfPixelCenters = align_corners, not align_corners
        version = 3 if not align_corners else 2 if dtype == "int8" else 1
        return self.op("RESIZE_BILINEAR", version, [x, size], out, options)

    def tile(self, name: str, x: int, height: int, width: int, dtype: str, quant: Quant | None) -> int:
        """Repeats a 1x1 map."""
        n, _, _, c = self.shape(x)
        times = self.constant(f"{name}/times", [1, height, width, 1], "int32")
        out = self.tensor(name, dtype, [n, height, width, c], quant)
        return self.op("TILE", 1, [x, times], out, schema.TileOptionsT())

    def concatenation(self, name: str, inputs: Sequence[int], dtype: str, quant: Quant | None) -> int:
        """Along the channels; of int8, all `inputs` must have the scale and zero point of the output."""
        n, h, w, _ = self.shape(inputs[0])
        options = schema.ConcatenationOptionsT()
        options.axis = 3
        out = self.tensor(name, dtype, [n, h, w, sum(self.shape(x)[3] for x in inputs)], quant)
        return self.op("CONCATENATION", INT8_VERSIONS.get(dtype, 1), inputs, out, options)

    def add(
        self, a: int, b: int, dtype: str, quant: Quant | None, *, name: str = "sum", activation: Activation = "none"
    ) -> int:
        options = schema.AddOptionsT()
        options.fusedActivationFunction = ACTIVATIONS[activation]
        out = self.tensor(name, dtype, self.shape(a), quant)
        return self.op("ADD", INT8_VERSIONS.get(dtype, 1), [a, b], out, options)

    def window(self, options: Any, padding: Padding, stride: tuple[int, int], activation: Activation) -> None:
        """Fills what the options of all operators with a sliding window have in common."""
        options.padding = getattr(schema.Padding, padding)
        options.strideH, options.strideW = stride
        options.fusedActivationFunction = ACTIVATIONS[activation]

    def slid(
        self,
        x: int,
        kernel: tuple[int, int],
        stride: tuple[int, int],
        dilation: tuple[int, int],
        padding: Padding,
        channels: int,
    ) -> list[int]:
        """The shape that a sliding window leaves."""
        n, *sizes, _ = self.shape(x)
        reach = [0 if padding == "SAME" else d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        return [n, *(-(-(size - r) // s) for size, r, s in zip(sizes, reach, stride, strict=True)), channels]

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
