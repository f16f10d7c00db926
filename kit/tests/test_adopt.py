"""`kit adopt`: what is cut, compared, written and refused; retargeting is test_adopt_retarget's."""

from __future__ import annotations

import hashlib
import io
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from built import COLOURS, pspnetd
from foreign import LOGITS, Q, Tail, noise, resized, run, segmenter, softmax, trunk, written
from graph import Graph, Quant
from PIL import Image

from pspnet_kit.__main__ import main
from pspnet_kit.adopt import card, child
from pspnet_kit.adopt.adoption import Adoption, adopt
from pspnet_kit.adopt.cut import compact, pack
from pspnet_kit.errors import KitError
from pspnet_kit.export.edgetpu import check
from pspnet_kit.export.tflite_reader import read, unpack
from pspnet_kit.judge.daemon import Daemon
from pspnet_kit.judge.predictors import TflitePredictor

MODELS = Path(__file__).parents[2] / "tests/models"
SIZE = (64, 96)
NAMES = ("black", "white", "red", "green", "blue", "yellow", "cyan", "magenta")


def operators(adoption: Adoption, folder: Path) -> list[str]:
    return [operator.name for operator in read(written(folder / "result.tflite", adoption.content)).operators]


def argmax(g: Graph, x: int) -> int:
    return g.argmax(x, "int64")


def one_row(g: Graph, x: int) -> int:
    """Keras: a row of cells with their probabilities."""
    _, h, w, c = g.shape(x)
    return g.reshape(softmax(g, x), [1, h * w, c], "int8", Quant(1 / 256, -128))


def channels_first(g: Graph, x: int) -> int:
    """PyTorch: channels first, and the class over axis 1."""
    x = g.transpose("nchw", x, [0, 3, 1, 2], "int8", LOGITS)
    options = schema.ArgMaxOptionsT()
    options.outputType = schema.TensorType.INT64
    _, _, h, w = g.shape(x)
    return g.op("ARG_MAX", 2, [x, g.constant("axis", 1, "int32")], g.tensor("classes", "int64", [1, h, w]), options)


TAILS: dict[str, tuple[Tail, list[str]]] = {
    "argmax": (argmax, ["ARG_MAX"]),
    "resize, argmax": (lambda g, x: argmax(g, resized(g, x)), ["RESIZE_BILINEAR", "ARG_MAX"]),
    "softmax": (softmax, ["SOFTMAX"]),
    "float softmax": (
        lambda g, x: softmax(g, g.dequantize(resized(g, x)), "float32"),
        ["RESIZE_BILINEAR", "DEQUANTIZE", "SOFTMAX"],
    ),
    "row": (one_row, ["SOFTMAX", "RESHAPE"]),
    "channels first": (channels_first, ["TRANSPOSE", "ARG_MAX"]),
    "uint8": (lambda g, x: g.quantize("out", x, "uint8", Quant(0.05, 131)), ["QUANTIZE"]),
    "bytes": (lambda g, x: g.cast(g.argmax(x, "int32"), "int32", "uint8"), ["ARG_MAX", "CAST"]),
}


@pytest.mark.parametrize("name", TAILS)
def test_what_lies_behind_the_logits_is_cut(name: str, tmp_path: Path) -> None:
    tail, cut = TAILS[name]
    path = written(tmp_path / "foreign.tflite", segmenter(*SIZE, tail))
    pictures = [np.random.default_rng(7).integers(0, 256, (80, 90, 3), np.uint8)]
    adoption = adopt(path, pictures=pictures, licence="MIT")
    assert adoption.card.changes == [f"cut off behind the logits: {', '.join(cut)}"]
    np.testing.assert_array_equal(run(adoption.content, noise(*SIZE)), run(segmenter(*SIZE), noise(*SIZE)))
    assert adoption.card.checks[0] == "after the cut its logits are bit for bit the original's, on 1 pictures"
    assert not adoption.warnings
    assert not set(cut) & set(operators(adoption, tmp_path)) - {"RESIZE_BILINEAR"}


