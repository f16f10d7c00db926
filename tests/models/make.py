#!/usr/bin/env python3
"""Makes the tiny TFLite models of this folder and checks each in TFLite against numpy.

    python3 -m venv .venv && .venv/bin/pip install -r tests/models/requirements.txt
    .venv/bin/python tests/models/make.py            # write, then check
    .venv/bin/python tests/models/make.py --check    # only compare what lies here with what would be written

Every model is the same true classifier: each cell's mean colour goes to the nearest corner of the RGB cube.
logit_c = 2 x.p_c - |p_c|^2 is the part of -|x - p_c|^2 that depends on c, so one 1x1 convolution does it.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from graph import Graph, Quant, wrapped

HERE = Path(__file__).resolve().parent
NAMES = ["black", "white", "red", "green", "blue", "yellow", "cyan", "magenta"]
CORNERS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], np.float64)

# Inputs: how a pixel p (0..255) becomes the tensor's value v. UNIT: v = p/255. SIGNED: v = p/127.5 - 1.
UNIT_INT8 = Quant(1 / 255, -128)
UNIT_UINT8 = Quant(1 / 255, 0)
UNIT_INT16 = Quant(1 / 32767, 0)
SIGNED = Quant(1 / 127.5, 0)
IMAGENET = Quant(0.0186584, -14)
IMAGENET_MEAN = np.array([0.485, 0.456, 0.406])
IMAGENET_STD = np.array([0.229, 0.224, 0.225])
ZERO, ONE, HALF = np.zeros(3), np.ones(3), np.full(3, 0.5)

# Logits lie in -3..3.
LOGITS_INT8 = Quant(6 / 255, 0)
LOGITS_UINT8 = Quant(6 / 255, 128)
LOGITS_INT16 = Quant(4 / 32767, 0)


@dataclass(frozen=True)
class Built:
    """A model file and what numpy needs to foretell its result."""

    data: bytes
    stride: int = 8
    # value = (pixel / 255 - mean) / std
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    # What to compare: "classes" (the argmax over the last axis, or the classes themselves), "full" (classes at the
    # input's size), "runs" (it only has to run), "loads" (it is not run: it would write to its own file), "fails" (TFLite
    # itself refuses it), "aborts" (TFLite ends its process).
    check: str = "classes"
    # XNNPACK can't prepare it.
    without_xnnpack: bool = False


def affine(mean: np.ndarray, std: np.ndarray, corners: np.ndarray = CORNERS) -> tuple[np.ndarray, np.ndarray]:
    """Weights [classes, 3] and bias [classes] for an input that was normalised as (p/255 - mean) / std."""
    return 2 * corners * std, 2 * corners @ mean - (corners**2).sum(axis=1)


def classifier(
    g: Graph,
    x: int,
    dtype: str,
    x_quant: Quant | None,
    out_quant: Quant | None,
    mean: np.ndarray = ZERO,
    std: np.ndarray = ONE,
    corners: np.ndarray = CORNERS,
    channels: int = 3,
    signature: list[int] | None = None,
) -> int:
    """The 1x1 convolution from `channels` colours (those past the third are ignored) to one logit per corner."""
    weights, bias = affine(mean, std, corners)
    if channels == 1:
        weights = weights.sum(axis=1, keepdims=True)
    elif channels > 3:
        weights = np.pad(weights, ((0, 0), (0, channels - 3)))
    shaped = weights.reshape(len(corners), 1, 1, channels)
    if x_quant is None:
        w = g.constant("weights", shaped, "float32")
        b = g.constant("bias", bias, "float32")
    elif dtype == "uint8":  # the old kind: one scale and zero point for all weights
        scale = float(np.float32(shaped.max() / 255))
        w = g.constant("weights", np.rint(shaped / scale), "uint8", Quant(scale, 0))
        b_quant = Quant(x_quant.step * scale, 0)
        b = g.constant("bias", np.rint(bias / b_quant.step), "int32", b_quant)
    else:
        scales = (np.maximum(np.abs(weights).max(axis=1), 1.0) / 127).astype(np.float32).astype(np.float64)
        w = g.constant("weights", np.rint(shaped / scales[:, None, None, None]), "int8", Quant(scales, 0))
        b_scales = scales * float(np.float32(x_quant.step))
        b_type = "int64" if dtype == "int16" else "int32"
        b = g.constant("bias", np.rint(bias / b_scales), b_type, Quant(b_scales, 0))
    return g.conv("logits", x, w, b, dtype, out_quant, signature)


def colours(
    description: str,
    height: int = 64,
    width: int = 96,
    dtype: str = "int8",
    quant: Quant = UNIT_INT8,
    mean: np.ndarray = ZERO,
    std: np.ndarray = ONE,
    stride: int = 8,
    slow_layers: int = 0,
    grows: int = 0,
    tail: Callable[[Graph, int], int] | None = None,
    check: str = "classes",
) -> Built:
    """The base model; `tail` adds operators behind the logits."""
    g = Graph(description)
    x = g.input(dtype, [1, height, width, 3], quant)
    if slow_layers:
        x = slow(g, x, quant, slow_layers)
    channels = g.shape(x)[3]
    x = g.average_pool(x, stride, stride, dtype, quant)
    out_quant = LOGITS_UINT8 if dtype == "uint8" else LOGITS_INT8
    out = classifier(g, x, dtype, quant, out_quant, mean, std, channels=channels)
    if grows:
        g.grow(g.inputs[0], grows, quant)
    return Built(g.build([tail(g, out) if tail else out]), stride, tuple(mean), tuple(std), check)


def slow(g: Graph, x: int, quant: Quant, layers: int) -> int:
    """3x3 convolutions that hand the colours on unchanged: much arithmetic, no change of the answer. They are of floats and of 8
    channels, which no processor is much better at than others; with int8 and 64 channels the ones with units for matrices were ten
    times as fast. All layers after the first read the same weights, which keeps the file small."""

    def identity(name: str, inputs: int) -> tuple[int, int]:
        taps = np.zeros((8, 3, 3, inputs))
        taps[range(3), 1, 1, range(3)] = 1
        weights = g.constant(f"{name}_weights", taps, "float32")
        return weights, g.constant(f"{name}_bias", np.zeros(8), "float32")

    x = g.op("DEQUANTIZE", 2, [x], g.tensor("image_float", "float32", g.shape(x)))
    x = g.conv("spread", x, *identity("spread", 3), "float32", None)
    shared = identity("hold", 8)
    for i in range(layers):
        x = g.conv(f"hold{i}", x, *shared, "float32", None)
    return g.quantize("held", x, "int8", quant)


def uint8_as_converters_do() -> Built:
    """uint8 outside, int8 inside: QUANTIZE at both ends, as today's converters write it."""
    g = Graph("colours, uint8 in and out around int8")
    x = g.input("uint8", [1, 64, 96, 3], UNIT_UINT8)
    x = g.quantize("image_int8", x, "int8", UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    return Built(g.build([g.quantize("logits_uint8", out, "uint8", LOGITS_UINT8)]))


def uint8_in_int8_out() -> Built:
    g = Graph("colours, uint8 in, int8 logits")
    x = g.input("uint8", [1, 64, 96, 3], UNIT_UINT8)
    x = g.quantize("image_int8", x, "int8", UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)]))


