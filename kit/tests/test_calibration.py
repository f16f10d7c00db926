"""Reliability bins and the expected calibration error, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pspnet_kit.judge.calibration import Calibration


def test_figures_by_hand() -> None:
    calibration = Calibration(bins=4)
    label = np.array([[0, 1, 2, 0, 255]], np.uint8)
    mask = np.array([[0, 1, 0, 1, 0]], np.uint8)
    sure = np.array([[0.9, 0.8, 0.8, 0.3, 1.0]], np.float32)
    calibration.add(label, mask, sure)
    # Bin (0.75, 1]: 0.9 right, 0.8 right, 0.8 wrong; bin (0.25, 0.5]: 0.3 wrong; the void pixel is left out.
    assert calibration.expected_error() == pytest.approx((abs(2 - 2.5) + abs(0 - 0.3)) / 4)
    assert calibration.brier() == pytest.approx((0.1**2 + 0.2**2 + 0.8**2 + 0.3**2) / 4)
    curve = calibration.reliability()
    assert [entry.pixels for entry in curve] == [0, 1, 0, 3]
    assert curve[3].accuracy == pytest.approx(2 / 3)
    assert curve[3].confidence == pytest.approx(2.5 / 3)
    assert np.isnan(curve[0].accuracy)
    assert (curve[1].low, curve[1].high) == (0.25, 0.5)


def test_an_edge_belongs_to_the_bin_below() -> None:
    calibration = Calibration(bins=2)
    ones = np.ones((1, 3), np.uint8)
    calibration.add(ones, ones, np.array([[0.5, 0.500001, 1.0]]))
    assert [entry.pixels for entry in calibration.reliability()] == [1, 2]


def test_perfect_and_hopeless() -> None:
    right, wrong = Calibration(), Calibration()
    ones = np.ones((2, 2), np.uint8)
    right.add(ones, ones, np.ones((2, 2)))
    wrong.add(ones, ones * 0, np.ones((2, 2)))
    assert (right.expected_error(), wrong.expected_error()) == (0.0, 1.0)
    assert len(right.reliability()) == 15


def test_without_pixels_there_is_no_error() -> None:
    assert np.isnan(Calibration().expected_error()) and np.isnan(Calibration().brier())
