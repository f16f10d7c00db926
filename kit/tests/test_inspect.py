"""`pspnetd model inspect` judges for the Edge TPU as the kit does: on every model here, and rule by rule."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from built import pspnetd
from graph import Graph, Quant
from inspected import agree

from pspnet_kit.export.edgetpu_rules import RULES

REPOSITORY = Path(__file__).resolve().parents[2]
DATA = Path(__file__).parent / "data"
Q = Quant(1 / 128, 0)


def models() -> list[Path]:
    folders = [REPOSITORY / "models", REPOSITORY / "tests/models", DATA]
    folders += [Path(folder) for folder in os.environ.get("EDGETPU_PAIRS", "").split(os.pathsep) if folder]
    return [path for folder in folders for path in sorted(folder.rglob("*.tflite"))]


@pytest.mark.parametrize("path", models(), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_model_gets_the_same_verdict(path: Path) -> None:
    agree(pspnetd(), path)


def options(kind: str, **values: Any) -> Any:
    made = getattr(schema, kind + "OptionsT")()
    for name, value in values.items():
        assert hasattr(made, name), name
        setattr(made, name, value)
    return made


def one(
    name: str,
    version: int,
    shape: list[int],
    result: list[int],
    *constants: tuple[Any, str],
    settings: Any = None,
    first: tuple[Any, str] | None = None,
    custom: str | None = None,
) -> Callable[[], bytes]:
    """A model of one operator: an int8 input, constants behind it (`first` before it), an int8 output."""

    def build() -> bytes:
        g = Graph(name)
        x = g.input("int8", shape, Q)
        before = [] if first is None else [g.constant("first", *first)]
        behind = [
            g.constant(f"c{i}", values, kind, Q if "int8" in kind else None)
            for i, (values, kind) in enumerate(constants)
        ]
        out = g.tensor("out", "int8", result, Q)
        return g.build([g.op(name, version, [*before, x, *behind], out, settings, custom)])

    return build


def two_inputs(name: str, version: int, shape: list[int], result: list[int], settings: Any) -> Callable[[], bytes]:
    def build() -> bytes:
        g = Graph(name)
        inputs = [g.input("int8", shape, Q), g.input("int8", shape, Q)]
        return g.build([g.op(name, version, inputs, g.tensor("out", "int8", result, Q), settings)])

    return build


def unquantised() -> bytes:
    g = Graph("no scale")
    return g.build([g.op("RELU", 2, [g.input("int8", [1, 4, 4, 4])], g.tensor("out", "int8", [1, 4, 4, 4], Q))])


PICTURE = [1, 8, 8, 4]
KERNEL = (np.ones((4, 1, 1, 4)), "int8")
BIAS = (np.zeros(4), "int32")
DENSE = (np.ones((4, 256)), "int8")
NEAREST = "ResizeNearestNeighbor"
CASES: dict[str, tuple[Callable[[], bytes], str]] = {
    "add fused": (two_inputs("ADD", 2, PICTURE, PICTURE, options("Add", fusedActivationFunction=3)), "maps"),
    "add tanh": (two_inputs("ADD", 2, PICTURE, PICTURE, options("Add", fusedActivationFunction=4)), "refused"),
    "mul sign bit": (two_inputs("MUL", 2, PICTURE, PICTURE, options("Mul", fusedActivationFunction=5)), "refused"),
    "sub new": (two_inputs("SUB", 3, PICTURE, PICTURE, options("Sub")), "refused"),
    "l2": (
        one("L2_NORMALIZATION", 2, PICTURE, PICTURE, settings=options("L2Norm", fusedActivationFunction=4)),
        "refused",
    ),
    "max pool": (one("MAX_POOL_2D", 2, PICTURE, [1, 4, 4, 4], settings=options("Pool2D", filterHeight=2)), "maps"),
    "max pool fused": (
        one("MAX_POOL_2D", 2, PICTURE, [1, 4, 4, 4], settings=options("Pool2D", fusedActivationFunction=1)),
        "refused",
    ),
    "depthwise dilated": (
        one(
            "DEPTHWISE_CONV_2D",
            3,
            PICTURE,
            PICTURE,
            (np.ones((1, 3, 3, 4)), "int8"),
            BIAS,
            settings=options("DepthwiseConv2D", dilationHFactor=2, dilationWFactor=3),
        ),
        "refused",
    ),
    "float weights": (one("CONV_2D", 3, PICTURE, PICTURE, (np.ones((4, 1, 1, 4)), "float32"), BIAS), "refused"),
    "no options": (one("CONV_2D", 3, PICTURE, PICTURE, KERNEL, BIAS), "maps"),
    "computed weights": (two_inputs("CONV_2D", 3, PICTURE, PICTURE, options("Conv2D")), "refused"),
    "dense": (one("FULLY_CONNECTED", 4, [1, 256], [1, 4], DENSE, BIAS, settings=options("FullyConnected")), "maps"),
    "dense shuffled": (
        one("FULLY_CONNECTED", 4, [1, 256], [1, 4], DENSE, BIAS, settings=options("FullyConnected", weightsFormat=1)),
        "refused",
    ),
    "dense rows": (
        one("FULLY_CONNECTED", 4, [3, 256], [3, 4], DENSE, BIAS, settings=options("FullyConnected")),
        "refused",
    ),
    "mean": (one("MEAN", 2, PICTURE, [1, 1, 1, 4], ([1, 2], "int32"), settings=options("Reducer")), "maps"),
    "mean of channels": (one("MEAN", 2, PICTURE, [1, 8, 8, 1], ([-1], "int32")), "maps"),
    "mean of 3 channels": (one("MEAN", 2, [1, 8, 8, 3], [1, 8, 8, 1], ([-1], "int32")), "refused"),
    "mean of batch": (one("MEAN", 2, PICTURE, [8, 8, 4], ([0], "int64")), "refused"),
    "mean of much": (one("MEAN", 2, [1, 256, 64, 4], [1, 1, 1, 4], ([1, 2], "int32")), "unsure"),
    "mean of too much": (one("MEAN", 2, [1, 256, 128, 4], [1, 1, 1, 4], ([1, 2], "int32")), "refused"),
    "sum of batch": (one("SUM", 2, PICTURE, [8, 8, 4], ([-4], "int32")), "refused"),
    "pad": (one("PAD", 2, PICTURE, [1, 10, 8, 4], ([[0, 0], [1, 1], [0, 0], [0, 0]], "int32")), "maps"),
    "pad batch": (one("PAD", 2, PICTURE, [2, 8, 8, 4], ([[0, 1], [0, 0], [0, 0], [0, 0]], "int32")), "refused"),
    "pack": (two_inputs("PACK", 2, [8, 8, 4], [8, 2, 8, 4], options("Pack", axis=1)), "refused"),
    "pack in front": (two_inputs("PACK", 2, [1, 8, 4], [1, 2, 8, 4], options("Pack", axis=-3)), "maps"),
    "pack as batch": (two_inputs("PACK", 2, [1, 8, 4], [2, 1, 8, 4], options("Pack", axis=-4)), "refused"),
    "split in one": (one("SPLIT", 2, PICTURE, PICTURE, first=([0], "int32"), settings=options("Split")), "maps"),
    "prelu": (one("PRELU", 1, PICTURE, PICTURE, (np.ones((1, 1, 4)), "int8")), "maps"),
    "prelu per pixel": (one("PRELU", 1, PICTURE, PICTURE, (np.ones((8, 8, 4)), "int8")), "refused"),
    "strided slice": (
        one("STRIDED_SLICE", 2, [1, 4], [1, 2], ([0, 0], "int32"), ([1, 2], "int32"), ([1, 1], "int32")),
        "maps",
    ),
    "strided slice by 2": (
        one("STRIDED_SLICE", 2, [1, 4], [1, 2], ([0, 0], "int32"), ([1, 4], "int32"), ([1, 2], "int32")),
        "refused",
    ),
    "strided slice with a new axis": (
        one(
            "STRIDED_SLICE",
            2,
            [1, 4],
            [1, 1, 4],
            ([0], "int32"),
            ([1], "int32"),
            ([1], "int32"),
            settings=options("StridedSlice", newAxisMask=1),
        ),
        "refused",
    ),
    "strided slice with an ellipsis": (
        one(
            "STRIDED_SLICE",
            2,
            [1, 4],
            [1, 4],
            ([0], "int32"),
            ([1], "int32"),
            ([1], "int32"),
            settings=options("StridedSlice", ellipsisMask=1),
        ),
        "refused",
    ),
    "reshape": (one("RESHAPE", 1, PICTURE, [1, 256], ([1, 256], "int32")), "maps"),
    "large reshape": (one("RESHAPE", 1, [1, 1024, 1025, 1], [1, 1024 * 1025], ([1, -1], "int32")), "unsure"),
    "tile": (one("TILE", 1, [1, 1, 1, 4], PICTURE, ([1, 8, 8, 1], "int32")), "unsure"),
    "nearest": (one("RESIZE_NEAREST_NEIGHBOR", 3, PICTURE, [1, 16, 16, 4], ([16, 16], "int32")), "unsure"),
    "nearest by 2": (one("RESIZE_NEAREST_NEIGHBOR", 2, PICTURE, [1, 16, 16, 4], ([16, 16], "int32")), "maps"),
    "nearest from half": (
        one(
            "RESIZE_NEAREST_NEIGHBOR",
            3,
            PICTURE,
            [1, 16, 16, 4],
            ([16, 16], "int32"),
            settings=options(NEAREST, halfPixelCenters=True),
        ),
        "refused",
    ),
    "large by 2": (one("RESIZE_BILINEAR", 2, [1, 256, 256, 4], [1, 512, 512, 4], ([512, 512], "int32")), "unsure"),
    "no picture": (one("RESIZE_BILINEAR", 2, [8, 8, 4], [16, 16, 4], ([16, 16], "int32")), "refused"),
    "hard swish": (one("HARD_SWISH", 1, PICTURE, PICTURE), "refused"),
    "leaky relu": (one("LEAKY_RELU", 2, PICTURE, PICTURE), "refused"),
    "mirror pad": (one("MIRROR_PAD", 2, PICTURE, PICTURE), "refused"),
    "dequantize": (one("DEQUANTIZE", 2, PICTURE, PICTURE), "refused"),
    "newest of all": (one("STABLEHLO_CASE", 1, PICTURE, PICTURE), "refused"),
    "custom": (one("CUSTOM", 1, PICTURE, PICTURE, custom="somebody's own"), "refused"),
    "no scale": (unquantised, "refused"),
    "batch of 2": (one("RELU", 2, [2, 8, 8, 4], [2, 8, 8, 4]), "refused"),
}


@pytest.mark.parametrize("name", CASES)
def test_every_rule_gives_the_same_verdict(tmp_path: Path, name: str) -> None:
    build, status = CASES[name]
    path = tmp_path / "model.tflite"
    path.write_bytes(build())
    said = agree(pspnetd(), path)
    assert [operator["status"] for operator in said["operators"]] == [status], said["operators"]


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("beyond", [0, 1])
def test_the_newest_version_of_every_operator_is_the_same(tmp_path: Path, name: str, beyond: int) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(one(name, RULES[name][0] + beyond, PICTURE, PICTURE, (np.ones(4), "int8"))())
    said = agree(pspnetd(), path)
    assert ("is newer than the newest" in str(said["operators"])) == bool(beyond)