def test_a_resize_that_is_kept_gives_the_same_classes_everywhere(tmp_path: Path) -> None:
    tail: Tail = lambda g, x: argmax(g, resized(g, x, align_corners=True))  # noqa: E731
    path = written(tmp_path / "foreign.tflite", segmenter(*SIZE, tail))
    pictures = [np.random.default_rng(7).integers(0, 256, (64, 96, 3), np.uint8)]
    cut, kept = (adopt(path, pictures=pictures, keep_resize=keep).card for keep in (False, True))
    assert kept.changes == ["cut off behind the logits: ARG_MAX"]
    assert "100.00 % of the pixels have the original's class" in kept.checks[1]
    assert "100.00 %" not in cut.checks[1]
    assert "corners on corners (align_corners)" in cut.notes[0]


def test_a_float_picture_channels_first_becomes_the_integer_one(tmp_path: Path) -> None:
    g = Graph("float at both ends")
    x = g.input("float32", [1, 3, *SIZE])
    order = g.constant("order", [0, 2, 3, 1], "int32")
    x = g.op("TRANSPOSE", 1, [x, order], g.tensor("nhwc", "float32", [1, *SIZE, 3]), schema.TransposeOptionsT())
    path = written(tmp_path / "foreign.tflite", g.build([g.dequantize(trunk(g, g.quantize("int8", x, "int8", Q)))]))
    adoption = adopt(path)
    assert adoption.card.changes[0] == "cut off before the picture: TRANSPOSE, QUANTIZE"
    np.testing.assert_array_equal(run(adoption.content, noise(*SIZE)), run(segmenter(*SIZE), noise(*SIZE)))


def test_one_output_of_several_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = MODELS / "refused_two_outputs.tflite"
    assert main(["adopt", str(path), "--check-only"]) == 1
    assert "2 outputs ('logits' int8 [1, 8, 12, 8], 'classes' int32 [1, 8, 12]); --output" in capsys.readouterr().err
    adoption = adopt(path, output="classes")
    assert operators(adoption, tmp_path) == ["AVERAGE_POOL_2D", "CONV_2D"]
    with pytest.raises(KitError, match="no output 'masks'; it has 'logits'"):
        adopt(path, output="masks")


def test_sizes_that_exporters_compute_become_constants_and_can_change(tmp_path: Path) -> None:
    def computed(height: int, width: int) -> bytes:
        g = Graph("batch left open")
        x = trunk(g, g.input("int8", [1, height, width, 3], Q, signature=[-1, height, width, 3]))
        _, h, w, c = g.shape(x)
        options = schema.ShapeOptionsT()
        options.outType = schema.TensorType.INT32
        shape = g.op("SHAPE", 1, [x], g.tensor("shape", "int32", [4]), options)
        row = g.op("RESHAPE", 1, [x, shape], g.tensor("same", "int8", [1, h, w, c], LOGITS))
        return g.build([softmax(g, g.add(row, x, "int8", Quant(0.1, 0)))])

    path = written(tmp_path / "foreign.tflite", computed(64, 96))
    adoption = adopt(path, size=(96, 64))
    assert "sizes computed from shapes became constants, 1 operator less" in adoption.card.changes
    expected = adopt(written(tmp_path / "other.tflite", computed(96, 64)))
    np.testing.assert_array_equal(run(adoption.content, noise(96, 64)), run(expected.content, noise(96, 64)))
    assert not read(written(tmp_path / "r.tflite", adoption.content)).inputs[0].dynamic


