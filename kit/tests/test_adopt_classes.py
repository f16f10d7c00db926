"""Names of classes and the meaning of pixels, as `kit adopt` finds them."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from pspnet_kit.adopt.names import LARGEST, found_classes, lines, read_classes
from pspnet_kit.adopt.pixels import IMAGENET, find_pixels
from pspnet_kit.errors import KitError
from pspnet_kit.export.manifest import Pixels


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("sky\nroad\n", ["sky", "road"]),
        ("sky\n traffic light \n\nThese are the names.\n", ["sky", "traffic light"]),
        ("0  sky\n1  road", ["sky", "road"]),
        ("0:sky\n1:traffic light", ["sky", "traffic light"]),
        # There are as many names as classes, so that numbers from 1 only count them too.
        ("1 sky\n2 road", ["sky", "road"]),
        ("1: sky\n2: road\n3: tree", ["sky", "road", "tree"]),
        ("1 sky\n3 road", ["1 sky", "3 road"]),
        ("2 sky\n3 road", ["2 sky", "3 road"]),
        ("0 sky\n2 road", ["0 sky", "2 road"]),
        ("", []),
    ],
)
def test_names_end_at_an_empty_line_and_lose_their_numbers(text: str, names: list[str]) -> None:
    assert lines(text) == names


def test_toml_names_colours_and_groups(tmp_path: Path) -> None:
    path = tmp_path / "classes.toml"
    path.write_text(
        'name = "x"\n[[classes]]\nname = "sky"\ncolor = "#009ffb"\ngroup = "sky"\n[[classes]]\nname = "ö"\n'
    )
    assert read_classes(str(path), 2) == [{"name": "sky", "color": "#009ffb", "group": "sky"}, {"name": "ö"}]


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("a.txt", "sky\nroad\ntree", "names 3 classes, the network has 2"),
        ("a.txt", "sky\nsky", "class 'sky' is there twice"),
        ("a.txt", "sky\nro\tad", "expected printable text"),
        ("a.toml", "classes = 3", r"has no \[\[classes\]\]"),
        ("a.toml", "[[classes]]\ncolor = 3", r"classes\[0\] has no name"),
        ("a.toml", '[[classes]]\nname = "a"\ncolor = 3', r"classes\[0\].color is 3, expected a text"),
        ("a.toml", '[[classes]]\nname = "a"\ncolor = "red"\n[[classes]]\nname = "b"', "expected #rrggbb"),
        ("a.toml", "[[", "Invalid|Expected"),
    ],
)
def test_wrong_files_of_names_are_refused(file: str, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(text)
    with pytest.raises(KitError, match=told) as caught:
        read_classes(str(path), 2)
    assert str(path) in str(caught.value)


def test_unreadable_files_of_names_are_refused(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\0")
    for path in (tmp_path / "none", tmp_path / "binary", tmp_path):
        with pytest.raises(KitError, match="expected"):
            read_classes(str(path), 2)


def test_known_data_sets_have_names() -> None:
    assert read_classes("voc", 21)[15] == {"name": "person", "color": "#c08080", "group": "person"}
    with pytest.raises(KitError, match="cityscapes: names 19 classes, the network has 21"):
        read_classes("cityscapes", 21)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_a_file_without_names_gets_numbers(content: bytes) -> None:
    classes, told = found_classes(content, 3)
    assert [entry["name"] for entry in classes] == ["class_0", "class_1", "class_2"]
    assert "--classes" in told


def test_texts_that_would_fill_memory_are_not_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("labels.txt", "a\nb\nc\n")
        for index in range(20):
            archive.writestr(f"{index}.txt", "a\n" * (LARGEST // 20))
    classes, told = found_classes(buffer.getvalue(), 3)
    assert [entry["name"] for entry in classes] == ["class_0", "class_1", "class_2"]
    assert f"more than {LARGEST} bytes" in told and "--classes" in told


@pytest.mark.parametrize(
    ("signed", "scale", "zero_point", "mean", "std"),
    [
        (False, 1 / 255, 0, 0, 255),
        (True, 1 / 255, -128, 0, 255),
        (False, 1 / 128, 128, 128, 128),
        (False, 1 / 127.5, 127, 127, 127.5),
        (True, 1 / 127.5, 0, 128, 127.5),
        (False, 1.0, 0, 0, 1),
    ],
)
def test_whole_ranges_leave_pixels_as_they_are(
    signed: bool, scale: float, zero_point: int, mean: float, std: float
) -> None:
    found = find_pixels(signed, scale, zero_point, None)
    assert found.pixels == Pixels((mean,) * 3, (std,) * 3) and not found.is_guess
    np.testing.assert_array_equal(found.pixel_map.table[0], np.arange(256) - (128 if signed else 0))


def test_imagenet_is_known_by_its_range() -> None:
    found = find_pixels(True, 0.0186584, -14, None)
    assert found.pixels == IMAGENET and not found.is_guess
    assert len({tuple(channel) for channel in found.pixel_map.table}) == 3


def test_other_ranges_are_a_guess_unless_they_are_given() -> None:
    assert find_pixels(False, 0.01, 40, None).is_guess
    assert find_pixels(False, 0.0, 0, None).is_guess
    given = Pixels((100.0, 110.0, 120.0), (50.0, 60.0, 70.0))
    found = find_pixels(False, 0.02, 100, given)
    assert found.pixels == given and not found.is_guess
    assert [int(channel[value]) for channel, value in zip(found.pixel_map.table, (100, 110, 120), strict=True)] == [
        100
    ] * 3