def constant_input() -> Built:
    """The input tensor has a buffer in the file."""
    g = Graph("constant input")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    constant = g.constant("grey", np.zeros([1, 64, 96, 3]), "int8", UNIT_INT8)
    g.tensors[x].buffer = g.tensors[constant].buffer
    pooled = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, pooled, "int8", UNIT_INT8, LOGITS_INT8)]), check="loads")


def unscaled() -> Built:
    """ARG_MAX over the three channels themselves: classes red, green, blue."""
    g = Graph("int8 without scale and zero point")
    x = g.input("int8", [1, 64, 96, 3])
    return Built(g.build([g.argmax(x, "int32")]), check="runs")


# Models that the program refuses


def float32(out_only: bool) -> Built:
    g = Graph("float logits" if out_only else "float in and out")
    if out_only:
        x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
        x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
        out = g.dequantize(classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8))
    else:
        x = g.input("float32", [1, 64, 96, 3])
        out = classifier(g, g.average_pool(x, 8, 8, "float32", None), "float32", None, None)
    return Built(g.build([out]))


def channels(count: int) -> Built:
    g = Graph(f"{count} input channels")
    x = g.input("int8", [1, 64, 96, count], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8, channels=count)]), check="runs")


def nchw(inputs: bool, outputs: bool) -> Built:
    g = Graph("channels first")
    if inputs:
        x = g.input("int8", [1, 3, 64, 96], UNIT_INT8)
        x = g.transpose("image_nhwc", x, [0, 2, 3, 1], "int8", UNIT_INT8)
    else:
        x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    if outputs:
        out = g.transpose("logits_nchw", out, [0, 3, 1, 2], "int8", LOGITS_INT8)
    return Built(g.build([out]), check="runs")


