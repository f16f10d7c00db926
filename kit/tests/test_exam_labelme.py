"""Drawn labels: what is painted where, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exam_files import HEIGHT, WIDTH, drawing, polygon, rows

from pspnet_kit.data import VOID
from pspnet_kit.errors import KitError
from pspnet_kit.exam.groups import GROUPS
from pspnet_kit.exam.labelme import read

SKY, PAVED, PERSON = (GROUPS.index(name) for name in ("sky", "paved", "person"))


def test_later_shapes_cover_earlier_ones(tmp_path: Path) -> None:
    shapes = [
        rows("sky", 0, 11),
        rows("road", 6, 9),
        polygon("person", (12, 8), (10, 5), kind="rectangle"),
        polygon("void", (0, 0), (1, 0), (1, 1), (0, 1)),
    ]
    label = read(drawing(tmp_path / "a.json", shapes), {"road": "paved"}).label()
    expected = np.full((HEIGHT, WIDTH), SKY, np.uint8)
    expected[6:10] = PAVED
    expected[5:9, 10:13] = PERSON
    expected[:2, :2] = VOID
    np.testing.assert_array_equal(label, expected)


def test_what_nobody_painted_is_not_judged(tmp_path: Path) -> None:
    drawn = read(drawing(tmp_path / "a.json", [polygon("sky", (0, 0), (8, 0), (0, 8))]), {})
    label = drawn.label()
    assert label[0, 0] == SKY and label[11, 15] == VOID
    # A triangle over half of a square of 9 pixels, with its outline.
    assert (label == SKY).sum() == 45
    assert not read(drawing(tmp_path / "b.json", []), {}).source


def test_shapes_outside_of_the_picture_are_cut(tmp_path: Path) -> None:
    outside = polygon("sky", (-50, -50), (50.5, -50), (50.5, 5.2), (-50, 5.2))
    label = read(drawing(tmp_path / "a.json", [outside]), {}).label()
    assert (label[:5] == SKY).all() and (label[7:] == VOID).all()


def test_where_the_picture_comes_from_is_read(tmp_path: Path) -> None:
    recipe = {"yaw": 90, "pitch": 10.5, "fov": 60, "width": 16, "height": 12}
    source = {"repository": "github:owner/name", "path": "a.jpg", "frame": 3}
    others = {"source": source, "sha256": "AB" * 32, "imagePath": "..\\pictures\\a.jpg"}
    drawn = read(drawing(tmp_path / "a.json", [], **others, panorama=recipe), {})
    assert (drawn.source, drawn.sha256, drawn.panorama) == (source, "ab" * 32, recipe)
    assert drawn.beside == tmp_path / "../pictures/a.jpg"
    assert read(drawing(tmp_path / "a.json", [], recipe={"panorama": recipe}), {}).panorama == recipe
    assert read(drawing(tmp_path / "a.json", [], recipe="cut by hand"), {}).panorama == {}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (polygon("sky", (0, 0), (1, 1)), r"shape 2 \(sky\): is a polygon of 2 points; expected at least 3"),
        (polygon("sky", (0, 0), kind="rectangle"), "is a rectangle of 1 points; expected 2, two opposite corners"),
        (polygon("sky", (0, 0), (1, 1), (2, 2), kind="rectangle"), "is a rectangle of 3 points; expected 2"),
        (polygon("sky", (0, 0), (5, 0), kind="circle"), "is a circle; expected polygon or rectangle"),
        (polygon("lawn", (0, 0), (5, 0), (5, 5)), "shape 2: 'lawn' is no group; known are sky, structure"),
        (polygon("sky", (0, 0), (5, 0), (5, float("nan"))), "has points that are no pairs of numbers"),
        ({"label": "sky", "points": [[1, 2, 3]] * 3}, "has points that are no pairs of numbers"),
        ({"label": "sky"}, "has points that are no pairs of numbers"),
        ({"points": []}, "shape 2: has no label"),
        ("sky", "shape 2: has no label"),
        (polygon("sky", (0, 0), (5, 0), (5, 10**400)), "has points that are no pairs of numbers"),
        (
            {"label": "sky", "points": [[0, 0]] * 3, "shape_type": ["polygon"]},
            "is a .'polygon'.; expected polygon or rectangle",
        ),
    ],
)
def test_a_shape_that_can_not_be_painted_is_named(tmp_path: Path, shape: Any, message: str) -> None:
    path = drawing(tmp_path / "a.json", [rows("sky", 0, 3), shape])
    with pytest.raises(KitError, match=rf"a\.json: {'.*' + message}"):
        read(path, {"road": "paved"})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON that can be read"),
        ("[" * 100_000, "is no JSON that can be read"),
        ("[]", "no LabelMe file"),
        ('{"type": "FeatureCollection"}', "no LabelMe file; expected an object with shapes"),
        ('{"shapes": [], "imageWidth": 4, "imageHeight": 4}', "imagePath is None; expected the picture's file name"),
        ('{"shapes": [], "imagePath": "a.png", "imageHeight": 4}', "imageWidth is None; expected a number of pixels"),
        ('{"shapes": [], "imagePath": "a", "imageHeight": 0, "imageWidth": 4}', "imageHeight is 0; expected"),
        ('{"shapes": [], "imagePath": "a", "imageHeight": true, "imageWidth": 4}', "imageHeight is True; expected"),
        (
            '{"shapes": [], "imagePath": "a", "imageHeight": 4, "imageWidth": 4, "source": "web"}',
            "source is 'web'; expected an object",
        ),
        (
            '{"shapes": [], "imagePath": "a", "imageHeight": 4, "imageWidth": 4, "panorama": {"yaw": 1}}',
            "expected numbers for yaw, pitch, fov, width, height",
        ),
        (
            '{"shapes": [], "imagePath": "a", "imageHeight": 4, "imageWidth": 4, "panorama": '
            '{"yaw": 1, "pitch": 0, "fov": 90, "width": 200000, "height": 200000}}',
            "its panorama's view is 200000x200000; expected 4x4, as the drawing is",
        ),
        (
            '{"shapes": [], "imagePath": "a", "imageHeight": 4, "imageWidth": 4, "panorama": {"yaw": 1%s}}'
            % ("0" * 400),
            "panorama is .* expected numbers",
        ),
        *(
            (
                f'{{"shapes": [], "imagePath": "{name}", "imageHeight": 4, "imageWidth": 4}}',
                "imagePath is .* expected the",
            )
            for name in ("", "/", "//", ".", "\\\\", "a\\u0000b")
        ),
        (
            '{"shapes": [], "imagePath": "a", "imageHeight": 60000, "imageWidth": 60000, "panorama": '
            '{"yaw": 1, "pitch": 0, "fov": 90, "width": 60000, "height": 60000}}',
            "its panorama's view is 60000x60000; expected at most",
        ),
        *(
            (
                '{"shapes": [], "imagePath": "a", "imageHeight": 4, "imageWidth": 4, "panorama": '
                f'{{"yaw": 1, "pitch": {pitch}, "fov": {fov}, "width": 4, "height": 4}}}}',
                f"panorama: a view {message}",
            )
            for pitch, fov, message in (
                (0, 0, "of 0.0 degrees is asked for, expected more than 0"),
                (0, 180, "of 180.0 degrees"),
                (91, 90, "with the pitch 91.0"),
            )
        ),
        (
            json.dumps({"shapes": [{"label": "sky", "points": [[0, 0]] * 60_000}] * 2}),
            "has more than 100000 shapes or points",
        ),
    ],
)
def test_a_file_that_is_no_drawing_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(KitError, match=rf"a\.json: .*{message}"):
        read(tmp_path / "a.json", {})


def test_bytes_that_are_no_text_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(json.dumps({"shapes": []}).encode("utf-16"))
    with pytest.raises(KitError, match=r"a\.json: is no text in UTF-8"):
        read(tmp_path / "a.json", {})
    with pytest.raises(KitError, match=r"b\.json: no such file"):
        read(tmp_path / "b.json", {})
