"""Clips: where a frame ends, and which pixels count as still."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from built import bands
from exam_files import jpeg
from PIL import Image

from pspnet_kit.errors import KitError
from pspnet_kit.exam.clips import STILL, frames, still_pixels

WALKWAY = Path(__file__).parents[2] / "tests/media/walkway.mjpeg"


def test_the_bundled_clip_has_all_its_frames() -> None:
    found = frames(WALKWAY)
    assert len(found) == 150 and b"".join(found) == WALKWAY.read_bytes()
    for frame in (found[0], found[149]):
        assert Image.open(io.BytesIO(frame)).size == (640, 480)


def test_the_end_of_a_thumbnail_is_no_end_of_a_frame(tmp_path: Path) -> None:
    plain = jpeg(bands()[0])
    # An APP1 segment that holds a whole JPEG picture, as cameras write it, and a filled marker before the next.
    nested = plain[:2] + b"\xff\xe1" + (len(plain) + 2).to_bytes(2, "big") + plain + b"\xff" + plain[2:]
    (tmp_path / "a.mjpeg").write_bytes(nested + plain)
    assert frames(tmp_path / "a.mjpeg") == [nested, plain]


def test_progressive_pictures_and_restart_markers_are_followed(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    pictures = []
    for options in ({"progressive": True}, {"restart_marker_blocks": 1}):
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "JPEG", **options)
        pictures.append(file.getvalue())
    (tmp_path / "a.mjpeg").write_bytes(b"".join(pictures))
    assert frames(tmp_path / "a.mjpeg") == pictures


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"RIFF....AVI ", "frame 0, at byte 0: expected a whole JPEG picture"),
        (jpeg(bands()[0]) + b"\0\0", r"frame 1, at byte \d+: expected"),
        (jpeg(bands()[0])[:-2], "frame 0, at byte 0: expected"),
        (jpeg(bands()[0]) + jpeg(bands()[0])[:40], "frame 1"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.mjpeg").write_bytes(content)
    with pytest.raises(KitError, match=rf"a\.mjpeg: {message}"):
        frames(tmp_path / "a.mjpeg")


def test_a_missing_clip_is_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"a\.mjpeg: no such file"):
        frames(tmp_path / "a.mjpeg")


def test_pixels_are_still_up_to_the_limit() -> None:
    clip = np.full((5, 20, 3, 3), 100, np.uint8)
    clip[2, 0, 0] = 100 + STILL
    clip[2, 0, 1] = 101 + STILL
    clip[3, 19, 2] = 99 - STILL
    expected = np.ones((20, 3), np.bool_)
    expected[0, 1] = expected[19, 2] = False
    np.testing.assert_array_equal(still_pixels(clip, "set"), expected)


def test_clips_that_have_no_neighbours_are_refused() -> None:
    one = np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(KitError, match="set: 1 frames; flips need at least 2"):
        still_pixels([one], "set")
    with pytest.raises(KitError, match="set: frame 1 is 5x4, the first is 6x4"):
        still_pixels([one, one[:, :5]], "set")