def test_the_folder_has_model_manifest_and_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = MODELS / "argmax_96x64_int64_full.tflite", tmp_path / "made/colours"
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    (tmp_path / "pictures").mkdir()
    Image.fromarray(COLOURS[np.repeat([0, 1, 2], 40)][:, None].repeat(120, axis=1)).save(tmp_path / "pictures/a.png")
    arguments = ["--out", out, "--name", "colours", "--size", "128x96", "--licence", "CC0-1.0", "--source", "a friend"]
    arguments += ["--classes", tmp_path / "names.txt", "--pictures", tmp_path / "pictures"]
    assert main(["adopt", str(source), *map(str, arguments)]) == 0
    told = capsys.readouterr().out
    assert "warning" not in told and "at 128x96 against the original at 64x96: " in told
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    manifest = tomllib.loads((out / "manifest.toml").read_text())
    assert manifest["name"] == "colours" and manifest["licence"] == "CC0-1.0"
    assert f"SHA-256 {digest}" in manifest["description"] and "ARG_MAX" in manifest["description"]
    assert manifest["file"]["sha256"] == hashlib.sha256((out / "model.tflite").read_bytes()).hexdigest()
    assert [entry["name"] for entry in manifest["classes"]] == list(NAMES)
    text = (out / "README.md").read_text()
    assert all(word in text for word in (digest, "a friend", "CC0-1.0", "cut off behind the logits".capitalize()))
    assert sorted(path.name for path in out.parent.iterdir()) == ["colours"]
    predictor = TflitePredictor(out / "model.tflite")
    assert predictor.size == (128, 96) and predictor.class_names == NAMES
    mask, _ = predictor.predict(np.full((20, 30, 3), (0, 0, 255), np.uint8))
    assert set(mask.flat) == {NAMES.index("blue")}
    assert not check(out / "model.tflite").left


@pytest.mark.parametrize("name", ["argmax_96x64_int64_full", "refused_nchw", "colours_96x64_uint8_wrapped"])
def test_pspnetd_takes_what_was_made(name: str, tmp_path: Path) -> None:
    daemon, out = Daemon(pspnetd()), tmp_path / "made"
    assert main(["adopt", str(MODELS / f"{name}.tflite"), "--out", str(out), "--name", "x", "--size", "96x128"]) == 0
    picture = tmp_path / "green.png"
    Image.fromarray(np.full((40, 60, 3), (0, 255, 0), np.uint8)).save(picture)
    daemon._run("predict", "--model", out / "model.tflite", "--output", tmp_path / "masks", picture)
    with Image.open(tmp_path / "masks/green_mask.png") as mask:
        assert set(np.array(mask).flat) == {NAMES.index("green")}


def test_the_names_in_the_file_itself_are_found(tmp_path: Path) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("labelmap.txt", "\n".join(NAMES))
    content = (MODELS / "colours_96x64_int8.tflite").read_bytes()
    adoption = adopt(written(tmp_path / "named.tflite", content + packed.getvalue()))
    assert [entry["name"] for entry in adoption.card.manifest.classes] == list(NAMES)
    assert "classes are named by 'labelmap.txt' in the file" in adoption.card.notes
    assert b"labelmap" not in adoption.content