def batch2() -> Built:
    g = Graph("batch of two")
    x = g.input("int8", [2, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)]))


def two_inputs() -> Built:
    g = Graph("two pictures in")
    a, b = (g.input("int8", [1, 64, 96, 3], UNIT_INT8) for _ in range(2))
    x = g.add(a, b, "int8", UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)]), check="runs")


def two_outputs() -> Built:
    g = Graph("logits and classes out")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    return Built(g.build([out, g.argmax(out, "int32")]), check="runs")


def int16() -> Built:
    g = Graph("int16 activations, int8 weights")
    x = g.input("int16", [1, 64, 96, 3], UNIT_INT16)
    x = g.average_pool(x, 8, 8, "int16", UNIT_INT16)
    return Built(g.build([classifier(g, x, "int16", UNIT_INT16, LOGITS_INT16)]))


def dynamic(pool: bool) -> Built:
    """As converters write it: -1 in the signature, 1 in the shape. A pool of 8x8 finds no cell in a 1x1 picture, so
    with one XNNPACK fails to allocate; without one TFLite allocates and runs on a single pixel."""
    g = Graph("any height and width")
    anything = [1, -1, -1]
    x = g.input("int8", [1, 1, 1, 3], UNIT_INT8, signature=[*anything, 3])
    if pool:
        x = g.average_pool(x, 8, 8, "int8", UNIT_INT8, signature=[*anything, 3])
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8, signature=[*anything, 8])
    return Built(g.build([out]), stride=8 if pool else 1)


def classes(count: int) -> Built:
    g = Graph(f"{count} classes")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    corners = np.resize(CORNERS, (count, 3))
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8, corners=corners)]), check="runs")


def uneven_stride() -> Built:
    g = Graph("stride 8 down, 4 across")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 4, "int8", UNIT_INT8)
    return Built(g.build([classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)]), check="runs")


def picture_classifier() -> Built:
    g = Graph("one answer for the whole picture")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 64, 96, "int8", UNIT_INT8)
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    return Built(g.build([g.reshape(out, [1, 8], "int8", LOGITS_INT8)]), check="runs")


def edgetpu() -> Built:
    g = Graph("compiled for an Edge TPU")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    return Built(g.build([g.custom("edgetpu-custom-op", x, "int8", [1, 8, 12, 8], LOGITS_INT8)]), check="fails")


def aborts() -> Built:
    """The sum's scale is so small that TFLite's factor for it is above 1. TFLite checks that by an assertion of its own, on every
    processor and with every memory: it calls abort() while it lays the tensors out."""
    g = Graph("a sum with too small a scale")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    out = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    return Built(g.build([g.add(out, out, "int8", Quant(1e-9, 0))]), check="aborts")


