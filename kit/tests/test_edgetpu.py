"""The Edge TPU rule checker: against models that Coral compiled, and rule by rule against tiny models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import inspected
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from graph import Graph, Quant

from pspnet_kit.errors import KitError
from pspnet_kit.export.edgetpu import Verdict, check, main

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = REPOSITORY / "kit/check_edgetpu.py"
MODELS = REPOSITORY / "tests/models"
DATA = Path(__file__).parent / "data"
Q = Quant(1 / 128, 0)


def judged(tmp_path: Path, graph: Graph, *outputs: int) -> Verdict:
    path = tmp_path / "model.tflite"
    path.write_bytes(graph.build(outputs))
    return inspected.judged(path)


def statuses(verdict: Verdict) -> list[tuple[str, str]]:
    return [(placement.operator.name, placement.status) for placement in verdict.placements]


def reasons(verdict: Verdict) -> str:
    return "\n".join(finding.reason for placement in verdict.placements for finding in placement.findings)


def picture(graph: Graph, *shape: int) -> int:
    return graph.input("int8", shape, Q)


def convolution(graph: Graph, x: int, outputs: int, dilation: tuple[int, int] = (1, 1)) -> int:
    """A 1x1 convolution, int8, version 3."""
    channels = graph.shape(x)[-1]
    weights = graph.constant("weights", np.ones((outputs, 1, 1, channels)), "int8", Q)
    bias = graph.constant("bias", np.zeros(outputs), "int32", Quant(1 / 128**2))
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    options.dilationHFactor, options.dilationWFactor = dilation
    out = graph.tensor("convolved", "int8", [*graph.shape(x)[:3], outputs], Q)
    return graph.op("CONV_2D", 3, [x, weights, bias], out, options)


def resize(graph: Graph, x: int, height: int, width: int, version: int = 2, half: bool = False) -> int:
    n, _, _, channels = graph.shape(x)
    size = graph.constant("size", [height, width], "int32")
    options = schema.ResizeBilinearOptionsT()
    options.alignCorners, options.halfPixelCenters = not half, half
    out = graph.tensor("resized", "int8", [n, height, width, channels], Q)
    return graph.op("RESIZE_BILINEAR", version, [x, size], out, options)


def concatenation(graph: Graph, *inputs: int, activation: int = 0) -> int:
    options = schema.ConcatenationOptionsT()
    options.axis, options.fusedActivationFunction = 3, activation
    channels = sum(graph.shape(x)[-1] for x in inputs)
    out = graph.tensor("joined", "int8", [*graph.shape(inputs[0])[:3], channels], Q)
    return graph.op("CONCATENATION", 2, list(inputs), out, options)


# Against the compiler itself


def pairs() -> list[Path]:
    folders = [DATA, *(Path(folder) for folder in os.environ.get("EDGETPU_PAIRS", "").split(os.pathsep) if folder)]
    compiled = (path for folder in folders for path in sorted(folder.rglob("*_edgetpu.tflite")))
    sources = (path.with_name(path.name.replace("_edgetpu", "")) for path in compiled)
    return [source for source in sources if source.is_file()]


@pytest.mark.parametrize("source", pairs(), ids=lambda path: path.stem)
def test_operators_are_placed_where_the_compiler_put_them(source: Path) -> None:
    compiled = check(source.with_name(source.stem + "_edgetpu.tflite"))
    left = {placement.operator.outputs[0].name for placement in compiled.left}
    assert {placement.operator.outputs[0].name for placement in check(source).left} == left


def test_a_compiled_model_and_its_source() -> None:
    source, compiled = check(DATA / "split_concat.tflite"), check(DATA / "split_concat_edgetpu.tflite")
    assert source.passes and not source.compiled and len(source.placements) == 3
    assert compiled.passes and compiled.compiled and len(compiled.placements) == 1


def test_a_source_whose_compiled_form_is_one_operator_passes() -> None:
    verdict = check(DATA / "keras_lstm_mnist_ptq.tflite")
    assert verdict.passes
    # 4 x 20x28 and 4 x 20x20 weights and 4 x 20 int32 biases of the LSTM, 10x560 weights and 10 int32 biases behind it.
    assert verdict.parameter_bytes == 4 * 20 * 28 + 4 * 20 * 20 + 4 * 20 * 4 + 10 * 560 + 10 * 4


# Rule by rule


def test_a_small_network_in_edge_tpu_form_passes(tmp_path: Path) -> None:
    g = Graph("ok")
    x = picture(g, 1, 8, 8, 4)
    pooled = g.average_pool(x, 4, 4, "int8", Q)
    y = concatenation(g, x, resize(g, convolution(g, pooled, 4), 8, 8))
    verdict = judged(tmp_path, g, convolution(g, y, 2))
    assert verdict.passes and verdict.first_refused is None
    # 2x2 to 8x8 maps as far as is known; the documents say that it depends on the sizes.
    assert [name for name, status in statuses(verdict) if status == "unsure"] == ["RESIZE_BILINEAR"]
    assert verdict.parameter_bytes == (4 * 4 + 4 * 4) + (2 * 8 + 2 * 4)
    assert verdict.fits


def test_half_pixel_centres_split_the_graph(tmp_path: Path) -> None:
    g = Graph("half")
    x = picture(g, 1, 2, 2, 4)
    up = resize(g, convolution(g, x, 4), 8, 8, version=3, half=True)
    verdict = judged(tmp_path, g, convolution(g, up, 2))
    assert statuses(verdict) == [("CONV_2D", "maps"), ("RESIZE_BILINEAR", "refused"), ("CONV_2D", "split off")]
    assert "half_pixel_centers=True (version 3)" in reasons(verdict)
    assert verdict.parameter_bytes == 4 * 4 + 4 * 4, "the part behind the split is not on the chip"


@pytest.mark.parametrize(
    ("source", "result", "version", "half", "status"),
    [
        ((6, 6), (12, 12), 3, True, "unsure"),  # MoveNet, mapped by compiler 16
        ((6, 6), (12, 24), 3, True, "refused"),
        ((6, 6), (12, 12), 2, False, "maps"),
        ((6, 6), (12, 12), 4, False, "refused"),
        ((1, 1), (33, 33), 2, False, "refused"),  # DeepLabv3
        ((33, 33), (33, 33), 2, False, "maps"),  # DeepLabv3 slim
        ((6, 6), (36, 36), 2, False, "unsure"),
        ((64, 64), (1025, 1025), 2, False, "refused"),
    ],
)
def test_resizes(
    tmp_path: Path, source: tuple[int, int], result: tuple[int, int], version: int, half: bool, status: str
) -> None:
    g = Graph("resize")
    verdict = judged(tmp_path, g, resize(g, picture(g, 1, *source, 4), *result, version, half))
    assert statuses(verdict) == [("RESIZE_BILINEAR", status)]


def test_only_what_hangs_on_the_split_is_lost(tmp_path: Path) -> None:
    """As in DeepLabv3: the branch beside the refused operator stays, what joins both does not."""
    g = Graph("branches")
    x = picture(g, 1, 8, 8, 4)
    spread = resize(g, g.average_pool(x, 8, 8, "int8", Q), 8, 8)
    verdict = judged(tmp_path, g, concatenation(g, spread, convolution(g, x, 4)))
    assert statuses(verdict) == [
        ("AVERAGE_POOL_2D", "maps"),
        ("RESIZE_BILINEAR", "refused"),
        ("CONV_2D", "maps"),
        ("CONCATENATION", "split off"),
    ]


def test_an_operator_before_the_first_that_maps_splits_nothing(tmp_path: Path) -> None:
    g = Graph("float input")
    x = g.quantize("int8", g.input("float32", [1, 8, 8, 4]), "int8", Q)
    verdict = judged(tmp_path, g, convolution(g, x, 2))
    assert statuses(verdict) == [("QUANTIZE", "refused"), ("CONV_2D", "maps")]


def test_uint8_input_is_quantised_on_the_chip(tmp_path: Path) -> None:
    g = Graph("uint8 input")
    x = g.quantize("int8", g.input("uint8", [1, 8, 8, 4], Quant(1 / 128, 128)), "int8", Q)
    assert judged(tmp_path, g, convolution(g, x, 2)).passes


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("refused_float32", "only 8-bit tensors map"),
        ("refused_int16", "only 8-bit tensors map"),
        ("refused_dynamic", "has no constant size"),
        ("refused_batch2", "three innermost dimensions"),
        ("argmax_96x64_int64", "not among the supported operators"),
    ],
)
def test_models_that_cannot_map(name: str, expected: str) -> None:
    verdict = check(MODELS / f"{name}.tflite")
    assert not verdict.passes
    assert expected in reasons(verdict)


@pytest.mark.parametrize("name", ["colours_96x64_int8", "colours_96x64_uint8", "colours_96x64_uint8_in_int8_out"])
def test_models_that_map(name: str) -> None:
    assert check(MODELS / f"{name}.tflite").passes


def test_unequal_dilation_is_refused(tmp_path: Path) -> None:
    g = Graph("dilation")
    verdict = judged(tmp_path, g, convolution(g, picture(g, 1, 8, 8, 4), 2, dilation=(1, 2)))
    assert "dilation 1 in y and 2 in x" in reasons(verdict)


def test_a_fused_activation_of_a_concatenation_is_refused(tmp_path: Path) -> None:
    g = Graph("fused")
    x = picture(g, 1, 8, 8, 4)
    verdict = judged(tmp_path, g, concatenation(g, x, x, activation=schema.ActivationFunctionType.RELU6))
    assert "fused activation RELU6" in reasons(verdict)


@pytest.mark.parametrize(("value", "passes"), [(0, True), (1, False)])
def test_a_constant_is_joined_only_as_zeros(tmp_path: Path, value: int, passes: bool) -> None:
    g = Graph("constant")
    padding = g.constant("padding", np.full((1, 8, 8, 2), value), "int8", Q)
    assert judged(tmp_path, g, concatenation(g, picture(g, 1, 8, 8, 4), padding)).passes is passes


@pytest.mark.parametrize(("shape", "passes"), [((1, 16_000), True), ((1, 16_001), False), ((2, 10), False)])
def test_softmax(tmp_path: Path, shape: tuple[int, int], passes: bool) -> None:
    g = Graph("softmax")
    out = g.tensor("probabilities", "int8", shape, Quant(1 / 256, -128))
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    assert judged(tmp_path, g, g.op("SOFTMAX", 2, [picture(g, *shape)], out, options)).passes is passes


@pytest.mark.parametrize(("height", "status"), [(64, "maps"), (128, "unsure"), (256, "refused")])
def test_averages_over_large_areas(tmp_path: Path, height: int, status: str) -> None:
    g = Graph("average")
    verdict = judged(tmp_path, g, g.average_pool(picture(g, 1, height, 128, 4), height, 128, "int8", Q))
    assert statuses(verdict) == [("AVERAGE_POOL_2D", status)]


def test_parameters_that_do_not_fit(tmp_path: Path) -> None:
    g = Graph("large")
    x = picture(g, 1, 1, 1, 2630)
    verdict = judged(tmp_path, g, convolution(g, x, 2630))
    assert verdict.parameter_bytes == 2630 * 2630 + 4 * 2630
    assert verdict.passes and not verdict.fits


def test_weights_that_two_operators_share_count_once(tmp_path: Path) -> None:
    g = Graph("shared")
    x = picture(g, 1, 8, 8, 4)
    y = convolution(g, x, 4)
    weights, bias = g.operators[0].inputs[1:]
    options = g.operators[0].builtinOptions
    out = g.tensor("again", "int8", g.shape(x), Q)
    verdict = judged(tmp_path, g, g.op("CONV_2D", 3, [y, weights, bias], out, options))
    assert verdict.parameter_bytes == 4 * 4 + 4 * 4


# The command


def test_the_script_says_what_does_not_map() -> None:
    path = MODELS / "argmax_96x64_int64_full.tflite"
    run = subprocess.run([sys.executable, SCRIPT, path], capture_output=True, text=True)
    assert run.returncode == 1
    assert "RESIZE_BILINEAR v3, operator 2 ('logits_full')" in run.stdout
    assert "to do: train and export with align_corners=True" in run.stdout
    assert "ARG_MAX" in run.stdout and run.stdout.endswith("Not everything maps.\n")


def test_the_script_passes_what_maps() -> None:
    run = subprocess.run([sys.executable, SCRIPT, DATA / "split_concat.tflite"], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.endswith("Everything maps.\n")


def test_the_script_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import pspnet_kit.export.edgetpu"
    assert subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent).returncode == 0


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(MODELS / "argmax_96x64_int64.tflite"), "--json"]) == 1
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["operators_on_cpu"] == 1 and verdict["passes"] is False
    refused = verdict["operators"][verdict["first_refused"]]
    assert refused["name"] == "ARG_MAX" and refused["status"] == "refused" and refused["findings"][0]["remedy"]


def test_a_compiled_model_is_recognised(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(DATA / "split_concat_edgetpu.tflite")]) == 0
    assert "compiled for the Edge TPU already" in capsys.readouterr().out


def test_unreadable_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "none.tflite")]) == 2
    text = tmp_path / "text.tflite"
    text.write_text("this is no model")
    assert main([str(text)]) == 2
    assert "no TFLite model" in capsys.readouterr().err


def test_a_cut_file_is_an_error_and_no_crash(tmp_path: Path) -> None:
    whole = (MODELS / "colours_96x64_int8.tflite").read_bytes()
    path = tmp_path / "cut.tflite"
    for length in range(8, len(whole) - 64, 97):
        path.write_bytes(whole[:length])
        with pytest.raises(KitError, match=r"cut\.tflite"):
            check(path)
