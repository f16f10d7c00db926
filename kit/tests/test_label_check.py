"""The label checker, on trees with one thing wrong in each."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from PIL import Image

from pspnet_kit.__main__ import main
from pspnet_kit.commands import labels as command
from pspnet_kit.data import open_dataset
from pspnet_kit.data.check import Report, check, require_sound
from pspnet_kit.errors import KitError

TOML = """
name = "yard"
labels = "index"
[splits]
train = { images = "train/images", labels = "train/labels" }
val = { images = "val/images", labels = "val/labels" }
[[classes]]
name = "ground"
color = "#101010"
[[classes]]
name = "wall"
color = "#ff0000"
[[classes]]
name = "cat"
color = "#00ff00"
"""


def yard(root: Path, text: str = TOML) -> Path:
    """Five pictures of 4x2 in train and in val; each label has 4 ground, 3 wall and 1 void, none has a cat."""
    (root / "dataset.toml").write_text(text)
    for number, split in enumerate(("train", "val")):
        for folder in ("images", "labels"):
            (root / split / folder).mkdir(parents=True)
        for index in range(5):
            image(root / split / "images" / f"{split}{index}.png", shade=10 * index + number)
            label(root / split / "labels" / f"{split}{index}.png", [[0, 0, 0, 0], [1, 1, 1, 255]])
    return root


def image(path: Path, shade: int, width: int = 4) -> None:
    Image.fromarray(np.full((2, width, 3), shade, np.uint8)).save(path)


def label(path: Path, values: list[list[int]], palette: list[int] | None = None) -> None:
    picture = Image.fromarray(np.array(values, np.uint8))
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path)


def messages(report: Report) -> tuple[list[str], list[str]]:
    return [found.message for found in report.errors], [found.message for found in report.warnings]


def kit_labels(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args(list(arguments)))


def test_counts_classes_void_and_sizes(tmp_path: Path) -> None:
    report = check(open_dataset(yard(tmp_path)))
    assert list(report.splits) == ["train", "val"]
    train = report.splits["train"]
    assert train.pictures == 5
    assert train.pixels.tolist() == [20, 15, 0]
    assert train.seen_in.tolist() == [5, 5, 0]
    assert train.void == 5
    assert train.void_share() == 5 / 40
    assert train.shares().tolist() == [20 / 35, 15 / 35, 0]
    assert train.sizes == {(4, 2): 5}
    assert messages(report) == ([], ["class cat is empty: it is in no picture"])


def test_class_that_only_one_split_has_and_rare_class(tmp_path: Path) -> None:
    root = yard(tmp_path)
    label(root / "train/labels/train3.png", [[0, 0, 0, 0], [1, 1, 1, 2]])
    assert messages(check(open_dataset(root)))[1] == [
        "class cat is in no picture of val",
        "class cat is rare: 1.408% of the pixels, in 1 picture",  # 1 of 2 * 5 * 7 + 1 = 71
    ]


def test_rare_by_pixels_though_in_enough_pictures(tmp_path: Path) -> None:
    root = yard(tmp_path)
    for index in range(5):
        image(root / "train/images" / f"train{index}.png", shade=index + 100, width=600)
        label(root / "train/labels" / f"train{index}.png", [[0] * 600, [2] + [1] * 599])
    warnings = messages(check(open_dataset(root)))[1]
    assert "class cat is rare: 0.083% of the pixels, in 5 pictures" in warnings  # 5 of 5 * 1200 + 5 * 7 = 6035


def test_fault_of_a_split_is_named_once_for_its_parts(tmp_path: Path) -> None:
    text = TOML.replace('{ images = "val/images", labels = "val/labels" }', "{ fraction = 0.4 }")
    root = yard(tmp_path, text)
    (root / "train/labels/train0.png").unlink()
    report = check(open_dataset(root))
    assert [report.splits[name].pictures for name in ("train", "val")] == [2, 2]
    assert len(report.errors) == 1 and "train0.png: has no label" in report.errors[0].message


def test_a_split_that_is_lost_is_named_once_with_its_parts(tmp_path: Path) -> None:
    root = yard(tmp_path, TOML.replace('{ images = "val/images", labels = "val/labels" }', "{ fraction = 0.4 }"))
    (root / "train/labels").rename(root / "away")
    errors, _ = messages(check(open_dataset(root)))
    assert errors == [f"split train and val: {root}/train/labels: no such folder"]


def test_a_name_that_is_not_utf8_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yard(tmp_path, TOML.replace('{ images = "val/images", labels = "val/labels" }', "{ fraction = 0.4 }"))
    name = os.fsdecode(b"p\xff.png")
    image(root / "train/images" / name, shade=99)
    label(root / "train/labels" / name, [[7, 0, 0, 0], [1, 1, 1, 1]])
    assert main(["labels", str(root), "--json", str(tmp_path / "report.json")]) == 1
    told = capsys.readouterr()
    assert "p\\udcff.png: unknown class id 7" in told.out and "1 error in the data set" in told.err
    assert json.loads((tmp_path / "report.json").read_text())["errors"][0]["file"].endswith(name)


def test_every_bad_file_is_reported_and_the_others_are_counted(tmp_path: Path) -> None:
    root = yard(tmp_path)
    label(root / "train/labels/train0.png", [[0, 0, 9, 9], [1, 1, 77, 9]])
    label(root / "train/labels/train1.png", [[0, 0, 0], [1, 1, 1]])
    (root / "train/images/train2.png").write_bytes(b"no picture")
    (root / "train/labels/train3.png").unlink()
    (root / "val/images/val4.png").unlink()
    errors, _ = messages(report := check(open_dataset(root)))
    assert len(errors) == 5
    for part in (
        "train0.png: unknown class id 9 in 3 pixels, the first at x=2, y=0; "
        "unknown class id 77 in 1 pixel, the first at x=2, y=1 (expected the ids 0-2, 255)",
        "train1.png: is 3x2, but its picture",
        "train2.png: this is no picture",
        "train3.png: has no label in",
        "val4.png: has no picture in",
    ):
        assert sum(part in error for error in errors) == 1, part
    assert report.splits["train"].pixels.tolist() == [2 + 3 + 4 + 4, 2 + 3 + 3 + 3, 0]


def test_missing_folder_does_not_hide_the_other_split(tmp_path: Path) -> None:
    root = yard(tmp_path, TOML.replace("val/labels", "val/masks"))
    errors, _ = messages(report := check(open_dataset(root)))
    assert errors == [f"split val: {root / 'val/masks'}: no such folder"]
    assert list(report.splits) == ["train"]


def test_lossy_label_under_the_name_of_a_png(tmp_path: Path) -> None:
    root = yard(tmp_path)
    Image.fromarray(np.zeros((2, 4), np.uint8)).save(root / "val/labels/val0.png", format="JPEG")
    assert "val0.png: labels can't be JPEG files" in messages(check(open_dataset(root)))[0][0]


def test_same_picture_in_two_splits_and_twice_in_one(tmp_path: Path) -> None:
    root = yard(tmp_path)
    image(root / "val/images/val0.png", shade=20)  # as train2
    image(root / "train/images/train4.png", shade=30)  # as train3
    warnings = messages(check(open_dataset(root)))[1]
    assert f"{root}/train/images/train2.png: the same picture is in train and val, as val0.png" in warnings
    assert f"{root}/train/images/train3.png: the same picture is twice in train, as train4.png" in warnings
    assert sum("the same picture" in warning for warning in warnings) == 2


def test_void_that_covers_too_much(tmp_path: Path) -> None:
    root = yard(tmp_path)
    for index in range(3):
        label(root / f"val/labels/val{index}.png", [[255] * 4] * 2)
    warnings = messages(check(open_dataset(root)))[1]
    assert "split val: 65% of the pixels are void" in warnings  # 3 * 8 + 2 of 40
    assert sum(warning.endswith("all of it is void") for warning in warnings) == 3


class TestKindsOfLabels:
    VALUES: ClassVar = [[0, 0, 0, 0], [1, 1, 1, 1]]

    def warnings(self, root: Path) -> list[str]:
        return [warning for warning in messages(check(open_dataset(root)))[1] if "class cat" not in warning]

    def test_grey_and_palette_mixed(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        label(root / "train/labels/train1.png", self.VALUES, [16, 16, 16, 255, 0, 0])
        assert self.warnings(root) == [
            "the labels are of several kinds: 9 grey (as train0.png), 1 with a palette (as train1.png)"
        ]

    def test_palettes_that_contradict_each_other(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        for path in sorted(root.glob("*/labels/*.png")):
            red_first = path.name == "val3.png"
            label(path, self.VALUES, [255, 0, 0, 16, 16, 16] if red_first else [16, 16, 16, 255, 0, 0])
        (warning,) = self.warnings(root)
        assert "val3.png: its palette shows id 0 as #ff0000, that of" in warning
        assert "train0.png as #101010" in warning

    def test_greys_renumbered_by_a_tool(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        for path in root.glob("*/labels/*.png"):
            label(path, self.VALUES, [1, 1, 1, 0, 0, 0])
        (warning,) = self.warnings(root)
        assert "palette holds greys that are ids too" in warning and "10 such files" in warning

    def test_palette_of_greys_for_eyes_is_no_surprise(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        for path in root.glob("*/labels/*.png"):
            label(path, self.VALUES, [0, 0, 0, 120, 120, 120])
        assert self.warnings(root) == []

    def test_rgb_where_ids_are_expected(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        image(root / "val/labels/val0.png", shade=1)
        assert "val0.png: is a picture of mode RGB" in messages(check(open_dataset(root)))[0][0]

    def test_smoothed_colours(self, tmp_path: Path) -> None:
        root = yard(tmp_path, TOML.replace('"index"', '"color"'))
        for path in root.glob("*/labels/*.png"):
            pixels = np.zeros((2, 4, 3), np.uint8)
            pixels[..., 0] = 255
            Image.fromarray(pixels).save(path)
        ramp = np.zeros((2, 40, 3), np.uint8)
        ramp[..., 1] = np.arange(40)
        image(root / "val/images/val0.png", shade=1, width=40)
        Image.fromarray(ramp).save(root / "val/labels/val0.png")
        (error,) = messages(check(open_dataset(root)))[0]
        assert "unknown colour #000000 in 2 pixels, the first at x=0, y=0; unknown colour #000100" in error
        assert "35 more unknown values" in error and "anti-aliasing" in error

    def test_grey_where_colours_are_expected(self, tmp_path: Path) -> None:
        root = yard(tmp_path, TOML.replace('"index"', '"color"'))
        for path in root.glob("*/labels/*.png"):
            label(path, [[16] * 4] * 2)
        report = check(open_dataset(root))
        assert report.errors == []
        assert "the labels are grey pictures, though they are said to be colours" in messages(report)[1]

    def test_transparent_colours(self, tmp_path: Path) -> None:
        root = yard(tmp_path, TOML.replace('"index"', '"color"'))
        Image.fromarray(np.full((2, 4, 4), 16, np.uint8)).save(root / "val/labels/val0.png")
        errors, _ = messages(check(open_dataset(root)))
        assert any("val0.png: has transparent pixels" in error for error in errors)

    def test_turned_picture(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        exif = Image.Exif()
        exif[0x0112] = 3
        Image.fromarray(np.full((2, 4, 3), 99, np.uint8)).save(root / "val/images/val0.png", exif=exif)
        (warning,) = self.warnings(root)
        assert "val0.png: its EXIF says orientation 3, which is ignored" in warning


def test_require_sound_stops_at_a_bad_pair_only(tmp_path: Path) -> None:
    root = yard(tmp_path)
    dataset = open_dataset(root)
    require_sound(dataset, dataset.pairs("train+val"))
    label(root / "val/labels/val2.png", [[0, 0, 0, 3], [1, 1, 1, 1]])
    require_sound(dataset, dataset.pairs("train"))
    with pytest.raises(KitError, match=r"val2.png: unknown class id 3"):
        require_sound(dataset, dataset.pairs("train+val"))


class TestCommand:
    def test_prints_an_aligned_table(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        kit_labels(str(yard(tmp_path)))
        lines = capsys.readouterr().out.splitlines()
        assert "train: 5 pictures; sizes 4x2 (5)" in lines
        header = next(index for index, line in enumerate(lines) if line.startswith("id"))
        assert lines[header : header + 5] == [
            "id  class          train: share  pictures  val: share  pictures",
            " 0  ground              57.143%         5     57.143%         5",
            " 1  wall                42.857%         5     42.857%         5",
            " 2  cat                  0.000%         0      0.000%         0",
            "    void (of all)       12.500%               12.500%",
        ]
        assert lines[-2:] == ["no errors", "warning: class cat is empty: it is in no picture"]

    def test_errors_fail_and_json_has_all(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = yard(tmp_path)
        for split in ("train", "val"):
            for index in range(5):
                label(root / split / "labels" / f"{split}{index}.png", [[5] * 4] * 2)
        with pytest.raises(KitError, match="5 errors in the data set"):
            kit_labels(str(root), "--split", "val", "--json", str(tmp_path / "report.json"))
        assert "error: " in capsys.readouterr().out
        report = json.loads((tmp_path / "report.json").read_text())
        assert list(report["splits"]) == ["val"]
        assert len(report["errors"]) == 5
        assert report["errors"][0]["file"].endswith("val0.png")
        assert report["splits"]["val"]["classes"][0] == {"name": "ground", "pixels": 0, "share": 0.0, "pictures": 0}

    def test_long_lists_are_cut(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        root = yard(tmp_path)
        for index in range(60):
            image(root / "val/images" / f"more{index}.png", shade=0)
        with pytest.raises(KitError, match="60 errors"):
            kit_labels(str(root))
        out = capsys.readouterr().out
        assert out.count("error: ") == 50
        assert "10 more errors; --json FILE lists them all" in out

    def test_unknown_split_and_bad_json_place(self, tmp_path: Path) -> None:
        root = yard(tmp_path)
        with pytest.raises(KitError, match="no split 'test'; it has train, val"):
            kit_labels(str(root), "--split", "test")
        (tmp_path / "file").touch()
        with pytest.raises(KitError, match=r"report\.json: can't be written: "):
            kit_labels(str(root), "--json", str(tmp_path / "file" / "report.json"))
