"""`kit exam` from its arguments to what it writes."""

from __future__ import annotations

import argparse
import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from built import bands, pspnetd
from exam_files import drawing, jpeg, model, picture, rows
from full_disk import fill
from PIL import Image

from pspnet_kit.commands import exam
from pspnet_kit.errors import KitError
from pspnet_kit.exam import hold, report
from pspnet_kit.judge.daemon import Daemon

SETS = """
[[set]]
name = "yard"
place = "outdoor"
pictures = "yard"
labels = "labelme"
impossible = ["sky"]

[[set]]
name = "hall"
place = "outdoor"
pictures = "hall"
impossible = ["person", "vehicle"]
teacher = "teacher/model.tflite"
sure = 0.6

[[set]]
name = "clip"
place = "fixed camera"
clip = "clip.mjpeg"

[[set]]
name = "away"
place = "outdoor"
pictures = "away_*.jpg"
[set.source]
repository = "github:owner/name"
licence = "CC0"
"""


def call(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    exam.configure(parser)
    exam.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.fixture
def sets(tmp_path: Path) -> Path:
    """Three sets that are here and one that is not, and two models with other classes: red is sky, or a van."""
    picture(tmp_path / "yard/a.png")
    # Red is labelled as sky, of the green half as road and half as grass, blue is not labelled.
    drawing(tmp_path / "yard/a.json", [rows("sky", 0, 3), rows("paved", 4, 5), rows("plant", 6, 7)])
    picture(tmp_path / "hall/b.png")
    # The last frame differs in the blue band, which is no longer still.
    other = bands()[0].copy()
    other[8:] = (250, 10, 10)
    (tmp_path / "clip.mjpeg").write_bytes(jpeg(bands()[0]) * 3 + jpeg(other))
    model(tmp_path / "one")
    model(tmp_path / "two", ("van", "grass", "person"))
    model(tmp_path / "teacher", ("wall", "floor", "person"))
    (tmp_path / "sets.toml").write_text(SETS)
    return tmp_path


def told(sets: Path, *options: object) -> Any:
    models = (sets / "one/model.tflite", f"second={sets / 'two/model.tflite'}")
    call(*models, "--sets", sets / "sets.toml", "--json", sets / "all.json", *options)
    return json.loads((sets / "all.json").read_text())


def test_models_of_other_classes_are_judged_side_by_side(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(sets)
    one, two = found["models"]
    assert (one["name"], two["name"]) == ("one", "second")
    assert one["groups"] == {"sky": "sky", "road": "paved", "pedestrian": "person"}
    assert two["groups"] == {"van": "vehicle", "grass": "plant", "person": "person"}
    yard = one["litert"]["sets"]["yard"]
    assert yard["iou"] == {"sky": 1.0, "paved": 0.5, "plant": 0.0}
    assert yard["miou"] == 0.5 and yard["labelled_groups"] == ["sky", "paved", "plant"]
    assert yard["impossible"] == 0  # the sky is labelled
    assert two["litert"]["sets"]["yard"]["miou"] == pytest.approx(0.5 / 3)
    hall = [each["litert"]["sets"]["hall"] for each in (one, two)]
    assert [each["impossible"] for each in hall] == [pytest.approx(1 / 3), pytest.approx(2 / 3)]
    sure = 1 / (1 + 2 * np.exp(-240 / 128))
    assert [each["impossible_confidence"] for each in hall] == [pytest.approx(sure, rel=1e-5)] * 2
    assert [each["persons_iou_teacher"] for each in hall] == [1.0, 1.0]
    assert one["litert"]["sets"]["clip"]["flips"] == 0
    assert one["litert"]["places"]["outdoor"]["pictures"] == 2 and one["litert"]["all"]["pictures"] == 6
    assert one["pspnetd"] is None

    lines = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    cells = [[cell.strip() for cell in line if cell] for line in lines]
    assert ["mIoU of the labelled groups, %", "one", "second"] in cells
    assert ["yard", "50.00", "16.67"] in cells
    assert ["hall", "33.33", "66.67"] in cells
    assert ["all outdoor", "16.67", "33.33"] in cells
    assert [f"hall ({sets.name}/teacher, sure by 0.6)", "100.00", "100.00"] in cells
    assert cells[-1] == ["set away is left out; not here: away_*.jpg (from github:owner/name, CC0)"]


def test_speed_is_told_against_the_last_model(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(exam, "ROUNDS", 1)
    told(sets, "--only", "yard", "--speed")
    lines = capsys.readouterr().out.splitlines()[-3:]
    assert lines[0].startswith("times as fast as second") and lines[1].startswith("one")
    assert lines[2].split()[:2] == ["second", "1.00"]


def test_what_is_away_is_in_the_json_too(sets: Path) -> None:
    found = {each["name"]: each for each in told(sets)["sets"]}
    assert found["away"]["missing"] == ["away_*.jpg (from github:owner/name, CC0)"]
    assert found["hall"]["teacher"]["name"] == f"{sets.name}/teacher" and len(found["hall"]["teacher"]["sha256"]) == 64
    assert found["clip"]["still_pixels"] == pytest.approx(2 / 3, abs=0.1)
    picture(sets / "shelf/deep/away_1.png").rename(sets / "shelf/deep/away_1.jpg")
    found = {each["name"]: each for each in told(sets, "--pictures", sets / "shelf")["sets"]}
    assert found["away"]["missing"] == [] and len(found["away"]["pictures"]) == 1


def test_only_chooses_sets(sets: Path) -> None:
    assert list(told(sets, "--only", "h*")["models"][0]["litert"]["sets"]) == ["hall"]
    with pytest.raises(KitError, match=r"--only cellar: no set in .* is called so; there are yard, hall, clip, away"):
        told(sets, "--only", "cellar")
    with pytest.raises(KitError, match=r"sets\.toml: no picture of these sets is here; name folders"):
        told(sets, "--only", "away")


def test_a_teacher_that_is_away_is_told_and_can_be_named(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sets / "teacher").rename(sets / "elsewhere")
    found = told(sets)
    assert found["models"][0]["litert"]["sets"]["hall"]["persons_iou_teacher"] is None
    assert "set hall: its teacher teacher/model.tflite is not here, name it by --teacher" in capsys.readouterr().out
    found = told(sets, "--teacher", sets / "elsewhere/model.tflite")
    assert found["models"][0]["litert"]["sets"]["hall"]["persons_iou_teacher"] == 1
    with pytest.raises(KitError, match="no set that is here names a teacher"):
        told(sets, "--only", "yard", "--teacher", sets / "elsewhere/model.tflite")


def test_classes_that_no_table_knows_can_be_mapped(sets: Path) -> None:
    model(sets / "two", ("gizmo", "grass", "person"))
    with pytest.raises(KitError, match="the group of 'gizmo' is not known; say it by --map gizmo=GROUP or in"):
        told(sets)
    assert told(sets, "--map", "gizmo=vehicle")["models"][1]["groups"]["gizmo"] == "vehicle"
    (sets / "sets.toml").write_text(SETS + '[classes]\ngizmo = "furniture"\n')
    assert told(sets)["models"][1]["groups"]["gizmo"] == "furniture"
    for text, message in {
        "gizmos=vehicle": "no model has a class 'gizmos'",
        "gizmo=cars": "--map gizmo=cars: 'cars' is no group",
        "gizmo": "expected CLASS=GROUP",
    }.items():
        with pytest.raises(KitError, match=message):
            told(sets, "--map", text)


def test_broken_files_are_told_before_any_model_runs(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: object) -> None:
        raise AssertionError("a model ran")

    monkeypatch.setattr(hold, "hold", run)
    monkeypatch.setattr(hold, "prepare", run)
    (sets / "hall/b.png").write_bytes((sets / "hall/b.png").read_bytes()[:60])
    with pytest.raises(KitError, match=r"hall/b\.png: can't read this picture"):
        told(sets)
    Image.new("RGB", (5, 5)).save(sets / "yard/a.png")
    with pytest.raises(KitError, match=r"yard/a\.json: is for 16x12, but its picture .*yard/a\.png is 5x5"):
        told(sets)


def test_pictures_of_several_sizes_are_judged_in_their_own(sets: Path) -> None:
    large = np.kron(bands()[0], np.ones((5, 5, 1), np.uint8))
    Image.fromarray(large).save(sets / "hall/large.png")
    assert told(sets)["models"][0]["litert"]["sets"]["hall"]["impossible"] == pytest.approx(1 / 3, abs=0.01)
    (sets / "sets.toml").write_text(SETS.replace('pictures = "hall"', 'pictures = "hall"\nsequence = true'))
    with pytest.raises(KitError, match="the set hall: frame 1 is 80x60, the first is 16x12"):
        told(sets)


def test_a_full_disk_is_told_after_the_table(sets: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KitError, match="/dev/full: can't be written: No space left on device"):
        told(sets, "--json", "/dev/full")
    assert "mIoU of the labelled groups" in capsys.readouterr().out
    with pytest.raises(KitError, match=r"all\.json: can't be written"):
        told(sets, "--json", "/dev/null/all.json")


def test_the_table_goes_into_the_document(sets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = sets / "models.md"
    page.write_text("# Exam\n<!-- exam -->\nold\n<!-- /exam -->\nend\n")
    tables = report.tables

    def somebody_writes(*judged: Any) -> str:
        page.write_text(page.read_text() + "written meanwhile\n")
        return tables(*judged)

    monkeypatch.setattr(report, "tables", somebody_writes)
    told(sets, "--docs", page)
    text = page.read_text()
    assert text.startswith("# Exam\n<!-- exam -->\nMeasured in one run by")
    assert text.endswith("\n<!-- /exam -->\nend\nwritten meanwhile\n")
    assert "| figure | sets | one | second |" in text
    assert "| mIoU of the labelled groups, % | yard | 50.00 | 16.67 |" in text
    assert "Pictures: yard 1, hall 1, clip 4." in text
    page.write_text("# Exam\n")
    with pytest.raises(KitError, match=r"models\.md: expected one line <!-- exam -->"):
        told(sets, "--docs", page)


def test_a_table_that_its_page_can_not_take_is_printed(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = sets / "models.md"
    page.write_text("<!-- exam -->\n<!-- /exam -->\n")
    monkeypatch.setattr(report, "write_json", lambda *_: fill(monkeypatch))
    with pytest.raises(KitError, match=r"models\.md: can't be written: No space left"):
        call(sets / "one/model.tflite", "--sets", sets / "sets.toml", "--json", sets / "a.json", "--docs", page)
    assert "\n| figure | sets | one |\n" in capsys.readouterr().out
    assert page.read_text() == "<!-- exam -->\n<!-- /exam -->\n"


class Echo(Daemon):
    """Stands in for the daemon: answers with LiteRT's own class maps, wrong in `wrong` pixels of each picture."""

    version = "pspnetd 0"
    wrong = 0

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def masks_of(self, model: Path, pictures: Any) -> Any:
        from pspnet_kit.judge.predictors import open_predictor

        for each in pictures:
            mask, _ = open_predictor(model).predict(each.read())
            mask.ravel()[: self.wrong] = 1
            yield mask


def test_the_daemon_has_figures_of_its_own(
    sets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pspnet_kit.judge.daemon.Daemon", Echo)
    one = told(sets, "--pspnetd", "pspnetd")["models"][0]
    assert one["differing"] == {"pixels": 6 * 192, "differing": 0, "share": 0}
    for name, figures in one["pspnetd"]["sets"].items():
        own = one["litert"]["sets"][name]
        assert all(figures[key] == own[key] for key in ("miou", "impossible", "flips", "persons_iou_teacher", "iou"))
        assert figures["calibration_error"] is None
    assert "one in pspnetd" in capsys.readouterr().out
    monkeypatch.setattr(Echo, "wrong", 16)
    with pytest.raises(KitError, match=r"one/model\.tflite: 96 of 1152 pixels differ between LiteRT and pspnetd"):
        told(sets, "--pspnetd", "pspnetd")
    assert "pixels that differ from pspnetd, %" in capsys.readouterr().out
    one = json.loads((sets / "all.json").read_text())["models"][0]
    assert one["pspnetd"]["sets"]["yard"]["iou"]["sky"] == pytest.approx(48 / 64)
    page = sets / "models.md"
    page.write_text("<!-- exam -->\n<!-- /exam -->\n")
    with pytest.raises(KitError, match="pixels differ between LiteRT and pspnetd"):
        told(sets, "--pspnetd", "pspnetd", "--docs", page)
    assert page.read_text() == "<!-- exam -->\n<!-- /exam -->\n"
    assert "\n| figure | sets | one | one in pspnetd |" in capsys.readouterr().out


def test_pictures_that_the_disk_can_not_hold_for_the_daemon_are_told(tmp_path: Path) -> None:
    class Full:
        def store(self, folder: Path, stem: str) -> Path:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fake = tmp_path / "pspnetd"
    fake.write_text("#!/bin/sh\necho pspnetd 0\n")
    fake.chmod(0o755)
    with pytest.raises(KitError, match="can't hold pictures for pspnetd: No space left on device"):
        list(Daemon(fake).masks_of(tmp_path / "model.tflite", [Full()]))


def test_the_daemon_itself_agrees(sets: Path) -> None:
    one, two = told(sets, "--pspnetd", pspnetd())["models"]
    for each in (one, two):
        assert each["differing"] == {"pixels": 6 * 192, "differing": 0, "share": 0}
        assert each["pspnetd"]["all"]["miou"] == each["litert"]["all"]["miou"]
