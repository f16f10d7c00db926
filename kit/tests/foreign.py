"""Networks as others export them, for the tests of `kit adopt`: the same weights at any size."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from graph import Graph, Quant

Q = Quant(1 / 128, -1)
LOGITS = Quant(0.05, 3)
Tail = Callable[[Graph, int], int]


def weights(g: Graph, name: str, shape: list[int], seed: int) -> tuple[int, int]:
    """Random weights and biases of a convolution, the same for every size of the picture."""
    values = np.random.default_rng(seed).integers(-127, 128, shape)
    outputs = shape[3] if shape[0] == 1 and name.startswith("depthwise") else shape[0]
    axis = 3 if name.startswith("depthwise") else 0
    scales = Quant(np.full(outputs, 0.004), 0, axis)
    w = g.constant(f"{name}/weights", values, "int8", scales)
    return w, g.constant(f"{name}/bias", np.zeros(outputs), "int32", Quant(np.full(outputs, 0.004 / 128), 0))


def segmenter(height: int, width: int, tail: Tail | None = None, pyramid: bool = True) -> bytes:
    """A small encoder and decoder with a pyramid of pools; `tail` adds what exporters put behind the logits."""
    g = Graph("somebody else's")
    x = g.input("int8", [1, height, width, 3], Q)
    out = trunk(g, x, pyramid)
    return g.build([tail(g, out) if tail else out])


def trunk(g: Graph, x: int, pyramid: bool = True) -> int:
    """The network behind the picture `x`: its logits, at half of the picture's size."""
    fine = g.conv("stem", x, *weights(g, "stem", [8, 3, 3, 3], 1), "int8", Q, stride=(2, 2), activation="relu6")
    deep = g.depthwise("depthwise", fine, *weights(g, "depthwise", [1, 3, 3, 8], 2), "int8", Q, stride=(2, 2))
    deep = g.conv("mix", deep, *weights(g, "mix", [8, 1, 1, 8], 3), "int8", Q)
    _, h, w, _ = g.shape(deep)
    if pyramid:
        branches = [deep]
        for name, bins in (("all", 1), ("halves", 2)):
            pooled = g.average_pool(deep, h // bins, w // bins, "int8", Q, name=name)
            branches.append(g.resize_bilinear(pooled, h, w, "int8", Q, name=f"{name}/up", size_name=f"{name}/size"))
        deep = g.concatenation("joined", branches, "int8", Q)
    deep = g.conv("squeeze", deep, *weights(g, "squeeze", [8, 1, 1, g.shape(deep)[3]], 4), "int8", Q)
    _, h, w, _ = g.shape(fine)
    up = g.resize_bilinear(deep, h, w, "int8", Q, name="up", size_name="up/size")
    joined = g.add(fine, up, "int8", Q)
    return g.conv("classifier", joined, *weights(g, "classifier", [5, 1, 1, 8], 5), "int8", LOGITS)


def resized(g: Graph, x: int, align_corners: bool = False) -> int:
    """The logits at the picture's size."""
    _, height, width, _ = g.shape(g.inputs[0])
    return g.resize_bilinear(x, height, width, "int8", LOGITS, align_corners=align_corners)


def softmax(g: Graph, x: int, dtype: str = "int8") -> int:
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    quant = Quant(1 / 256, -128) if dtype == "int8" else None
    return g.op("SOFTMAX", 2 if dtype == "int8" else 1, [x], g.tensor("softmax", dtype, g.shape(x), quant), options)


def run(content: bytes, tensor: np.ndarray) -> np.ndarray:
    """The first output."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], tensor)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    """An int8 picture."""
    return np.random.default_rng(seed).integers(-128, 128, (1, height, width, 3)).astype(np.int8)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def shapes(model: Any) -> list[list[int]]:
    """Of a ModelT's tensors."""
    return [[int(side) for side in tensor.shape] for tensor in model.subgraphs[0].tensors]
