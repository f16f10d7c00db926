"""Plots: labels that keep apart, the promised width, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text
from PIL import Image

from pspnet_kit.errors import KitError
from pspnet_kit.judge import plots
from pspnet_kit.judge.calibration import Calibration
from pspnet_kit.judge.plots import Anchor, Point, against_latency, reliability, spread
from pspnet_kit.judge.published import CAMVID_TEST

POINTS = [Point("slow", 40.0, 65.0, 38.0, 44.0), Point("fast", 4.0, 59.0, 3.9, 4.3)]


def test_places_that_are_apart_stay() -> None:
    assert spread([10.0, 1.0, 5.0], 2.0) == [10.0, 1.0, 5.0]


def test_places_that_touch_part_around_their_mean() -> None:
    assert spread([5.0, 5.5], 2.0) == [4.25, 6.25]
    assert spread([66.4, 66.7, 66.5], 1.0) == pytest.approx([65.5333, 67.5333, 66.5333], abs=1e-4)


def test_a_push_that_meets_a_third_moves_all() -> None:
    # 4 and 5 part to 3.5 and 5.5; 6 is then too near, and all three stand around 5.
    assert spread([4.0, 5.0, 6.0], 2.0) == [3.0, 5.0, 7.0]


def test_names_meet_when_boxes_overlap() -> None:
    assert plots._meet((0, 0, 2, 2), (1, 1, 3, 3))
    assert not plots._meet((0, 0, 2, 2), (2, 0, 3, 3))


def test_the_latency_plot_is_1200_pixels_wide_and_has_our_colours(tmp_path: Path) -> None:
    path = tmp_path / "plot.png"
    against_latency(POINTS, CAMVID_TEST, path, "title", "engine")
    pixels = np.asarray(Image.open(path).convert("RGB"))
    assert pixels.shape[1] == 1200
    for color in (plots.BLUE, plots.VERMILION):
        wanted = [int(color[place : place + 2], 16) for place in (1, 3, 5)]
        assert (pixels == wanted).all(axis=2).sum() > 50


def test_an_anchor_makes_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(Text, "set_text", lambda self, text: written.append(str(text)))
    against_latency(POINTS, CAMVID_TEST, tmp_path / "plot.png", "title", "engine", Anchor("old", 62.0, 61.6))
    assert {"slow  +3.0", "fast  -3.0", "ENet -10.3", "PSPNet-R18 +5.1"} <= set(written)
    assert any("less the 61.6 of old there" in text for text in written)
    assert "mIoU, points above old" in written


def test_one_model_alone_can_be_plotted(tmp_path: Path) -> None:
    against_latency([Point("one", 5.0, 60.0, 5.0, 5.0)], (), tmp_path / "plot.png", "title", "engine")
    assert (tmp_path / "plot.png").stat().st_size > 1000


def test_reliability_is_drawn(tmp_path: Path) -> None:
    calibration = Calibration()
    ones = np.ones((1, 2), np.uint8)
    calibration.add(ones, np.array([[1, 0]], np.uint8), np.array([[0.9, 0.4]]))
    reliability([("model", calibration)], tmp_path / "curve.png")
    assert Image.open(tmp_path / "curve.png").width == 1200


def test_nothing_to_plot_is_said(tmp_path: Path) -> None:
    with pytest.raises(KitError, match="nothing to plot"):
        against_latency([], CAMVID_TEST, tmp_path / "plot.png", "", "")
    with pytest.raises(KitError, match="nothing to plot"):
        reliability([], tmp_path / "plot.png")


def test_every_published_figure_has_its_source() -> None:
    assert all(entry.source and 40 < entry.mean_iou < 80 for entry in CAMVID_TEST)
