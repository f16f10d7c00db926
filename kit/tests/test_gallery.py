"""What the gallery shows: colours of its tiles, choice of pictures, layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pspnet_kit.data import ClassInfo, Pair
from pspnet_kit.errors import KitError
from pspnet_kit.judge import gallery

CLASSES = (ClassInfo("road", "#102030"), ClassInfo("sky", "#0080ff"))


def pair(stem: str) -> Pair:
    return Pair(Path(f"{stem}.jpg"), Path(f"{stem}.png"))


def test_the_palette_has_the_classes_and_shows_strangers() -> None:
    palette = gallery.palette_of(CLASSES)
    assert palette[0].tolist() == [16, 32, 48]
    assert palette[1].tolist() == [0, 128, 255]
    assert palette[2].tolist() == [255, 0, 255]


def test_paint_blends_class_and_picture() -> None:
    mask, grey = np.array([[1, 255]], np.uint8), np.array([[100, 100]], np.uint8)
    painted = gallery.paint(mask, grey, gallery.palette_of(CLASSES))
    assert painted[0, 0].tolist() == [28, 120, 212]  # 0.72 * (0, 128, 255) + 0.28 * 100
    assert painted[0, 1, 0] in (gallery.VOID_DARK, gallery.VOID_LIGHT)


def test_errors_show_what_was_predicted_instead() -> None:
    label = np.array([[0, 0, 255]], np.uint8)
    mask = np.array([[0, 1, 1]], np.uint8)
    shown = gallery.errors(label, mask, np.array([[40, 40, 40]], np.uint8), gallery.palette_of(CLASSES))
    assert shown[0, 0].tolist() == [200, 200, 200]  # 190 + 40 / 4
    assert shown[0, 1].tolist() == [0, 128, 255]
    assert shown[0, 2, 0] in (gallery.VOID_DARK, gallery.VOID_LIGHT)


def test_pictures_are_chosen_by_rank_from_worst_to_best() -> None:
    pairs = [pair(stem) for stem in "abcdef"]
    accuracy = {"a": 0.9, "b": 0.1, "c": 0.5, "d": 0.7, "e": 0.3}  # f is void all over

    def chosen(count: int) -> list[str]:
        return [p.image.stem for p in gallery.choose(pairs, accuracy, count)]

    assert chosen(3) == ["b", "c", "a"]
    assert chosen(1) == ["b"]
    assert chosen(9) == ["b", "e", "c", "d", "a"]


def test_the_sheet_has_a_column_for_each_and_grows_with_rows() -> None:
    image = np.full((30, 40, 3), (200, 100, 50), np.uint8)
    label = np.zeros((30, 40), np.uint8)
    row = gallery.Row("one", image, label, (label, label + 1))
    one = gallery.draw([row], ["good", "bad"], CLASSES, cell=80)
    two = gallery.draw([row, row], ["good", "bad"], CLASSES, cell=80)
    assert one.width == 2 * gallery.MARGIN + 6 * 80 + 5 * gallery.GAP
    assert two.height - one.height == 60 + gallery.CAPTION + gallery.GAP
    top = gallery.MARGIN + gallery.HEAD + 30
    middles = [one.getpixel((gallery.MARGIN + column * (80 + gallery.GAP) + 40, top)) for column in range(6)]
    assert middles[0] == (200, 100, 50)
    assert middles[1] == middles[2] != middles[4]
    assert middles[3][0] == middles[3][1] == middles[3][2] > 190
    assert middles[5] == (0, 128, 255)


def test_no_rows_is_said() -> None:
    with pytest.raises(KitError, match="no pictures"):
        gallery.draw([], [], CLASSES)


def test_an_unwritable_file_is_named(tmp_path: Path) -> None:
    row = gallery.Row("one", np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), ())
    (tmp_path / "nowhere").touch()
    with pytest.raises(KitError, match="nowhere"):
        gallery.save(gallery.draw([row], [], CLASSES, cell=40), tmp_path / "nowhere" / "g.png")
