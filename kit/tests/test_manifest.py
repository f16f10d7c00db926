"""The manifest writer: what it writes is read back by a TOML parser, and what pspnetd would refuse is refused."""

from __future__ import annotations

import hashlib
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from needs import needs

from pspnet_kit.errors import KitError
from pspnet_kit.export.manifest import Manifest, Training, write_manifest

REPOSITORY = Path(__file__).resolve().parents[2]
CLASSES = (
    {"name": "sky", "color": "#009ffb", "group": "sky"},
    {"name": "pole", "color": "#d7ffac", "group": "structure"},
    {"name": "road", "color": "#191e2c"},
)
PLAIN = Manifest("street-tiny", "1.2.0", "Research only, see README.md", "Names streets", CLASSES)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(b"weights")
    return path


def written(manifest: Manifest, model: Path) -> dict[str, object]:
    path = write_manifest(manifest, model)
    assert path == model.with_name("manifest.toml")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def test_a_whole_manifest(model: Path) -> None:
    training = Training("CamVid, train and val", "CC BY-NC 4.0", "Brostow et al. 2008", "kit train recipe.toml")
    metrics = {"miou_heldout": 64.2, "pictures": 233, "ms at 1 core": 11.5}
    assert written(replace(PLAIN, training=training, metrics=metrics), model) == {
        "name": "street-tiny",
        "version": "1.2.0",
        "licence": "Research only, see README.md",
        "description": "Names streets",
        "file": {"path": "model.tflite", "sha256": hashlib.sha256(b"weights").hexdigest()},
        "input": {"mean": [127, 127, 127], "std": [128, 128, 128]},
        "classes": [
            {"name": "sky", "color": "#009ffb", "group": "sky"},
            {"name": "pole", "color": "#d7ffac", "group": "structure"},
            {"name": "road", "color": "#191e2c"},
        ],
        "training": {
            "data": "CamVid, train and val",
            "licence": "CC BY-NC 4.0",
            "citation": "Brostow et al. 2008",
            "command": "kit train recipe.toml",
        },
        "metrics": metrics,
    }


def test_empty_tables_are_left_out(model: Path) -> None:
    read = written(PLAIN, model)
    assert "training" not in read and "metrics" not in read


def test_what_the_compiler_made_is_named_where_it_lies_beside_the_model(model: Path) -> None:
    assert "edgetpu" not in written(PLAIN, model)
    model.with_name("model_edgetpu.tflite").write_bytes(b"compiled")
    digest = hashlib.sha256(b"compiled").hexdigest()
    assert written(PLAIN, model)["edgetpu"] == {"path": "model_edgetpu.tflite", "sha256": digest}


def test_the_order_of_the_parts(model: Path) -> None:
    lines = write_manifest(replace(PLAIN, description=""), model).read_text().splitlines()
    assert lines[0].startswith("# What pspnetd needs to know about model.tflite")
    assert lines[1:4] == ["", 'name = "street-tiny"', 'version = "1.2.0"']
    assert [line for line in lines if line.startswith("[")][:3] == ["[file]", "[input]", "[[classes]]"]
    assert "\n\n\n" not in "\n".join(lines)


@pytest.mark.parametrize("text", ['a "quoted" word', "C:\\new\\table", "two\nlines", "Grüße, 東京 🛣", "\x07\x7f\x00"])
def test_any_text_survives(model: Path, text: str) -> None:
    assert written(replace(PLAIN, licence=text), model)["licence"] == text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": ""}, "the name is empty"),
        ({"classes": CLASSES[:1]}, "1 classes; expected 2 to 255"),
        ({"classes": [{"name": f"{i}"} for i in range(256)]}, "256 classes"),
        ({"classes": [*CLASSES, {"name": "sky"}]}, "class 'sky' is there twice"),
        ({"classes": [*CLASSES, {"color": "#000000"}]}, "class 3 has no name"),
        ({"classes": [*CLASSES, {"name": "car", "color": "red"}]}, "'car' has color 'red'; expected #rrggbb"),
        ({"metrics": {"miou": float("nan")}}, "metric miou is nan"),
    ],
)
def test_what_pspnetd_refuses_is_refused(model: Path, change: dict[str, object], expected: str) -> None:
    with pytest.raises(KitError, match=f"manifest.toml: .*{expected}"):
        write_manifest(replace(PLAIN, **change), model)  # type: ignore[arg-type]
    assert not model.with_name("manifest.toml").exists()


def test_a_missing_model(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"none\.tflite"):
        write_manifest(PLAIN, tmp_path / "none.tflite")


def test_pspnetd_reads_it(tmp_path: Path) -> None:
    program = REPOSITORY / "target/release/pspnetd"
    needs(program.is_file(), f"{program} is not built: cargo build --release")
    model = tmp_path / "model.tflite"
    model.write_bytes((REPOSITORY / "tests/models/colours_96x64_int8.tflite").read_bytes())
    names = ("black", "white", "red", "green", "blue", "yellow", "cyan", "magenta")
    write_manifest(replace(PLAIN, classes=[{"name": name, "color": "#123456"} for name in names]), model)
    picture = REPOSITORY / "tests/media/colours/3_double.png"
    done = subprocess.run(
        [program, "predict", "--model", model, "--output", tmp_path / "out", picture], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