def beyond_xnnpack() -> Built:
    """The base model, and channels added to its logits that died in training: all their weights are 0, and a converter that saw nothing
    but 0 gave them a tiny scale. XNNPACK makes no convolution with such a scale, and then refuses all the operators that it took;
    TFLite's own kernels run it."""
    g = Graph("one operator that XNNPACK can't prepare")
    x = g.input("int8", [1, 64, 96, 3], UNIT_INT8)
    x = g.average_pool(x, 8, 8, "int8", UNIT_INT8)
    scales = np.full(8, np.float32(1 / 127), np.float64)
    weights = g.constant("dead_weights", np.zeros((8, 1, 1, 3)), "int8", Quant(scales, 0))
    bias = g.constant("dead_bias", np.zeros(8), "int32", Quant(scales * float(np.float32(UNIT_INT8.step)), 0))
    dead = g.conv("dead", x, weights, bias, "int8", Quant(8e-9, 0), activation="relu")
    logits = classifier(g, x, "int8", UNIT_INT8, LOGITS_INT8)
    return Built(g.build([g.add(logits, dead, "int8", LOGITS_INT8)]), without_xnnpack=True)


def compiled(built: Built) -> Built:
    """What edgetpu_compiler makes of a model that it can take whole: one operator, same ends. Instead of instructions for
    an Edge TPU it holds the model itself, which tests/support/fake-edgetpu runs."""
    return Built(wrapped(built.data, "edgetpu-custom-op"), check="fails")


MODELS: dict[str, Callable[[], Built]] = {
    "colours_96x64_int8": lambda: colours("colours, int8"),
    "colours_96x64_uint8": lambda: colours("colours, uint8 throughout", dtype="uint8", quant=UNIT_UINT8),
    "colours_96x64_uint8_wrapped": uint8_as_converters_do,
    "colours_96x64_uint8_in_int8_out": uint8_in_int8_out,
    "colours_96x64_int8_stride4": lambda: colours("colours, stride 4", stride=4),
    "colours_96x64_int8_stride16": lambda: colours("colours, stride 16", stride=16),
    "colours_96x64_int8_signed": lambda: colours("colours, -1..1 input", quant=SIGNED, mean=HALF, std=HALF),
    "colours_96x64_int8_imagenet": lambda: colours(
        "colours, ImageNet input", quant=IMAGENET, mean=IMAGENET_MEAN, std=IMAGENET_STD
    ),
    "colours_320x240_int8": lambda: colours("colours, int8, fast", 240, 320),
    "colours_320x240_int8_slow": lambda: colours("colours, int8, slow", 240, 320, slow_layers=SLOW_LAYERS),
    "colours_96x64_int8_grows": lambda: colours("colours, the arena grows", grows=20),
    "colours_768x512_int8_grows": lambda: colours("colours, the arena grows by far", 512, 768, grows=3000),
    "argmax_96x64_int64": lambda: colours("classes, int64", tail=lambda g, x: g.argmax(x, "int64")),
    "argmax_96x64_int32": lambda: colours("classes, int32", tail=lambda g, x: g.argmax(x, "int32")),
    "argmax_96x64_uint8": lambda: colours(
        "classes, uint8", tail=lambda g, x: g.cast(g.argmax(x, "int32"), "int32", "uint8")
    ),
    "argmax_96x64_int64_rank4": lambda: colours(
        "classes, int64, rank 4", tail=lambda g, x: g.reshape(g.argmax(x, "int64"), [1, 8, 12, 1], "int64")
    ),
    "argmax_96x64_int64_full": lambda: colours(
        "classes, int64, the input's size",
        tail=lambda g, x: g.argmax(g.resize_bilinear(x, 64, 96, "int8", LOGITS_INT8), "int64"),
        check="full",
    ),
    "colours_96x64_int8_beyond_xnnpack": beyond_xnnpack,
    "unscaled_96x64_int8": unscaled,
    "refused_float32": lambda: float32(out_only=False),
    "refused_float32_out": lambda: float32(out_only=True),
    "refused_4_channels": lambda: channels(4),
    "refused_1_channel": lambda: channels(1),
    "refused_nchw": lambda: nchw(True, True),
    "refused_nchw_in": lambda: nchw(True, False),
    "refused_nchw_out": lambda: nchw(False, True),
    "refused_batch2": batch2,
    "refused_two_inputs": two_inputs,
    "refused_two_outputs": two_outputs,
    "refused_int16": int16,
    "refused_constant_input": constant_input,
    "refused_dynamic": lambda: dynamic(pool=False),
    "refused_dynamic_pool": lambda: dynamic(pool=True),
    "refused_1_class": lambda: classes(1),
    "refused_300_classes": lambda: classes(300),
    "refused_output_aspect": uneven_stride,
    "refused_picture_classifier": picture_classifier,
    "refused_edgetpu": edgetpu,
    "refused_aborts": aborts,
    "colours_edgetpu": lambda: compiled(MODELS["colours_96x64_int8"]()),
}
# The folders as the program installs them: a model and its manifest.
FOLDERS = {"colours": "colours_96x64_int8", "colours-imagenet": "colours_96x64_int8_imagenet"}
# The same with the file that was compiled from the model: `model_edgetpu.tflite`.
PAIRS = {"colours-pair": ("colours_96x64_int8", "colours_edgetpu")}
SLOW_LAYERS = 80


