"""`kit manifest`: the manifest holds what the checkpoint and the command line say, and mismatches are refused."""

from __future__ import annotations

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from built import pspnetd
from full_disk import fill
from PIL import Image
from tiny_tflite import identity

from pspnet_kit import checkpoint
from pspnet_kit.__main__ import main
from pspnet_kit.commands.manifest import parse_metrics, told
from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, build

CLASSES = [
    {"name": "lawn", "color": "#347e3d", "group": "ground"},
    {"name": "path", "color": "#b9ade0", "group": "ground"},
    {"name": "cat", "color": "#f86f1a", "group": ""},
]


def train(qat: bool = False, teacher: str = "", epochs: int = 3) -> dict[str, Any]:
    return {"command": "train", "epochs": epochs, "recipe": {"train": {"qat": qat}, "distil": {"teacher": teacher}}}


HISTORY = [
    train(),
    {"command": "prune", "importance": "taylor", "macs": 12_340_000},
    {"command": "factorise", "rule": {"energy": None, "ratio": None, "saving": 0.3}},
    train(teacher="runs/teacher/best.pt", epochs=4),
    {"command": "rebalance", "from": 0.5, "to": 0.1},
    train(qat=True, teacher="runs/teacher/best.pt", epochs=5),
]
TOLD = (
    "kit train (3 epochs); kit prune (taylor, to 12.3 M MACs); kit factorise (saving 0.3); kit distil (4 epochs); "
    "kit rebalance (class power 0.5 to 0.1); kit qat (5 epochs)"
)


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, Path]:
    """A checkpoint of three classes and a .tflite of three logits."""
    architecture = Architecture(
        3, stride=16, stages=4, bin_channels=8, head_channels=8, skip_stride=8, skip_channels=8, refine_channels=8
    )
    content = {
        "architecture": architecture.as_dict(),
        "model": build(architecture).state_dict(),
        "classes": CLASSES,
        "input": {"height": 96, "width": 96},
        "history": HISTORY,
        "metrics": {},
        "data": {"name": "garden", "licence": "my own pictures", "citation": ""},
    }
    checkpoint.save(tmp_path / "best.pt", content)
    return identity(tmp_path / "model.tflite", 8, 8), tmp_path / "best.pt"


def test_the_history_is_told_in_order() -> None:
    assert told(HISTORY) == TOLD
    assert told([]) == ""


def test_the_manifest_says_what_checkpoint_and_command_line_say(made: tuple[Path, Path]) -> None:
    model, source = made
    arguments = ["manifest", str(model), "--checkpoint", str(source), "--name", "garden", "--version", "2"]
    arguments += ["--licence", "CC0-1.0", "--description", "Lawn, path, cat", "--metric", "miou_val=71.5"]
    assert main([*arguments, "--metric", "pictures=11"]) == 0
    found = tomllib.loads(model.with_name("manifest.toml").read_text(encoding="utf-8"))
    assert found.pop("file")["path"] == "model.tflite"
    assert found.pop("input") == {"mean": [127] * 3, "std": [128] * 3}
    assert found == {
        "name": "garden",
        "version": "2",
        "licence": "CC0-1.0",
        "description": "Lawn, path, cat",
        "classes": [*CLASSES[:2], {"name": "cat", "color": "#f86f1a"}],
        "training": {"data": "garden", "licence": "my own pictures", "command": TOLD},
        "metrics": {"miou_val": 71.5, "pictures": 11},
    }


def test_the_daemon_takes_it(made: tuple[Path, Path], tmp_path: Path) -> None:
    model, source = made
    assert main(["manifest", str(model), "--checkpoint", str(source), "--name", "garden"]) == 0
    Image.new("RGB", (8, 8), (0, 255, 0)).save(tmp_path / "green.png")
    command: list[str | Path] = [
        pspnetd(),
        "predict",
        "--model",
        model,
        "-o",
        tmp_path / "out",
        tmp_path / "green.png",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert '"path"' in done.stdout and '"ground"' in done.stdout


def test_a_model_of_other_classes_is_refused(
    made: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source = made
    content = checkpoint.read(source)
    architecture = Architecture.from_dict({**content["architecture"], "classes": 2})
    two = {"architecture": architecture.as_dict(), "model": build(architecture).state_dict(), "classes": CLASSES[:2]}
    checkpoint.save(tmp_path / "two.pt", {**content, **two})
    assert main(["manifest", str(model), "--checkpoint", str(tmp_path / "two.pt"), "--name", "garden"]) == 1
    assert "model.tflite: its output is [1, 8, 8, 3], but" in capsys.readouterr().err
    assert not model.with_name("manifest.toml").exists()


@pytest.mark.parametrize("name", ["none.tflite", "best.pt"])
def test_what_is_no_model_is_refused(
    made: tuple[Path, Path], tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["manifest", str(tmp_path / name), "--checkpoint", str(made[1]), "--name", "garden"]) == 1
    assert f"{name}: no such .tflite file" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["miou", "miou=", "=3", "miou=high", "miou=nan", "miou=inf"])
def test_figures_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(KitError, match="expected NAME=VALUE with a finite number"):
        parse_metrics([text])


def test_a_figure_that_is_there_twice_is_refused() -> None:
    with pytest.raises(KitError, match="miou is there twice"):
        parse_metrics(["miou=1", "miou=2"])


def test_a_full_disk_leaves_the_former_manifest(
    made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, source = made
    manifest = model.with_name("manifest.toml")
    manifest.write_text("former")
    fill(monkeypatch)
    assert main(["manifest", str(model), "--checkpoint", str(source), "--name", "garden"]) == 1
    assert f"{manifest}: can't be written: No space left" in capsys.readouterr().err
    assert manifest.read_text() == "former"


def test_a_name_that_is_not_utf8_is_refused(made: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    model, source = made
    assert main(["manifest", str(model), "--checkpoint", str(source), "--name", "gard\udcffen"]) == 1
    assert "manifest.toml: a name in it is not UTF-8" in capsys.readouterr().err
    assert not model.with_name("manifest.toml").exists()
