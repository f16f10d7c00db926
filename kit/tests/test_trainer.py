"""What a run refuses before time is spent, and what it leaves when it is killed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_checkpoint
import torch
from PIL import Image
from tiny_recipe import RECIPE
from torch import Tensor

from pspnet_kit import checkpoint
from pspnet_kit.__main__ import main
from pspnet_kit.errors import KitError
from pspnet_kit.files import sole_writer
from pspnet_kit.recipe import read
from pspnet_kit.training.curves import Curves
from pspnet_kit.training.device import join
from pspnet_kit.training.loop import Trainer


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Four pictures in two halves of two classes; the third class, c, is nowhere."""
    root = tmp_path / "data"
    label = np.zeros((96, 96), np.uint8)
    label[48:] = 1
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True)
    for number in range(4):
        Image.fromarray(label[..., None].repeat(3, -1) * 200).save(root / f"images/{number}.png")
        Image.fromarray(label).save(root / f"labels/{number}.png")
    classes = "".join(f'[[classes]]\nname = "{name}"\ncolor = "#00000{name}"\n' for name in "abc")
    (root / "dataset.toml").write_text(
        f'name = "halves"\nlicence = "mine"\nlabels = "index"\n'
        f'[splits.train]\nimages = "images"\nlabels = "labels"\n{classes}'
    )
    return root


