"""Models as predictors: masks whose answer is known, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from built import bands, camvid, pspnetd
from PIL import Image
from tiny_tflite import convolution, identity

from pspnet_kit import checkpoint
from pspnet_kit.data import ClassInfo, open_dataset
from pspnet_kit.errors import KitError
from pspnet_kit.judge.daemon import Daemon
from pspnet_kit.judge.judgement import Agreement, agreement, judge
from pspnet_kit.judge.predictors import check_classes, default_name, manifest_beside, open_predictor
from pspnet_kit.model import Architecture, build


@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_a_tflite_tells_class_and_confidence(tmp_path: Path, kind: str) -> None:
    predictor = open_predictor(identity(tmp_path / "model.tflite", 12, 16, kind), "tiny")
    picture, label = bands()
    mask, confidence = predictor.predict(picture)
    np.testing.assert_array_equal(mask, label)
    # Logits 250 / 128 and twice 10 / 128, up to a common shift.
    assert confidence is not None
    assert confidence[0, 0] == pytest.approx(1 / (1 + 2 * np.exp(-240 / 128)), rel=1e-5)
    assert (predictor.name, predictor.size, predictor.classes) == ("tiny", (12, 16), 3)


def test_the_manifest_maps_pixels_and_names_classes(tmp_path: Path) -> None:
    model = identity(tmp_path / "model.tflite", 12, 16)
    manifest = tmp_path / "manifest.toml"
    # Tensor values run backwards: what is least in the picture has the greatest logit.
    manifest.write_text(
        '[file]\npath = "model.tflite"\n[input]\nmean = [255, 255, 255]\nstd = [1, 1, 1]\n'
        '[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n[[classes]]\nname = "c"\n'
    )
    predictor = open_predictor(model)
    assert predictor.class_names == ("a", "b", "c")
    assert predictor.predict(bands()[0])[0].max() == 0  # everything saturates at 0: all logits tie
    manifest.write_text('[file]\npath = "other.tflite"\n')
    assert manifest_beside(model) == {}
    (tmp_path / "model.toml").write_text("name =")
    with pytest.raises(KitError, match=r"model\.toml"):
        open_predictor(model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[[classes]]\nname = "a"\n[[classes]]\ncolor = "#000000"\n', r"classes\[1\] has no name"),
        ("classes = 3\n", "classes is 3, expected tables"),
        ('classes = ["a"]\n', r"classes\[0\] has no name"),
        ('file = "model.tflite"\n', "file is 'model.tflite', expected a table"),
        ("input = 1\n", "input is 1, expected a table"),
        ("[input]\nmean = [1, 2]\nstd = [1, 1, 1]\n", r"input\.mean is \[1, 2\], expected three numbers"),
        ("[input]\nmean = [1, 2, 3]\nstd = [1, 1, 0]\n", r"input\.std is \[1, 1, 0\], expected three numbers above 0"),
    ],
)
def test_a_manifest_that_pspnetd_would_not_take_is_named(tmp_path: Path, text: str, message: str) -> None:
    identity(tmp_path / "model.tflite", 12, 16)
    (tmp_path / "manifest.toml").write_text(text)
    with pytest.raises(KitError, match=f"^{tmp_path}/manifest\\.toml: {message}"):
        open_predictor(tmp_path / "model.tflite")


def test_a_checkpoint_tells_class_and_confidence(tmp_path: Path) -> None:
    torch.manual_seed(0)
    architecture = Architecture(classes=3, stages=4, bins=(1, 2), bin_channels=4, head_channels=4)
    network = build(architecture)
    with torch.no_grad():
        network.classifier.weight.zero_()
        network.classifier.bias.copy_(torch.tensor([0.0, 2.0, 1.0]))
    content = {
        "architecture": architecture.as_dict(),
        "model": network.state_dict(),
        "classes": [{"name": name, "color": "#000000", "group": ""} for name in "abc"],
        "input": {"height": 32, "width": 48},
        "history": [],
        "metrics": {},
    }
    checkpoint.save(tmp_path / "best.pt", content)
    predictor = open_predictor(tmp_path / "best.pt")
    mask, confidence = predictor.predict(bands()[0])
    assert mask.shape == (12, 16) and mask.dtype == np.uint8 and (mask == 1).all()
    assert confidence == pytest.approx(np.exp(2) / (1 + np.exp(2) + np.exp(1)), rel=1e-5)
    assert (predictor.size, predictor.class_names) == ((32, 48), ("a", "b", "c"))


def test_models_are_called_after_their_folder_where_all_files_have_one_name() -> None:
    assert default_name(Path("models/street-fast/model.tflite")) == "street-fast"
    assert default_name(Path("runs/a/student.pt")) == "student"


def test_other_classes_are_refused(tmp_path: Path) -> None:
    predictor = open_predictor(convolution(tmp_path / "m.tflite", 8, 8, 4))
    with pytest.raises(KitError, match="has 4 classes, data has 2"):
        check_classes(predictor, (ClassInfo("a", "#000000"), ClassInfo("b", "#000000")), Path("data"))
    predictor.class_names = ("a", "c", "b", "d")
    four = tuple(ClassInfo(name, "#000000") for name in "abcd")
    with pytest.raises(KitError, match="class 1 is 'c', in data it is 'b'"):
        check_classes(predictor, four, Path("data"))


def test_broken_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "broken.tflite").write_bytes(b"TFL3" * 10)
    files = {"broken.tflite": "TFLite refuses it", "gone.tflite": "no such file", "gone.pt": "no such file"}
    for name, message in files.items():
        with pytest.raises(KitError, match=message):
            open_predictor(tmp_path / name)
    (tmp_path / "model.onnx").touch()
    with pytest.raises(KitError, match=r"expected a checkpoint \(.pt\)"):
        open_predictor(tmp_path / "model.onnx")


def test_every_figure_of_a_perfect_model(tmp_path: Path) -> None:
    dataset = open_dataset(camvid(tmp_path))
    predictor = open_predictor(identity(tmp_path / "model.tflite", 12, 16))
    found = judge(predictor, dataset, dataset.pairs("val"))
    assert found.confusion.mean_iou() == 1
    assert found.confusion.pixels == 2 * 12 * 16 - 12
    assert found.boundary.mean() == 1
    assert found.calibration.pixels.sum() == found.confusion.pixels
    assert found.picture_accuracy == {"a": 1.0, "b": 1.0}


def test_the_limit_of_disagreement() -> None:
    assert Agreement(1, 10_000, 10, 0.5, 0.5).holds
    assert not Agreement(1, 10_000, 11, 0.5, 0.5).holds
    assert "11 of 10000 pixels differ" in Agreement(1, 10_000, 11, 0.5, 0.5).sentence()


def test_the_daemon_agrees(tmp_path: Path) -> None:
    daemon = Daemon(pspnetd())
    dataset = open_dataset(camvid(tmp_path))
    predictor = open_predictor(identity(tmp_path / "model.tflite", 2, 8))
    found = agreement(predictor, daemon, dataset, dataset.pairs("val"))
    assert (found.pictures, found.pixels, found.differing) == (2, 2 * 12 * 16, 0)
    assert found.daemon_mean_iou == pytest.approx(found.mean_iou) and found.mean_iou < 1


@pytest.mark.parametrize("orientation", [3, 6])
def test_the_daemon_agrees_on_a_picture_that_exif_turns(tmp_path: Path, orientation: int) -> None:
    daemon = Daemon(pspnetd())
    dataset = open_dataset(camvid(tmp_path))
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(bands()[0]).save(tmp_path / "val/images/a.png", exif=exif)
    predictor = open_predictor(identity(tmp_path / "model.tflite", 12, 16))
    found = agreement(predictor, daemon, dataset, dataset.pairs("val"))
    assert (found.differing, found.mean_iou, found.daemon_mean_iou) == (0, 1, 1)


def test_a_missing_or_failing_daemon_is_told(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="expected the pspnetd binary"):
        Daemon(tmp_path / "pspnetd")
    fake = tmp_path / "pspnetd"
    fake.write_text("#!/bin/sh\necho broken >&2\nexit 78\n")
    fake.chmod(0o755)
    with pytest.raises(KitError, match="exit code 78: broken"):
        Daemon(fake)
