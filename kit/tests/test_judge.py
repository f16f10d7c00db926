"""`kit judge` and `kit ablation` from their arguments to what they write."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
from built import camvid, pspnetd
from PIL import Image
from tiny_tflite import convolution

from pspnet_kit import page
from pspnet_kit.commands import ablation, judge
from pspnet_kit.errors import KitError
from pspnet_kit.judge import judgement, plots


def call(command: object, *arguments: object) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)  # type: ignore[attr-defined]
    command.run(parser.parse_args([str(argument) for argument in arguments]))  # type: ignore[attr-defined]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data set of two pictures, and in it a model of 11 classes that answers the first one everywhere."""
    convolution(camvid(tmp_path) / "sky.tflite", 8, 12, classes=11)
    return tmp_path


def test_everything_is_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    outputs = {name: root / f"{name}.png" for name in ("gallery", "reliability", "plot")}
    options = [part for name, path in outputs.items() for part in (f"--{name}", path)]
    timing = ("--speed", "--rounds", 1, "--seconds", 0.001)
    models = (root / "sky.tflite", f"again={root / 'sky.tflite'}")
    call(judge, *models, "--data", root, *timing, *options, "--json", root / "all.json")
    told = json.loads((root / "all.json").read_text())
    assert [model["name"] for model in told["models"]] == ["sky", "again"]
    # Three bands of one size, all called the first: 1/3 of the pixels, and nothing for the two others.
    assert told["models"][0]["miou"] == pytest.approx(1 / 9)
    assert told["models"][0]["macs"] == 4 * 6 * 11 * 27
    assert told["models"][0]["speed"]["engine"] == "LiteRT, CPU time"
    assert all(Image.open(path).width > 1000 for path in outputs.values())
    assert ["mIoU", "11.11", "11.11"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_only_and_limit_choose_pictures(root: Path) -> None:
    for options in (("--only", "b"), ("--without", "a"), ("--limit", 1)):
        call(judge, root / "sky.tflite", "--data", root, *options, "--json", root / "all.json")
        assert json.loads((root / "all.json").read_text())["models"][0]["pictures"] == 1


def test_a_daemon_that_disagrees_ends_in_an_error(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = (root / "sky.tflite", "--data", root, "--pspnetd", pspnetd())
    call(judge, *arguments)
    monkeypatch.setattr(judgement, "MOST_DISAGREEMENT", -1.0)
    with pytest.raises(KitError, match=r"sky\.tflite: 0 of 384 pixels differ"):
        call(judge, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plot", "plot.png"), "--plot needs --speed"),
        (("--gallery", "/dev/null/gallery.png"), "gallery.png: can't be written"),
        (("--json", "/dev/null/all.json"), "all.json: can't be written"),
        (("--reliability", "/dev/null/curves.png"), "curves.png: can't be written"),
        (("--reliability", "curves.xyz"), r"curves.xyz: plots can't be .xyz files"),
        (("--engine", "pspnetd"), "needs --pspnetd"),
        (("--limit", "0"), "expected at least 1"),
        (("--rounds", "0"), "expected at least 1"),
        (("--gallery-pictures", "0"), "expected at least 1"),
    ],
)
def test_mistakes_are_told_at_once(root: Path, arguments: tuple[str, str], message: str) -> None:
    with pytest.raises(KitError, match=message):
        call(judge, root / "sky.tflite", "--data", root, *arguments)


def test_a_broken_picture_is_told_before_any_model_runs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("a model was opened")

    (root / "val/labels/b.png").write_text("no picture")
    monkeypatch.setattr(judge, "open_all", run)
    with pytest.raises(KitError, match=r"b\.png: this is no picture"):
        call(judge, root / "sky.tflite", "--data", root)


def test_names_that_are_not_utf8_are_drawn_and_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("images", "labels"):
        path = root / "val" / folder / "a.png"
        path.rename(path.with_name(os.fsdecode(b"a\xff.png")))
    model = (root / "sky.tflite").rename(root / os.fsdecode(b"sk\xff.tflite"))
    outputs = ("--gallery", root / "g.png", "--reliability", root / "r.png", "--json", root / "all.json")
    call(judge, model, "--data", root, *outputs)
    assert "sk\\udcff" in capsys.readouterr().out
    (told,) = json.loads((root / "all.json").read_text())["models"]
    assert set(told["pixel_accuracy_by_picture"]) == {"a\udcff", "b"}
    assert Image.open(root / "g.png").width > 1000 and Image.open(root / "r.png").width > 1000


def test_a_file_that_is_no_model_is_named(root: Path) -> None:
    with pytest.raises(KitError, match=r"notes\.txt: expected a checkpoint"):
        call(judge, root / "notes.txt", "--data", root)


def test_the_table_goes_into_the_document(root: Path) -> None:
    (root / "list.toml").write_text('[[row]]\nname = "sky"\nmodel = "sky.tflite"\nnote = "all sky"\n')
    document = root / "models.md"
    document.write_text("# Models\n<!-- ablation -->\n<!-- /ablation -->\nend\n")
    options = ("--rounds", 1, "--seconds", 0.001, "--docs", document, "--plot", root / "plot.png")
    call(ablation, root / "list.toml", "--data", root, *options)
    text = document.read_text()
    assert text.startswith("# Models\n<!-- ablation -->\nMeasured") and text.endswith("<!-- /ablation -->\nend\n")
    assert "| sky | 11.11 |" in text and "| all sky |" in text
    assert (root / "plot.png").is_file()


def test_a_disagreement_loses_no_table_and_reaches_no_document(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disagreeing(*judged: Any) -> Any:
        found = judge_all(*judged)
        found[0].agreement = judgement.Agreement(2, 1000, 500, 0.1, 0.1)
        return found

    judge_all = judge.judge_all
    monkeypatch.setattr(ablation, "judge_all", disagreeing)
    (root / "list.toml").write_text('[[row]]\nname = "sky"\nmodel = "sky.tflite"\n')
    document, options = root / "models.md", ("--rounds", 1, "--seconds", 0.001, "--json", root / "all.json")
    document.write_text("<!-- ablation -->\n<!-- /ablation -->\n")
    with pytest.raises(KitError, match=r"sky\.tflite: 500 of 1000 pixels differ"):
        call(ablation, root / "list.toml", "--data", root, *options, "--docs", document)
    assert "| sky | 11.11 |" in capsys.readouterr().out
    assert json.loads((root / "all.json").read_text())["models"][0]["agreement"]["differing"] == 500
    assert document.read_text() == "<!-- ablation -->\n<!-- /ablation -->\n"


@pytest.mark.parametrize("option", ["--json", "--plot", "--docs"])
def test_places_that_can_not_be_written_are_refused_before_judging(
    root: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(path: Path) -> None:
        raise KitError(f"{path}: can't be written: tried")

    (root / "list.toml").write_text('[[row]]\nname = "sky"\nmodel = "sky.tflite"\n')
    (root / "out").write_text("<!-- ablation -->\n<!-- /ablation -->\n")
    monkeypatch.setattr(judge, "check_file", no_room)
    monkeypatch.setattr(plots, "check_file", no_room)
    monkeypatch.setattr(page, "check_file", no_room)
    monkeypatch.setattr(plots, "_format", lambda path: "png")
    with pytest.raises(KitError, match="out: can't be written: tried"):
        call(ablation, root / "list.toml", "--data", root / "none", option, root / "out")


def test_a_document_without_markers_is_refused_before_judging(root: Path) -> None:
    (root / "list.toml").write_text('[[row]]\nname = "sky"\nmodel = "sky.tflite"\n')
    (root / "models.md").write_text("# Models\n")
    with pytest.raises(KitError, match=r"models\.md: expected one line"):
        call(ablation, root / "list.toml", "--data", root, "--docs", root / "models.md")
