"""The daemon's resize and decode in NumPy: by hand, and against the daemon itself where it is built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from built import pspnetd
from PIL import Image
from tiny_tflite import identity

from pspnet_kit.data.resize import axis_taps, resize
from pspnet_kit.judge.decode import decode, positions, upsample
from pspnet_kit.judge.preprocess import PixelMap


def line(*values: int) -> np.ndarray:
    """A picture of one row."""
    return np.repeat(np.array([values], np.uint8)[:, :, None], 3, axis=2)


def test_halving_takes_the_mean_of_two_halves_up() -> None:
    assert resize(line(10, 20, 31, 40), 1, 2)[0, :, 0].tolist() == [15, 36]


def test_doubling_has_half_pixel_centres() -> None:
    # Centres at -0.25, 0.25, 0.75, 1.25 of the samples 0 and 100.
    assert resize(line(0, 100), 1, 4)[0, :, 0].tolist() == [0, 25, 75, 100]


def test_the_same_size_is_the_same_picture() -> None:
    picture = np.random.default_rng(1).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(picture, 5, 7), picture)


def test_beyond_half_size_it_is_the_mean_over_the_area() -> None:
    taps = axis_taps(10, 4)
    assert taps.is_area
    assert taps.weight.tolist() == [[102, 102, 51], [51, 102, 102], [102, 102, 51], [51, 102, 102]]
    assert taps.index.tolist() == [[0, 1, 2], [2, 3, 4], [5, 6, 7], [7, 8, 9]]
    # (2 * 10 + 2 * 20 + 40) / 5 = 20, (40 + 2 * 80 + 2 * 100) / 5 = 80
    assert resize(line(10, 20, 40, 80, 100), 1, 2)[0, :, 0].tolist() == [20, 80]


def test_exactly_half_is_still_bilinear() -> None:
    assert not axis_taps(8, 4).is_area
    assert axis_taps(9, 4).is_area


def test_rows_are_rounded_before_columns() -> None:
    # Down: (0 + 1) / 2 = 0.5, to 1, and (0 + 0) / 2 = 0. Across: (1 + 0) / 2 = 0.5, to 1. In one step it were 0.25.
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[1, 0] = 1
    assert resize(picture, 1, 1)[0, 0, 0] == 1


def test_pixel_maps() -> None:
    pixels = np.array([[[0, 127, 255]]], np.uint8)
    assert PixelMap.new(False, 1 / 128, 127).apply(pixels).ravel().tolist() == [0, 127, 255]
    assert PixelMap.new(True, 1 / 128, -1).apply(pixels).ravel().tolist() == [-128, -1, 127]
    same = PixelMap.new(False, 1 / 128, 127, [127] * 3, [128] * 3)
    assert same.apply(pixels).ravel().tolist() == [0, 127, 255]
    # (200 - 0) / 1 / 0.5 + 3 saturates; (0 - 100) / 50 / 0.5 + 3 = -1; (0 - 127.5) / 127.5 / 0.5 + 3 = 1
    other = PixelMap.new(True, 0.5, 3, [0, 100, 127.5], [1, 50, 127.5])
    assert other.apply(np.array([[[200, 0, 0]]], np.uint8)).ravel().tolist() == [127, -1, 1]


def test_positions_between_cells() -> None:
    cells, t = positions(4, 2)
    assert cells.tolist() == [0, 0, 0, 1]
    assert t.tolist() == [0, 8192, 24576, 0]


def test_logits_are_blended_before_the_class_is_chosen() -> None:
    logits = np.array([[[40, 0, 30], [0, 40, 30]]], np.int8)
    np.testing.assert_array_equal(upsample(logits, 1, 4)[0, 1] / 64, [30, 10, 30])
    mask, confidence = decode(logits, 1, 4, 0.1)
    # At the second pixel classes 0 and 2 tie: the lower wins.
    assert mask.tolist() == [[0, 0, 1, 1]]
    expected = 1 / np.exp(np.array([0, -4, -1])).sum()
    assert confidence[0, 0] == pytest.approx(expected, rel=1e-6)


def test_bands_leave_no_seams() -> None:
    logits = np.random.default_rng(2).integers(0, 256, (9, 5, 4)).astype(np.uint8)
    mask, _ = decode(logits, 200, 30, 0.1)
    np.testing.assert_array_equal(mask, upsample(logits, 200, 30).argmax(axis=2))


@pytest.mark.parametrize(("height", "width"), [(36, 48), (47, 61), (23, 30), (80, 97), (17, 7), (3, 4)])
@pytest.mark.parametrize("kind", ["uint8", "int8"])
def test_the_daemon_gives_the_same_masks(tmp_path: Path, height: int, width: int, kind: str) -> None:
    binary = pspnetd()
    model = identity(tmp_path / "model.tflite", height, width, kind)
    picture = np.random.default_rng(height).integers(0, 256, (47, 61, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    command: list[str | Path] = [binary, "predict", "--model", model, "--output", tmp_path, tmp_path / "picture.png"]
    subprocess.run(command, check=True, capture_output=True)
    theirs = np.asarray(Image.open(tmp_path / "picture_mask.png"))
    tensor = PixelMap.new(kind == "int8", 1 / 128, 0).apply(resize(picture, height, width))
    ours, _ = decode(tensor[0], 47, 61, 1 / 128)
    np.testing.assert_array_equal(ours, theirs)
