"""The whole way on a few generated pictures: check, train, distil, prune, factorise, QAT, int8, exports, the daemon."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from needs import needs
from PIL import Image

from pspnet_kit.data import open_dataset

KIT = Path(__file__).parents[1]
BINARY = Path(os.environ.get("PSPNETD", KIT.parent / "target/release/pspnetd"))
RECIPE = """
weights = "imagenet"

[model]
backbone = "efficientnet-lite0"
stride = 16
stages = 4
bin_channels = 8
head_channels = 24
skip_stride = 8
skip_channels = 8
refine_channels = 16

[train]
size = [96, 96]
phases = [{ epochs = 6, crop = [96, 96] }, { epochs = 1, crop = [96, 96] }]
batch = 4
label_stride = 1
warmup = 2
average = 0.5
rate = 3e-3
"""


def kit(*arguments: str | Path, fails: bool = False) -> str:
    """What the command printed, both streams."""
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    done = subprocess.run(
        [sys.executable, "-m", "pspnet_kit", *map(str, arguments)], capture_output=True, text=True, env=environment
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 1) == fails and done.returncode in (0, 1), output
    return output


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of a bright sky, a dark ground and a red box, described by dataset.toml."""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for number in range(12):
        label = np.zeros((96, 128), np.uint8)
        horizon = int(random.integers(30, 60))
        label[horizon:] = 1
        x, y = (int(v) for v in random.integers(5, 60, 2))
        label[y : y + 30, x : x + 40] = 2
        colours = np.array([[190, 210, 240], [70, 80, 60], [200, 40, 30]], np.float32)
        image = colours[label] + random.normal(0, 8, (96, 128, 3))
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"images/p{number:02}.png")
        Image.fromarray(label).save(root / f"labels/p{number:02}.png")
    (root / "dataset.toml").write_text(
        'name = "boxes"\nlabels = "index"\n'
        '[splits]\nval = { fraction = 0.25 }\n[splits.train]\nimages = "images"\nlabels = "labels"\n'
        + "".join(
            f'[[classes]]\nname = "{name}"\ncolor = "{color}"\n'
            for name, color in (("sky", "#5090e0"), ("ground", "#405030"), ("box", "#d03020"))
        )
    )
    return root


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which every step left its result."""
    out = tmp_path_factory.mktemp("runs")
    recipe = out / "recipe.toml"
    recipe.write_text(RECIPE)
    common = ("--data", data, "--set", 'data.judge="val"')
    kit("train", recipe, "--out", out / "teacher", *common)
    kit("distil", recipe, "--teacher", out / "teacher/final.pt", "--out", out / "student", *common)
    kit("prune", out / "student/final.pt", "--ratio", "0.3", "--data", data, "--out", out / "thin.pt")
    kit("factorise", out / "thin.pt", "--ratio", "0.5", "--out", out / "factors.pt")
    short = ("--set", "train.phases=[{epochs=2,crop=[96,96]}]")
    kit("train", recipe, "--from", out / "factors.pt", "--out", out / "tuned", *common, *short)
    kit("qat", recipe, "--from", out / "tuned/final.pt", "--out", out / "qat", *common, *short)
    kit("quantise", out / "qat/final.pt", "--out", out / "model.tflite", "--calibration", data)
    return out


def test_training_learned_what_is_easy(runs: Path) -> None:
    history = [json.loads(line) for line in (runs / "teacher/history.jsonl").read_text().splitlines()]
    assert len(history) == 7
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    assert history[-1]["miou"] > 50
    assert (runs / "teacher/curves.png").stat().st_size > 1000


def test_every_step_is_in_the_history_and_shapes_shrink(runs: Path) -> None:
    from pspnet_kit.checkpoint import load_model

    model, meta = load_model(runs / "qat/final.pt")
    assert [step["command"] for step in meta["history"]] == ["train", "prune", "factorise", "train", "train"]
    whole, _ = load_model(runs / "student/final.pt")
    count = [sum(p.numel() for n, p in m.named_parameters() if not n.startswith("auxiliary")) for m in (whole, model)]
    assert count[1] < 0.85 * count[0]
    assert meta["ranges"]


def test_a_killed_run_goes_on_to_the_same_result(runs: Path, data: Path) -> None:
    import torch

    from pspnet_kit import checkpoint

    common = (runs / "recipe.toml", "--data", data, "--set", 'data.judge="val"')
    out = runs / "resumed"
    environment = {**os.environ, "PYTHONPATH": str(KIT)}
    command = [sys.executable, "-m", "pspnet_kit", "train", *map(str, common), "--out", str(out)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if line.startswith("epoch 2/"):
            break
    process.kill()
    process.wait()
    assert "holds a run already" in kit("train", *common, "--out", out, fails=True)
    kit("train", *common, "--out", out, "--resume")
    straight = checkpoint.read(runs / "teacher/final.pt")["model"]
    resumed = checkpoint.read(out / "final.pt")["model"]
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_two_processes_train_one_network(runs: Path, data: Path) -> None:
    out = runs / "two"
    short = ("--set", "train.phases=[{epochs=2,crop=[96,96]}]", "--set", "train.batch=2")
    kit("train", runs / "recipe.toml", "--data", data, "--out", out, "--processes", "2", *short)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert history[1]["loss"] < history[0]["loss"]


def test_exports_agree_with_the_network(runs: Path, data: Path) -> None:
    output = kit("export", runs / "student/final.pt", "--to", "torchscript", "-o", runs, "--pictures", data / "images")
    assert "100.00 %" in output


def test_the_edge_tpu_takes_it(runs: Path) -> None:
    done = subprocess.run(
        [sys.executable, KIT / "check_edgetpu.py", runs / "model.tflite"], capture_output=True, text=True
    )
    assert "half_pixel" not in done.stdout + done.stderr
    assert done.returncode in (0, 1)


def test_the_daemon_gives_the_same_masks(runs: Path, data: Path) -> None:
    needs(BINARY.exists(), "pspnetd is not built: cargo build --release")
    output = kit("judge", runs / "model.tflite", "--data", data, "--split", "val", "--pspnetd", BINARY)
    assert re.search(r": 0 of \d+ pixels differ", output), output
    masks = runs / "masks"
    command: list[str | Path] = [
        BINARY,
        "predict",
        "--model",
        runs / "model.tflite",
        data / "images/p00.png",
        "-o",
        masks,
    ]
    subprocess.run(command, check=True)
    assert np.asarray(Image.open(masks / "p00_mask.png")).shape == (96, 128)


def test_bad_input_is_refused_before_any_time_is_spent(runs: Path, data: Path, tmp_path: Path) -> None:
    recipe = runs / "recipe.toml"
    out = ("--out", tmp_path / "out")
    broken = tmp_path / "data"
    shutil.copytree(data, broken)
    name = open_dataset(data).pairs("train")[0].image.name
    Image.new("L", (10, 10)).save(broken / "labels" / name)
    assert name in kit("train", recipe, "--data", broken, *out, fails=True)
    Image.fromarray(np.full((96, 128), 9, np.uint8)).save(broken / "labels" / name)
    assert name in kit("train", recipe, "--data", broken, *out, fails=True)
    (broken / "images" / name).write_bytes(b"no picture")
    assert name in kit("train", recipe, "--data", broken, *out, fails=True)
    assert "train.bach" in kit("train", recipe, "--data", data, *out, "--set", "train.bach=1", fails=True)
    assert "paste_classes: 9" in kit(
        "train", recipe, "--data", data, *out, "--set", "augment.paste_classes=[9]", fails=True
    )
    assert "multiple of 96" in kit("train", recipe, "--data", data, *out, "--set", "train.size=[100,96]", fails=True)
    assert "fewer than one batch" in kit("train", recipe, "--data", data, *out, "--set", "train.batch=64", fails=True)
    teacher = runs / "model.tflite"
    assert "model.tflite" in kit("distil", recipe, "--data", data, *out, "--teacher", teacher, fails=True)
    other = ("--set", "model.head_channels=32", "--from", runs / "teacher/final.pt")
    assert "head_channels" in kit("train", recipe, "--data", data, *out, *other, fails=True)
    one = tmp_path / "one"
    one.mkdir()
    shutil.copy(data / "images/p00.png", one)
    int8 = ("quantise", runs / "student/final.pt", "--out", tmp_path / "x.tflite")
    assert "one picture" in kit(*int8, "--calibration", one, fails=True)
    assert not (tmp_path / "out").exists()
