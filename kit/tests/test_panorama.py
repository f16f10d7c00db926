"""Views of panoramas look where they say, and what they saw comes back to where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pspnet_kit.data import panorama
from pspnet_kit.errors import KitError

HEIGHT = 180  # one row a degree


def sphere() -> np.ndarray:
    """Red tells the longitude (column / 2), green the latitude (row), blue which half: exact to a degree or two."""
    rows, columns = np.mgrid[:HEIGHT, : 2 * HEIGHT]
    return np.stack([columns // 2, rows, 255 * (columns >= HEIGHT)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("yaw", [0, 90, -90, 45, 179.5, -179.5, 450])
@pytest.mark.parametrize("pitch", [0, 30, -30, 60])
def test_the_middle_of_a_view_is_where_the_camera_looks(yaw: float, pitch: float) -> None:
    middle = panorama.view(sphere(), yaw, pitch, 40, 31, 21)[10, 15].astype(int)
    column = ((yaw + 180) % 360) / 2
    assert middle[0] == pytest.approx(column, abs=1) or abs(abs(middle[0] - column) - 180) <= 1
    assert middle[1] == pytest.approx(90 + pitch, abs=1)


def test_right_is_right_and_down_is_down() -> None:
    seen = panorama.view(sphere(), 10, 5, 60, 61, 41).astype(int)
    assert (np.diff(seen[20, :, 0]) >= 0).all() and seen[20, -1, 0] - seen[20, 0, 0] == pytest.approx(30, abs=1)
    assert (np.diff(seen[:, 30, 1]) >= 0).all() and seen[-1, 30, 1] > seen[0, 30, 1] + 30


def test_the_angle_is_that_between_the_left_and_the_right_edge() -> None:
    for fov in (30, 90, 120):
        seen = panorama.view(sphere(), 0, 0, fov, 400, 10).astype(int)[5, :, 0]
        assert 2 * (seen[-1] - seen[0]) == pytest.approx(fov, abs=3)


def test_the_seam_does_not_show() -> None:
    bands = np.zeros((64, 128, 3), np.uint8)
    bands[:, :20] = bands[:, -20:] = 200
    assert (panorama.view(bands, 180, 0, 60, 65, 33) == 200).all()
    # A step of one grey level a column, there and back: a seam would be a jump.
    ramp = np.abs(np.arange(128) - 64).astype(np.uint8)[None, :, None].repeat(64, 0).repeat(3, 2)
    row = panorama.view(ramp, 180, 0, 60, 65, 33)[16, :, 0].astype(int)
    assert np.abs(np.diff(row)).max() <= 1


def test_a_view_straight_down_has_the_nadir_in_its_middle() -> None:
    ground = np.zeros((64, 128, 3), np.uint8)
    ground[-8:] = 255
    seen = panorama.view(ground, 33, 90, 90, 41, 41)
    assert seen[20, 20, 0] == 255 and not seen[0, 0].any()
    assert (seen == seen[::-1, ::-1]).mean() > 0.99


@pytest.mark.parametrize(("yaw", "pitch", "fov"), [(0, 0, 60), (170, 25, 90), (-75, -40, 75), (20, 90, 100)])
def test_what_a_view_saw_comes_back_to_where_it_was(yaw: float, pitch: float, fov: float) -> None:
    truth = sphere()
    values, reached = panorama.back(
        panorama.view(truth, yaw, pitch, fov, 480, 320).astype(np.float32), yaw, pitch, fov, HEIGHT
    )
    assert 0.02 < reached.mean() < 0.5 and not values[~reached].any()
    # Blue jumps at two meridians and red at one, where bilinear values lie between; near a pole columns crowd.
    rows, columns = np.mgrid[:HEIGHT, : 2 * HEIGHT]
    smooth = reached & (np.abs(columns - HEIGHT) > 3) & (columns > 3) & (columns < 2 * HEIGHT - 4) & (rows < 170)
    assert smooth.any()
    assert np.abs(values[smooth] - truth[smooth]).max() <= 1.5


def test_class_ids_come_back_as_they_are() -> None:
    ids = np.array([[3, 200]], np.uint8)
    values, reached = panorama.back(ids, 0, 0, 90, HEIGHT)
    assert values.dtype == np.uint8 and values.shape == (HEIGHT, 2 * HEIGHT)
    assert set(np.unique(values[reached])) == {3, 200}
    half = HEIGHT // 2
    assert values[half, HEIGHT - 5] == 3 and values[half, HEIGHT + 5] == 200
    assert reached[half].sum() == 90, "90 degrees of the horizon"


def test_views_all_round_reach_the_whole_sphere_and_agree() -> None:
    votes = np.zeros((HEIGHT, 2 * HEIGHT), int)
    for yaw, pitch in [(0, 0), (90, 0), (180, 0), (270, 0), (0, 90), (0, -90)]:
        votes += panorama.back(np.ones((64, 64), np.uint8), yaw, pitch, 90.5, HEIGHT)[1]
    assert votes.min() >= 1 and votes.mean() < 1.2


def test_probabilities_have_channels() -> None:
    values, reached = panorama.back(np.full((8, 12, 4), 0.25, np.float32), 0, 0, 70, HEIGHT)
    assert values.shape == (HEIGHT, 2 * HEIGHT, 4) and values.dtype == np.float32
    assert np.allclose(values[reached], 0.25)


def test_what_is_no_panorama_is_refused(tmp_path: Path) -> None:
    Image.new("RGB", (100, 51)).save(tmp_path / "flat.png")
    with pytest.raises(KitError, match=r"flat\.png: is 100x51, expected a panorama that is exactly twice as wide"):
        panorama.read(tmp_path / "flat.png")
    Image.new("RGB", (100, 50)).save(tmp_path / "round.png")
    assert panorama.read(tmp_path / "round.png").shape == (50, 100, 3)
    with pytest.raises(KitError, match="panorama: is 30x20"):
        panorama.view(np.zeros((20, 30, 3), np.uint8), 0, 0, 90, 8, 8)
    with pytest.raises(KitError, match=r"float64 \[20, 40, 3\]"):
        panorama.check(np.zeros((20, 40, 3)))


def noted(path: Path, entries: str) -> Path:
    """A grey JPEG of 64x32 with these XMP entries, in an APP1 segment behind its first marker."""
    Image.new("RGB", (64, 32), (90, 90, 90)).save(path, "JPEG")
    content = path.read_bytes()
    packet = b"http://ns.adobe.com/xap/1.0/\0" + f"<rdf:RDF>{entries}</rdf:RDF>".encode()
    path.write_bytes(content[:2] + b"\xff\xe1" + (len(packet) + 2).to_bytes(2, "big") + packet + content[2:])
    return path


def sizes(part: tuple[int, int], full: tuple[int, int], form: str) -> str:
    """The GPano entries of a part of a sphere, as attributes or elements."""
    values = {"CroppedAreaImageWidth": part[0], "CroppedAreaImageHeight": part[1]}
    values |= {"FullPanoWidth": full[0], "FullPanoHeight": full[1]}
    return " ".join(form.format(name=f"GPano:{name}Pixels", value=value) for name, value in values.items())


@pytest.mark.parametrize("form", ['{name}="{value}"', "<{name}>{value}</{name}>"])
def test_a_part_of_a_sphere_is_refused_though_it_is_twice_as_wide_as_high(tmp_path: Path, form: str) -> None:
    part = noted(tmp_path / "part.jpg", sizes((4096, 2048), (8192, 4096), form))
    with pytest.raises(KitError, match=r"part\.jpg: its XMP .* shows 4096x2048 of a sphere of 8192x4096, expected the"):
        panorama.read(part)
    # Scaled down since, but whole; and without sizes nothing is known.
    kind = form.format(name="GPano:ProjectionType", value="equirectangular")
    whole = noted(tmp_path / "whole.jpg", kind + sizes((8192, 4096), (8192, 4096), form))
    assert panorama.read(whole).shape == (32, 64, 3)
    assert panorama.read(noted(tmp_path / "kind.jpg", kind)).shape == (32, 64, 3)
    other = form.format(name="GPano:ProjectionType", value="cylindrical")
    with pytest.raises(KitError, match="its projection is cylindrical, expected equirectangular"):
        panorama.read(noted(tmp_path / "other.jpg", other))


@pytest.mark.parametrize(
    ("yaw", "pitch", "fov", "size", "message"),
    [
        (0, 0, 180, (8, 8), "180 degrees"),
        (0, 0, 0, (8, 8), "0 degrees"),
        (0, 91, 60, (8, 8), "pitch 91"),
        (float("nan"), 0, 60, (8, 8), "yaw nan"),
        (0, 0, 60, (8, 0), "8x0"),
    ],
)
def test_views_that_can_not_be_are_refused(
    yaw: float, pitch: float, fov: float, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(KitError, match=message):
        panorama.view(sphere(), yaw, pitch, fov, *size)


def test_maps_that_are_no_views_are_refused() -> None:
    with pytest.raises(KitError, match=r"is \[5\], expected"):
        panorama.back(np.zeros(5), 0, 0, 60, HEIGHT)
    with pytest.raises(KitError, match="height 0"):
        panorama.back(np.zeros((4, 4)), 0, 0, 60, 0)