def trainer(recipe: Path, data: Path | None, out: Path, *overrides: str, resume: bool = False) -> Trainer:
    root = [f'data.root="{data}"'] if data else []
    return Trainer(read(recipe, [*root, *overrides]), out, join(), resume, fast=False)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch=1"], r"train\.batch 1: .* two pictures"),
        (["train.size=[96, 100]"], "input width 100: .* multiple of 96"),
        (
            ["train.qat=true", "train.phases=[{epochs=1,crop=[96,96]},{epochs=1,crop=[80,96]}]"],
            "input height 80: .* multiple of 96",
        ),
    ],
)
def test_sizes_that_fail_later_are_refused_at_once(
    recipe: Path, data: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(KitError, match=message):
        trainer(recipe, data, recipe.parent / "out", *overrides)


def test_places_are_tried_before_pictures_are_read(recipe: Path, tmp_path: Path) -> None:
    missing = tmp_path / "no data"
    with pytest.raises(KitError, match=f"{recipe}: can't be written"):
        trainer(recipe, missing, recipe)
    (tmp_path / "held").mkdir()
    (tmp_path / "held/last.pt").touch()
    with pytest.raises(KitError, match="held: holds a run already"):
        trainer(recipe, missing, tmp_path / "held")
    with pytest.raises(KitError, match=r"no data set is named: .* --data"):
        trainer(recipe, None, tmp_path / "out")


@pytest.mark.parametrize("start", ["all", "backbone"])
def test_the_licence_of_what_a_run_starts_from_stays(recipe: Path, data: Path, tmp_path: Path, start: str) -> None:
    street = {"name": "CamVid", "licence": "non-commercial", "citation": "Brostow 2008."}
    path = tiny_checkpoint.save(tmp_path / "start.pt", tiny_checkpoint.tiny(bin_channels=8), data=street)
    weights = f'weights="{"backbone:" if start == "backbone" else ""}{path}"'
    run = trainer(recipe, data, tmp_path / "out", weights, "train.class_power=0.0")
    assert run._finished()["data"]["licence"] == "halves: mine; CamVid: non-commercial"
    taught = trainer(recipe, data, tmp_path / "taught", f'distil.teacher="{path}"')
    assert taught._finished()["data"]["name"] == "halves, CamVid"


def test_an_auxiliary_classifier_without_a_loss_is_not_trained(recipe: Path, data: Path, tmp_path: Path) -> None:
    for weight, trained in (("0.0", False), ("0.4", True)):
        run = trainer(recipe, data, tmp_path / weight, f"train.auxiliary={weight}")
        assert all(parameter.requires_grad == trained for parameter in run.model.auxiliary.parameters())
        assert all(parameter.requires_grad for parameter in run.model.head.parameters())


def test_a_kill_between_the_writes_loses_no_epoch(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    phases, out = "train.phases=[{epochs=3,crop=[96,96]}]", tmp_path / "out"
    whole = trainer(recipe, data, tmp_path / "whole", phases)
    whole.run()
    saved, count = checkpoint.save, 0

    def killed(path: Path, content: dict[str, Any]) -> None:
        nonlocal count
        count += path.name == "last.pt"
        if count == 2:
            raise KilledError
        saved(path, content)

    monkeypatch.setattr(checkpoint, "save", killed)
    with pytest.raises(KilledError):
        trainer(recipe, data, out, phases).run()
    monkeypatch.undo()
    trainer(recipe, data, out, phases, resume=True).run()
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert [entry["epoch"] for entry in history] == [1, 2, 3]
    expected = [json.loads(line)["loss"] for line in (tmp_path / "whole/history.jsonl").read_text().splitlines()]
    assert [entry["loss"] for entry in history] == expected


@pytest.mark.parametrize("rate", ["1e30", "1e6"])
@pytest.mark.parametrize("qat", ["false", "true"])
def test_a_run_that_diverges_is_one_error(recipe: Path, data: Path, tmp_path: Path, qat: str, rate: str) -> None:
    out = tmp_path / "out"
    overrides = [f"train.rate={rate}", f"train.qat={qat}", "train.optimiser='sgd'", "train.warmup=0"]
    run = trainer(recipe, data, out, "train.phases=[{epochs=30,crop=[96,96]}]", *overrides)
    with pytest.raises(KitError, match=r"^epoch \d+: .*; training diverges: take a smaller train\.rate") as error:
        run.run()
    last = out / "last.pt"
    assert (f"{last} is the state before" in str(error.value)) == last.is_file()
    if last.is_file():
        kept = checkpoint.read(last)["network"]
        assert all(torch.isfinite(tensor).all() for tensor in kept.values())


def test_a_range_that_diverges_is_one_error(recipe: Path, data: Path, tmp_path: Path) -> None:
    run = trainer(recipe, data, tmp_path / "out", "train.qat=true")
    with torch.no_grad():
        run.network.high.fill_(float("nan"))
    with pytest.raises(
        KitError, match=r"^epoch 1: .* expected finite numbers; training diverges: take a smaller train\.rate$"
    ):
        run.run()


def test_gradients_that_are_infinite_reach_no_weight(
    recipe: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = trainer(recipe, data, tmp_path / "out")
    before = {name: value.clone() for name, value in run.network.named_parameters()}
    loss = run._loss
    monkeypatch.setattr(run, "_loss", lambda *batch: Steep.apply(loss(*batch)))
    with pytest.raises(KitError, match=r"^epoch 1: the norm of the gradients is (inf|nan); training diverges"):
        run.run()
    assert all(torch.equal(value, before[name]) for name, value in run.network.named_parameters())


class Steep(torch.autograd.Function):
    """The value itself, with an infinite gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] * float("inf")


def test_two_runs_do_not_write_one_folder(
    recipe: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["train", str(recipe), "--data", str(data), "--out", str(tmp_path / "out"), "--plain"]
    with sole_writer(tmp_path / "out"):
        assert main(arguments) == 1
    assert f"kit train: {tmp_path}/out: another run writes to it" in capsys.readouterr().err
    assert main(arguments) == 0
    assert (tmp_path / "out/final.pt").is_file()


@pytest.mark.parametrize("change", ["another name", "another size", "another label"])
def test_a_run_does_not_go_on_with_other_pictures(recipe: Path, data: Path, tmp_path: Path, change: str) -> None:
    trainer(recipe, data, tmp_path / "out").run()
    trainer(recipe, data, tmp_path / "out", resume=True)
    if change == "another name":
        for folder in ("images", "labels"):
            (data / folder / "0.png").rename(data / folder / "new.png")
    elif change == "another size":
        noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
        Image.fromarray(noise).save(data / "images/1.png")
    else:
        Image.fromarray(np.eye(96, dtype=np.uint8)).save(data / "labels/2.png")
    with pytest.raises(KitError, match=r"last\.pt: the pictures and labels in .*data are not those"):
        trainer(recipe, data, tmp_path / "out", resume=True)


def test_a_checkpoint_of_before_goes_on_with_a_note(
    recipe: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer(recipe, data, tmp_path / "out").run()
    last = tmp_path / "out/last.pt"
    state = checkpoint.read(last)
    del state["pictures"]
    checkpoint.save(last, state)
    with caplog.at_level("INFO"):
        assert trainer(recipe, data, tmp_path / "out", resume=True).done == 1
    assert "last.pt notes no files of the data set" in caplog.text


def test_a_torn_history_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"epoch": 1, "loss": 2.0}\n{"epoch": 2, "lo')
    assert [entry["epoch"] for entry in Curves(tmp_path).entries] == [1]