REFUSED = {
    "1_channel": "its input 'image' is int8 [1, 64, 96, 1]; expected a picture, [1, height, width, 3]",
    "4_channels": "its input 'image' is int8 [1, 64, 96, 4]; expected a picture, [1, height, width, 3]",
    "1_class": "a single score per pixel; pspnetd needs 2 to 255 classes",
    "300_classes": "300 classes; pspnetd takes 2 to 255",
    "batch2": "its input 'image' is int8 [2, 64, 96, 3]; expected batch 1",
    "constant_input": "its input 'image' is a constant of the file",
    "dynamic": "no fixed size; export it with a static shape",
    "edgetpu": "compiled for the Edge TPU",
    "float32": "is float32 [1, 64, 96, 3] and no QUANTIZE follows it",
    "int16": "is int16 [1, 64, 96, 3] and no QUANTIZE follows it",
    "output_aspect": "its output [1, 8, 24, 8] has another aspect than its picture [1, 64, 96, 3]",
    "picture_classifier": "one answer for the whole picture, [1, 1, 1, 8]; no segmentation network",
    "two_inputs": "2 inputs ('image' int8 [1, 64, 96, 3], 'image1' int8 [1, 64, 96, 3]); expected one",
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_pspnetd_can_not_have_is_refused_with_the_reason(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = MODELS / f"refused_{name}.tflite"
    assert main(["adopt", str(path), "--check-only"]) == 1
    told = capsys.readouterr().err
    assert told.startswith(f"kit adopt: {path}: ") and REFUSED[name] in told and told.count("\n") == 1


def test_custom_operators_are_named(tmp_path: Path) -> None:
    def custom(code: str) -> Path:
        g = Graph("custom")
        x = g.custom(code, g.input("int8", [1, *SIZE, 3], Q), "int8", [1, 8, 12, 8], LOGITS)
        return written(tmp_path / "custom.tflite", g.build([x]))

    with pytest.raises(KitError, match="operator 0, MyResize, is a custom operator: pspnetd can't run it"):
        adopt(custom("MyResize"))
    with pytest.raises(KitError, match="FlexErf, is an operator of TensorFlow that TensorFlow Lite lacks"):
        adopt(custom("FlexErf"))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no TFLite model"),
        (b"\x1c\0\0\0TFL3", "a damaged TFLite model"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a Git LFS pointer, not the model itself"),
        (b"PK\x03\x04 and so on", "no TFLite model"),
    ],
)
def test_other_files_are_refused(content: bytes, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = written(tmp_path / "file.tflite", content)
    assert main(["adopt", str(path), "--check-only"]) == 1
    assert told in capsys.readouterr().err


def test_a_damaged_file_is_refused_in_one_line(tmp_path: Path) -> None:
    """Every cut, and numbers that lead out of the file: no exception but the one that is told."""
    content = (MODELS / "argmax_96x64_int64_full.tflite").read_bytes()
    chances = np.random.default_rng(0)
    damaged = [content[: int(end)] for end in chances.integers(8, len(content), 4)]
    for place in chances.integers(2, len(content) // 4, 8):
        damaged.append(content[: 4 * place] + b"\xff\xff\xff\x7f" + content[4 * place + 4 :])
    refused = 0
    for each in damaged:
        try:
            adopt(written(tmp_path / "damaged.tflite", each))
        except KitError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused >= 4


def changed(change: Callable[[Any], None]) -> bytes:
    """A small network whose schema objects `change` has changed."""
    path = Path("made here")
    model = unpack(segmenter(*SIZE), path)
    change(model)
    return pack(model, path)


def test_metadata_that_lies_nowhere_is_refused(tmp_path: Path) -> None:
    def metadata(buffer: int) -> bytes:
        def add(model: Any) -> None:
            entry = schema.MetadataT()
            entry.name, entry.buffer = b"notes", buffer
            model.metadata = [entry]

        return changed(add)

    kept = adopt(written(tmp_path / "kept.tflite", metadata(1)))
    assert [entry.name for entry in unpack(kept.content, Path("kept")).metadata] == [b"notes"]
    with pytest.raises(
        KitError, match=r"wrong\.tflite: a damaged TFLite model \(its metadata b'notes' is in buffer 999"
    ):
        adopt(written(tmp_path / "wrong.tflite", metadata(999)))


def test_parameters_in_another_file_are_refused(tmp_path: Path) -> None:
    def outside(model: Any) -> None:
        model.subgraphs[0].tensors[1].externalBuffer = 7

    with pytest.raises(KitError, match="its parameters lie in another file"):
        adopt(written(tmp_path / "outside.tflite", changed(outside)))


def test_subgraphs_that_nothing_runs_go(tmp_path: Path) -> None:
    def second(model: Any) -> None:
        other = unpack(segmenter(*SIZE), Path("other")).subgraphs[0]
        for tensor in other.tensors:
            tensor.buffer = len(model.buffers) - 1
        model.subgraphs.append(other)

    adoption = adopt(written(tmp_path / "two.tflite", changed(second)))
    assert read(written(tmp_path / "one.tflite", adoption.content)).subgraphs == 1
    np.testing.assert_array_equal(run(adoption.content, noise(*SIZE)), run(segmenter(*SIZE), noise(*SIZE)))


def test_signatures_that_name_no_tensor_change_nothing(tmp_path: Path) -> None:
    def signature(model: Any) -> None:
        end = schema.TensorMapT()
        end.name, end.tensorIndex = b"x", 999
        found = schema.SignatureDefT()
        found.signatureKey, found.subgraphIndex, found.inputs, found.outputs = b"serve", 7, [end], [end]
        model.signatureDefs = [found]

    adoption = adopt(written(tmp_path / "signed.tflite", changed(signature)))
    assert unpack(adoption.content, Path("signed")).signatureDefs is None


def test_indices_that_lead_nowhere_are_refused(tmp_path: Path) -> None:
    def code(model: Any) -> None:
        model.subgraphs[0].operators[0].opcodeIndex = 99

    def buffer(model: Any) -> None:
        model.subgraphs[0].tensors[0].buffer = 999

    def source(model: Any) -> None:
        model.subgraphs[0].operators[0].inputs = [-7, 1, 2]

    for change in (code, buffer, source):
        with pytest.raises(KitError, match=r"wrong\.tflite: a damaged TFLite model"):
            adopt(written(tmp_path / "wrong.tflite", changed(change)))


def test_an_operator_without_a_list_of_inputs_is_kept_as_it_is(tmp_path: Path) -> None:
    model = unpack(segmenter(*SIZE), tmp_path)
    model.subgraphs[0].operators[0].inputs = None
    compact(model)
    assert len(model.subgraphs[0].operators[0].inputs) == 0


def test_a_file_of_another_kind_or_too_large_is_not_read(tmp_path: Path) -> None:
    large = tmp_path / "large.tflite"
    with large.open("wb") as file:
        file.truncate((512 << 20) + 1)
    for path, told in ((tmp_path, "is a folder"), (tmp_path / "none", "no such file"), (large, "expected at most")):
        with pytest.raises(KitError, match=told):
            adopt(path)


def test_a_process_that_tensorflow_lite_ends_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = written(tmp_path / "python", b"#!/bin/sh\necho it broke >&2\nkill -ABRT $$\n")
    script.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(script))
    with pytest.raises(KitError, match=r"x.tflite: TensorFlow Lite ended with SIGABRT \(it broke\)"):
        child.run(Path("copy"), tmp_path, 1, Path("x.tflite"))


def test_places_are_tried_first_and_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source, full = str(MODELS / "argmax_96x64_int32.tflite"), tmp_path / "full"
    full.mkdir()
    (full / "mine.txt").touch()
    (tmp_path / "file").touch()
    for place, told in ((full, "has files in it already"), (tmp_path / "file", "and no folder")):
        assert main(["adopt", "no such file", "--out", str(place), "--name", "x"]) == 1
        assert told in capsys.readouterr().err
    assert main(["adopt", source]) == 1
    assert "--out DIR and --name NAME are missing" in capsys.readouterr().err

    def no_room(path: Path, content: bytes) -> None:
        raise KitError(f"{path}: can't be written: No space left on device")

    monkeypatch.setattr(card, "write_whole", no_room)
    assert main(["adopt", source, "--out", str(tmp_path / "made"), "--name", "x"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "full"]


def test_what_a_killed_run_left_is_no_obstacle(tmp_path: Path) -> None:
    part, out = tmp_path / "made.part", tmp_path / "made"
    part.mkdir()
    (part / "model.tflite").write_bytes(b"half")
    out.mkdir()
    assert main(["adopt", str(MODELS / "argmax_96x64_int32.tflite"), "--out", str(out), "--name", "x"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["README.md", "manifest.toml", "model.tflite"]
    assert not part.exists()


def test_arguments_that_can_not_be_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    source = str(MODELS / "argmax_96x64_int32.tflite")
    for arguments, told in (
        (["--size", "1x9999"], "expected HEIGHTxWIDTH"),
        (["--mean", "1", "2", "3"], "expected both or neither"),
        (["--mean", "1", "2", "3", "--std", "1", "0", "1"], "deviations above 0"),
    ):
        assert main(["adopt", source, "--check-only", *arguments]) == 1
        assert told in capsys.readouterr().err