def manifest(name: str, built: Built, compiled: Built | None = None) -> bytes:
    lines = [
        f'name = "{name}"',
        'version = "1.0.0"',
        'licence = "MIT OR Apache-2.0"',
        "",
        "[file]",
        'path = "model.tflite"',
        f'sha256 = "{hashlib.sha256(built.data).hexdigest()}"',
        "",
        *edgetpu_section(compiled),
        "[input]",
        # The manifest counts in pixels, 0..255.
        f"mean = {[round(float(m) * 255, 3) for m in built.mean]}",
        f"std = {[round(float(s) * 255, 3) for s in built.std]}",
    ]
    for label, corner in zip(NAMES, CORNERS):
        color = "#" + "".join(f"{int(c * 255):02x}" for c in corner)
        lines += ["", "[[classes]]", f'name = "{label}"', f'color = "{color}"']
    return ("\n".join(lines) + "\n").encode()


def edgetpu_section(compiled: Built | None) -> list[str]:
    if compiled is None:
        return []
    digest = hashlib.sha256(compiled.data).hexdigest()
    return ["[edgetpu]", 'path = "model_edgetpu.tflite"', f'sha256 = "{digest}"', ""]


# The check


def pictures(height: int, width: int) -> list[np.ndarray]:
    """Blocks of the eight corners, blocks of random colours, and noise."""
    random = np.random.default_rng(7)
    rows, columns = -(-height // 16), -(-width // 16)
    corner_ids = np.arange(rows * columns).reshape(rows, columns) % 8
    big = (CORNERS[corner_ids] * 255).repeat(16, 0).repeat(16, 1)[:height, :width]
    blocks = random.integers(0, 256, (rows, columns, 3)).repeat(16, 0).repeat(16, 1)[:height, :width]
    noise = random.integers(0, 256, (height, width, 3))
    return [p.astype(np.float64) for p in (big, blocks, noise)]


def expected(picture: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Float logits' argmax per cell, and the lead of the best logit over the second."""
    h, w, _ = picture.shape
    cells = picture.reshape(h // stride, stride, w // stride, stride, 3).mean(axis=(1, 3)) / 255
    weights, bias = affine(ZERO, ONE)
    logits = np.sort(cells @ weights.T + bias, axis=-1)
    return (cells @ weights.T + bias).argmax(-1), logits[..., -1] - logits[..., -2]


def verify_abort(name: str, data: bytes) -> str:
    child = os.fork()
    if child == 0:
        Interpreter(model_content=data, num_threads=1).allocate_tensors()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGABRT, f"{name}: status {status}, not SIGABRT"
    return "aborts"


def verify(name: str, built: Built) -> str:
    """Runs the model with and without XNNPACK; returns a line for the log, raises if the result is wrong."""
    if built.check == "aborts":
        return verify_abort(name, built.data)
    compared = 0
    for resolver in (OpResolverType.BUILTIN, OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        try:
            interpreter = Interpreter(model_content=built.data, num_threads=1, experimental_op_resolver_type=resolver)
            signature = interpreter.get_input_details()[0]["shape_signature"]
            if -1 in signature:
                interpreter.resize_tensor_input(0, [1, 64, 96, 3])
            interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            if built.without_xnnpack and resolver is OpResolverType.BUILTIN:
                assert "XNNPACK" in str(error), error
                continue
            if built.check == "fails":
                return f"refused by TFLite: {str(error).splitlines()[0]}"
            raise
        if built.check == "fails":
            raise AssertionError(f"{name}: TFLite takes it")
        if built.without_xnnpack and resolver is OpResolverType.BUILTIN:
            raise AssertionError(f"{name}: XNNPACK takes it")
        if built.check == "loads":
            return "loads"
        inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
        if built.check == "runs":
            interpreter.invoke()
            continue
        n, height, width, _ = inputs[0]["shape"]
        scale, zero = inputs[0]["quantization"]
        dtype = inputs[0]["dtype"]
        for picture in pictures(height, width):
            value = (picture / 255 - built.mean) / built.std
            if scale:
                info = np.iinfo(dtype)
                value = np.clip(np.rint(value / scale) + zero, info.min, info.max)
            interpreter.set_tensor(inputs[0]["index"], np.stack([value] * n).astype(dtype))
            interpreter.invoke()
            got = interpreter.get_tensor(outputs[0]["index"])
            if len(got.shape) == 4:
                got = got[..., 0] if got.shape[3] == 1 else got.argmax(-1)
            want, lead = expected(picture, built.stride)
            if (
                built.check == "full"
            ):  # the middle of a cell is that cell's own colour, if its neighbours don't reach it
                offset = built.stride // 2
                got = got[:, offset :: built.stride, offset :: built.stride]
                clear = lead > 0.9
            else:
                clear = lead > 0.06  # two steps of the logits and the pool's rounding
            assert got.shape[1:] == want.shape, f"{name}: {got.shape} is not {want.shape}"
            assert (got[0] == want)[clear].all(), f"{name}: wrong classes"
            compared += int(clear.sum())
    return f"{compared} cells right" if compared else "runs"


def files() -> dict[Path, bytes]:
    built = {name: make() for name, make in MODELS.items()}
    out = {HERE / f"{name}.tflite": model.data for name, model in built.items()}
    for folder, name in FOLDERS.items():
        out[HERE / folder / "model.tflite"] = built[name].data
        out[HERE / folder / "manifest.toml"] = manifest(folder, built[name])
    for folder, (name, twin) in PAIRS.items():
        out[HERE / folder / "model.tflite"] = built[name].data
        out[HERE / folder / "model_edgetpu.tflite"] = built[twin].data
        out[HERE / folder / "manifest.toml"] = manifest(folder, built[name], built[twin])
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes and checks the TFLite models of the tests.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file differs")
    only_check = parser.parse_args().check
    wrong = 0
    for path, data in files().items():
        if only_check:
            same = path.is_file() and path.read_bytes() == data
            wrong += not same
            print(f"{'same' if same else 'DIFFERS':8} {len(data):6} {path.relative_to(HERE)}")
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
    for name, make in MODELS.items():
        print(f"{name:34} {verify(name, make())}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
