"""The .tflite files: their operators and versions, the same numbers as PyTorch, and what is refused."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from full_disk import fill
from PIL import Image
from quant_networks import PLAIN, SIZE, inputs, pictures, settled

from pspnet_kit import checkpoint
from pspnet_kit.commands import quantise as command
from pspnet_kit.errors import KitError
from pspnet_kit.export.edgetpu import check
from pspnet_kit.export.runner import TfliteRunner
from pspnet_kit.export.tflite import export_tflite, to_bytes
from pspnet_kit.model import Architecture, PSPNet, build
from pspnet_kit.quant.graph import trace
from pspnet_kit.quant.ops import OpGraph
from pspnet_kit.quant.ptq import Settings, quantise
from pspnet_kit.quant.qat import prepare_qat
from pspnet_kit.quant.quantised import QuantisedGraph
from pspnet_kit.quant.refine import Refinement

FAST = Settings("minmax", refinement=Refinement(False, False))
OPERATORS = {value: name for name, value in vars(schema.BuiltinOperator).items() if isinstance(value, int)}


@pytest.fixture(scope="module")
def graph() -> OpGraph:
    return trace(settled(PLAIN), inputs(1))


@pytest.fixture(scope="module")
def ir(graph: OpGraph) -> QuantisedGraph:
    return quantise(graph, pictures(2), FAST)


def opened(data: bytes) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(data, 0)


def versions(data: bytes) -> dict[str, int]:
    return {OPERATORS[code.builtinCode]: code.version for code in opened(data).operatorCodes}


def test_versions_that_old_compilers_take(ir: QuantisedGraph) -> None:
    expected = {
        "CONV_2D": 3,
        "DEPTHWISE_CONV_2D": 3,
        "ADD": 2,
        "AVERAGE_POOL_2D": 2,
        "RESIZE_BILINEAR": 2,
        "CONCATENATION": 2,
        "TILE": 1,
    }
    assert versions(to_bytes(ir, "test", "int8")) == expected
    assert versions(to_bytes(ir, "test", "uint8")) == {**expected, "QUANTIZE": 1}


def test_a_float_file_has_the_first_versions(graph: OpGraph) -> None:
    assert set(versions(to_bytes(graph, "test")).values()) == {1}


def test_resizes_put_corners_on_corners_and_pools_step_by_their_kernel(ir: QuantisedGraph) -> None:
    seen = set()
    for operator in opened(to_bytes(ir, "test")).subgraphs[0].operators:
        options = operator.builtinOptions
        if isinstance(options, schema.ResizeBilinearOptionsT):
            assert options.alignCorners and not options.halfPixelCenters
        elif isinstance(options, schema.Pool2DOptionsT):
            assert (options.filterHeight, options.filterWidth) == (options.strideH, options.strideW)
            seen.add((options.filterHeight, options.filterWidth))
    assert seen == {(6, 8), (3, 4)}


def test_scales_of_the_file(ir: QuantisedGraph) -> None:
    tensors = {tensor.name.decode(): tensor for tensor in opened(to_bytes(ir, "test")).subgraphs[0].tensors}
    image, inner = tensors["image"].quantization, tensors["image_int8"].quantization
    assert (image.scale[0], image.zeroPoint[0]) == (1 / 128, 127)
    assert (inner.scale[0], inner.zeroPoint[0]) == (1 / 128, -1)
    dense = tensors["backbone.stem.conv/weights"]
    assert list(dense.shape) == [32, 3, 3, 3]
    assert dense.quantization.quantizedDimension == 0 and len(dense.quantization.scale) == 32
    depthwise = tensors["backbone.blocks.0.depthwise.conv/weights"]
    assert list(depthwise.shape) == [1, 3, 3, 32]
    assert depthwise.quantization.quantizedDimension == 3 and len(depthwise.quantization.scale) == 32
    bias = tensors["backbone.stem.conv/bias"]
    assert bias.type == schema.TensorType.INT32
    np.testing.assert_allclose(bias.quantization.scale, np.array(dense.quantization.scale) / 128, rtol=1e-6)


def test_a_float_file_computes_what_pytorch_does(tmp_path: Path) -> None:
    model = settled(PLAIN)
    export_tflite(trace(model, inputs(1)), tmp_path / "model.tflite", "test")
    with torch.no_grad():
        expected = model(inputs(2)).permute(0, 2, 3, 1).numpy()
    got = TfliteRunner(tmp_path / "model.tflite")(np.stack(pictures(2)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


def test_both_inputs_give_the_same_logits(ir: QuantisedGraph, tmp_path: Path) -> None:
    results = []
    for kind in ("uint8", "int8"):
        export_tflite(ir, tmp_path / f"{kind}.tflite", "test", kind)
        runner = TfliteRunner(tmp_path / f"{kind}.tflite")
        assert runner.input["dtype"] == np.dtype(kind)
        results.append(runner(np.stack(pictures(2))))
    assert np.array_equal(results[0], results[1])
    assert results[0].shape == (2, 6, 8, 4) and results[0].dtype == np.float32


def test_the_runner_says_what_is_wrong(ir: QuantisedGraph, tmp_path: Path) -> None:
    with pytest.raises(KitError, match="no such file"):
        TfliteRunner(tmp_path / "none.tflite")
    (tmp_path / "broken.tflite").write_bytes(b"TFL3" * 9)
    with pytest.raises(KitError, match="TFLite refuses it"):
        TfliteRunner(tmp_path / "broken.tflite")
    export_tflite(ir, tmp_path / "model.tflite", "test")
    with pytest.raises(KitError, match=r"uint8 \[n, 48, 64, 3\]"):
        TfliteRunner(tmp_path / "model.tflite")(np.zeros((1, 48, 65, 3), np.uint8))


def saved(path: Path, **more: object) -> PSPNet:
    model = settled(PLAIN)
    content = {
        "architecture": PLAIN.as_dict(),
        "model": model.state_dict(),
        "classes": [{"name": f"class {index}"} for index in range(PLAIN.classes)],
        "input": {"height": SIZE[0], "width": SIZE[1]},
        **more,
    }
    checkpoint.save(path, content)
    return model


def run(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args([str(argument) for argument in arguments]))


def pictures_in(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index, picture in enumerate(pictures(count)):
        Image.fromarray(picture).save(folder / f"{index}.png")
    return folder


def test_the_command_quantises_a_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "best.pt")
    folder = pictures_in(tmp_path / "pictures", 3)
    run(
        tmp_path / "best.pt",
        "--calibration",
        folder,
        "--out",
        tmp_path / "model.tflite",
        "--nearest",
        "--input",
        "int8",
    )
    told = capsys.readouterr().out
    assert "bytes" in told and "int8 against float32 on 3 pictures" in told
    assert TfliteRunner(tmp_path / "model.tflite").input["dtype"] == np.int8
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pt", "model.tflite", "pictures"]


def test_the_command_takes_the_ranges_that_were_trained(tmp_path: Path) -> None:
    module = prepare_qat(settled(PLAIN), inputs(2)).eval()
    saved(tmp_path / "best.pt", ranges=module.ranges())
    run(tmp_path / "best.pt", "--out", tmp_path / "model.tflite")
    with torch.no_grad():
        expected = module(inputs(1)).permute(0, 2, 3, 1).numpy()
    got = TfliteRunner(tmp_path / "model.tflite")(np.stack(pictures(1)))
    assert (np.abs(got - expected) > 1e-4).mean() <= 0.001


@pytest.mark.parametrize(("count", "message"), [(None, "needs pictures"), (0, "no data set"), (1, "one picture")])
def test_the_command_refuses_too_few_pictures(tmp_path: Path, count: int | None, message: str) -> None:
    saved(tmp_path / "best.pt")
    more = [] if count is None else ["--calibration", pictures_in(tmp_path / "pictures", count)]
    with pytest.raises(KitError, match=message):
        run(tmp_path / "best.pt", *more, "--out", tmp_path / "model.tflite")
    assert not (tmp_path / "model.tflite").exists()


def test_the_command_refuses_a_size_that_the_bins_do_not_divide(tmp_path: Path) -> None:
    saved(tmp_path / "best.pt")
    with pytest.raises(KitError, match="input width 72"):
        run(tmp_path / "best.pt", "--calibration", tmp_path, "--out", tmp_path / "m.tflite", "--size", 48, 72)


def test_the_edge_tpu_takes_every_operator(tmp_path: Path) -> None:
    example = torch.zeros(1, 3, 96, 96)
    shape = Architecture(classes=3, stages=4, stride=16, bin_channels=8, head_channels=8, auxiliary=False)
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (96, 96, 3), dtype=np.uint8) for _ in range(2)]
    export_tflite(quantise(trace(build(shape).eval(), example), images), tmp_path / "model.tflite", "test")
    verdict = check(tmp_path / "model.tflite")
    assert verdict.passes and verdict.fits


def data_set(root: Path) -> Path:
    """Two pairs, and beside dataset.toml a stray picture of another kind."""
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for index, picture in enumerate(pictures(2)):
        Image.fromarray(picture).save(root / f"images/{index}.png")
        Image.fromarray(np.zeros(SIZE, np.uint8)).save(root / f"labels/{index}.png")
    Image.new("RGB", (4, 4)).save(root / "overview.png")
    (root / "dataset.toml").write_text(
        'name = "x"\nlabels = "index"\n[splits]\ntrain = { images = "images", labels = "labels" }\n'
        '[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n'
    )
    return root


def test_a_data_set_is_calibrated_on_its_split_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, plain = data_set(tmp_path / "data"), pictures_in(tmp_path / "plain", 4)
    (plain / "p.png").mkdir()
    (plain / ".hidden.png").write_text("no picture")
    found = command.read_pictures([data, plain], "train", 3, SIZE, force=False)
    assert capsys.readouterr().out == (
        f"calibration: 1 of the 2 pictures of {data} (train), 2 of the 4 pictures of {plain}\n"
    )
    # Of 0, 1 and 0 to 3, evenly spread: the second, the fourth and the sixth.
    assert all(np.array_equal(a, b) for a, b in zip(found, [pictures(4)[i] for i in (1, 1, 3)], strict=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--out", "m.tflite", "--pictures", 0), "--pictures 0: expected at least 1"),
        (("--out", "m.pt"), r"m\.pt: expected the name of a \.tflite"),
        (("--out", "/dev/null/m.tflite"), r"m\.tflite: can't be written"),
    ],
)
def test_the_command_tells_mistakes_before_it_reads_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(KitError, match=message):
        run("none.pt", *options)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_former_file(
    ir: QuantisedGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(b"former")
    fill(monkeypatch)
    with pytest.raises(KitError, match=r"m\.tflite: can't be written: No space left"):
        export_tflite(ir, path, "test")
    assert path.read_bytes() == b"former"
