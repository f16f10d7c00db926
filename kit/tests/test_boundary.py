"""Outlines, disks and boundary scores, against small pictures drawn by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pspnet_kit.judge.boundary import Boundary, dilate, f_scores, outline


def drawn(*rows: str) -> np.ndarray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def test_the_outline_lies_within_and_not_along_the_edge_of_the_picture() -> None:
    mask = drawn("###..", "###..", "###..", ".....")
    expected = drawn("..#..", "..#..", "###..", ".....")
    np.testing.assert_array_equal(outline(mask, np.ones_like(mask)), expected)


def test_void_makes_no_outline() -> None:
    mask = drawn("##...", "##...")
    void = drawn("..#..", ".....")
    np.testing.assert_array_equal(outline(mask, ~void), drawn(".....", ".#..."))


@pytest.mark.parametrize(
    ("radius", "expected"),
    [
        (0.9, drawn(".....", ".....", "..#..", ".....", ".....")),
        (1.0, drawn(".....", "..#..", ".###.", "..#..", ".....")),
        (1.5, drawn(".....", ".###.", ".###.", ".###.", ".....")),
        (2.0, drawn("..#..", ".###.", "#####", ".###.", "..#..")),
        (2.3, drawn(".###.", "#####", "#####", "#####", ".###.")),
    ],
)
def test_dilation_is_a_disk(radius: float, expected: np.ndarray) -> None:
    point = np.zeros((5, 5), bool)
    point[2, 2] = True
    np.testing.assert_array_equal(dilate(point, radius), expected)


def test_dilation_stops_at_the_edges() -> None:
    corner = np.zeros((2, 3), bool)
    corner[0, 0] = True
    np.testing.assert_array_equal(dilate(corner, 5), np.ones((2, 3), bool))


def test_a_score_by_hand() -> None:
    # Two classes side by side; the border is at column 3 in truth and at 3 in the upper half, at 5 in the lower, found.
    label = np.zeros((4, 8), np.uint8)
    label[:, 3:] = 1
    found = np.zeros((4, 8), np.uint8)
    found[:2, 3:] = 1
    found[2:, 5:] = 1
    # Less than a pixel of tolerance. Class 0, true outline: column 2, 4 pixels. Found: column 2 in rows 0 and 1, column
    # 4 in rows 2 and 3, and in row 2 columns 3 and 4 lie below class 1. So found is (0,2) (1,2) (2,3) (2,4) (3,4).
    scores = f_scores(label, found, 2, tolerance=0.9 / np.hypot(4, 8))
    precision, recall = 2 / 5, 2 / 4
    assert scores[0] == pytest.approx(2 * precision * recall / (precision + recall))


def test_a_shift_within_the_tolerance_is_none() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[:, 10:] = 1
    near, far = np.zeros_like(label), np.zeros_like(label)
    near[:, 12:] = 1
    far[:, 13:] = 1
    tolerance = 2 / np.hypot(20, 20)
    np.testing.assert_allclose(f_scores(label, near, 2, tolerance + 1e-9), [1, 1])
    np.testing.assert_allclose(f_scores(label, far, 2, tolerance + 1e-9), [0, 0])


def test_what_is_predicted_on_void_does_not_count() -> None:
    label = np.zeros((6, 6), np.uint8)
    label[:, 3:] = 1
    found = label.copy()
    label[4:, :2] = 255
    found[4:, :2] = 2
    scores = f_scores(label, found, 4)
    np.testing.assert_allclose(scores, [1, 1, np.nan, np.nan])


def test_a_class_in_only_one_of_them_scores_nothing() -> None:
    label = np.zeros((6, 6), np.uint8)
    found = label.copy()
    found[2:4, 2:4] = 1
    np.testing.assert_allclose(f_scores(label, found, 3), [0, 0, np.nan])


def test_pictures_are_averaged_where_a_class_is() -> None:
    boundary = Boundary(2)
    label = np.zeros((6, 6), np.uint8)
    label[:, 3:] = 1
    boundary.add(label, label)
    boundary.add(label, np.zeros_like(label))
    boundary.add(np.zeros_like(label), np.zeros_like(label))
    np.testing.assert_allclose(boundary.scores(), [1 / 2, 1 / 2])
    assert boundary.mean() == pytest.approx(1 / 2)
