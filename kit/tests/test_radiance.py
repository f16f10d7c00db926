"""Radiance pictures are read as they were written, and exposed as a camera would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from radiance_files import rgbe, runs

from pspnet_kit.data.pictures import MOST_PIXELS
from pspnet_kit.errors import KitError
from pspnet_kit.pool import radiance


@pytest.mark.parametrize("coded", [False, True])
def test_radiance_pictures_come_back(tmp_path: Path, coded: bool) -> None:
    random = np.random.default_rng(3)
    linear = np.repeat(2.0 ** random.uniform(-6, 6, (4, 5, 3)), 4, axis=1)
    linear[2] = 0
    content = rgbe(linear)
    (tmp_path / "x.hdr").write_bytes(runs(content) if coded else content)
    read = radiance.read(tmp_path / "x.hdr")
    assert read.shape == (4, 20, 3) and read.dtype == np.float32
    # A mantissa has 8 bits, shared by the brightest of the three.
    assert (np.abs(read - linear).max(axis=2) <= linear.max(axis=2) / 128).all()
    assert not read[2].any()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: b"P6" + content, "is no Radiance picture"),
        (lambda content: content.replace(b"-Y", b"+Y"), "has no size as -Y HEIGHT"),
        (lambda content: content[:-20], "cut off"),
        (lambda content: runs(content)[:-20], "cut off or broken at row"),
        (lambda content: runs(content).replace(b"\x02\x02\x00\x14", b"\x02\x02\x00\x15", 3), "cut off"),
    ],
)
def test_broken_radiance_pictures_are_refused(tmp_path: Path, change: object, message: str) -> None:
    content = rgbe(np.repeat(np.random.default_rng(0).uniform(0.1, 3, (4, 5, 3)), 4, axis=1))
    assert callable(change)
    (tmp_path / "x.hdr").write_bytes(change(content))
    with pytest.raises(KitError, match=r"x\.hdr: .*" + message):
        radiance.read(tmp_path / "x.hdr")


def test_planes_of_floats_become_linear_pictures() -> None:
    linear = np.random.default_rng(1).uniform(0, 9, (3, 5, 3)).astype("<f4")
    linear[2, 4] = np.nan, -1, np.inf
    planes = linear[..., [1, 2, 0]].transpose(2, 0, 1).tobytes()
    read = radiance.of_planes(Path("x.exr"), planes, 3, 5)
    assert np.array_equal(read[:2], linear[:2]) and read[2, 4].tolist() == [0, 0, 65504]
    for broken in (planes[:-4], planes + b"x", b""):
        with pytest.raises(KitError, match=r"x\.exr: is said to be 5x3"):
            radiance.of_planes(Path("x.exr"), broken, 3, 5)


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.hdr").write_bytes(b"#?RADIANCE\n\n-Y 16000 +X 32000\n" + bytes(100))
    with pytest.raises(KitError, match=r"is 32000x16000, expected .* at most 178956970 pixels"):
        radiance.read(tmp_path / "x.hdr")


def test_the_limit_is_pillow_s() -> None:
    assert 2 * (Image.MAX_IMAGE_PIXELS or 0) == MOST_PIXELS


def test_the_exposure_follows_the_median_and_the_stops() -> None:
    dim = np.full((60, 120, 3), 0.01, np.float32)
    dim[:5] = 1000
    mid = radiance.develop(dim, 0)
    assert np.array_equal(mid, radiance.develop(dim * 64, 0)), "the scene's own brightness doesn't matter"
    # 0.18 becomes 0.18 * (1 + 0.18 / 16) / 1.18 = 0.154, which sRGB codes as 109.
    assert (mid[30] == 109).all() and (mid[:5] == 255).all()
    assert radiance.develop(dim, -2)[30, 0, 0] < 70 < 150 < radiance.develop(dim, 1.5)[30, 0, 0]
