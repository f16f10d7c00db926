"""Writes small int8 .tflite files whose answers are known, for tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from pspnet_kit.export.flatbuffer import Graph, Quant


def identity(path: Path, height: int, width: int, kind: str = "uint8") -> Path:
    """A model whose three logits are the red, green and blue of its input: a maximum over one pixel."""
    graph = Graph("identity")
    quant = Quant(1 / 128, 127 if kind == "uint8" else -1)
    image = graph.input(kind, [1, height, width, 3], quant)
    output = graph.max_pool("logits", image, kind, quant, kernel=(1, 1), stride=(1, 1), padding="VALID")
    path.write_bytes(graph.build([output]))
    return path


def convolution(path: Path, height: int, width: int, classes: int) -> Path:
    """A 3x3 convolution of stride 2, int8, all weights 1 and biases 0: every class has the same logit."""
    graph = Graph("convolution")
    image = graph.input("int8", [1, height, width, 3], Quant(1 / 128, -1))
    weights = graph.constant("weights", np.ones((classes, 3, 3, 3)), "int8", Quant(0.01))
    bias = graph.constant("bias", np.zeros(classes), "int32", Quant(0.01 / 128))
    output = graph.conv("logits", image, weights, bias, "int8", Quant(0.1), stride=(2, 2))
    path.write_bytes(graph.build([output]))
    return path
