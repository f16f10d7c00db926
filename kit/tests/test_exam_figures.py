"""The exam's figures on maps that can be counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pspnet_kit.data import VOID
from pspnet_kit.exam.figures import Sums, Truth, together
from pspnet_kit.exam.groups import GROUPS

SKY, STRUCTURE, PAVED, PLANT, PERSON = (GROUPS.index(n) for n in ("sky", "structure", "paved", "plant", "person"))


def maps(*rows: list[int]) -> np.ndarray:
    return np.array(rows, np.uint8)


def impossible(*groups: int) -> np.ndarray:
    table = np.zeros(256, np.bool_)
    table[list(groups)] = True
    return table


def test_mean_iou_is_over_the_groups_that_are_labelled() -> None:
    sums = Sums()
    label = maps([SKY, SKY, PAVED, PAVED, PERSON, VOID])
    sums.add(maps([SKY, PLANT, PAVED, PAVED, PAVED, PERSON]), np.full((1, 6), 0.9), Truth(label))
    iou = sums.iou()
    assert iou["sky"] == 1 / 2 and iou["paved"] == 2 / 3 and iou["person"] == 0
    # Plant is predicted and nowhere labelled: it has an IoU, but no part in the mean. Water has neither.
    assert iou["plant"] == 0 and math.isnan(iou["water"])
    assert sums.labelled() == ["sky", "paved", "person"]
    assert sums.mean_iou() == pytest.approx((1 / 2 + 2 / 3 + 0) / 3)
    assert sums.persons() == 0 and math.isnan(sums.persons_of_teacher())


def test_impossible_groups_count_each_picture_alike() -> None:
    sums = Sums()
    truth = Truth(impossible=impossible(SKY, PLANT))
    sums.add(maps([SKY, PAVED, PAVED, PAVED]), np.array([[0.9, 0.5, 0.5, 0.5]]), truth)
    sums.add(np.full((10, 10), PAVED, np.uint8), np.full((10, 10), 0.5), truth)
    sums.add(maps([PLANT, SKY]), np.array([[0.6, 0.8]]), truth)
    assert sums.impossible.value() == pytest.approx((1 / 4 + 0 + 1) / 3)
    assert sums.impossible.mean_confidence() == pytest.approx((0.9 / 4 + 1.4 / 2) / (1 / 4 + 1))


def test_what_a_label_shows_is_possible() -> None:
    sums = Sums()
    sums.add(
        maps([PLANT, PLANT, PLANT, SKY]),
        np.full((1, 4), 0.9),
        Truth(maps([PLANT, PAVED, VOID, PAVED]), None, impossible(PLANT)),
    )
    assert sums.impossible.value() == 2 / 4


def test_unsure_pixels_and_the_errors_among_them() -> None:
    sums = Sums()
    label = maps([SKY, SKY, PAVED, VOID])
    sums.add(maps([SKY, PAVED, SKY, SKY]), np.array([[0.59, 0.59, 0.6, 0.1]]), Truth(label))
    assert sums.unsure.value() == 3 / 4
    assert (sums.errors, sums.unsure_errors, sums.unsure_error_share()) == (2, 1, 0.5)
    # One bin of 15, from 8/15 to 9/15, holds all three; one of them is right.
    assert sums.calibration_error() == pytest.approx((0.59 + 0.59 + 0.6 - 1) / 3)


def test_class_maps_without_confidence_leave_such_figures_out() -> None:
    sums = Sums()
    sums.add(maps([SKY, PAVED]), None, Truth(maps([SKY, SKY]), None, impossible(PAVED)))
    told = sums.as_dict()
    assert (told["miou"], told["impossible"]) == (0.5, 0.5)
    for name in ("impossible_confidence", "calibration_error", "unsure", "errors_unsure"):
        assert told[name] is None


def test_persons_are_compared_where_the_teacher_is_sure() -> None:
    sums = Sums()
    teacher = maps([PERSON, PERSON, PAVED, VOID, SKY])
    sums.add(maps([PERSON, SKY, PERSON, PERSON, SKY]), None, Truth(teacher=teacher))
    assert sums.persons_of_teacher() == pytest.approx(1 / 3)
    assert math.isnan(sums.persons()) and math.isnan(sums.mean_iou())


def test_flips_are_counted_on_still_pixels() -> None:
    sums = Sums()
    still = np.array([[True, True, True, False]])
    first = (maps([0, 1, 2, 3]), maps([SKY, PAVED, PAVED, SKY]))
    second = (maps([0, 2, 3, 0]), maps([SKY, PAVED, SKY, PAVED]))
    sums.add_step(still, first, second)
    sums.add_step(still, second, second)
    assert sums.class_flip_share() == pytest.approx(2 / 6)
    assert sums.flip_share() == pytest.approx(1 / 6)


def test_several_sets_are_one() -> None:
    random = np.random.default_rng(1)
    whole, parts = Sums(), [Sums(), Sums()]
    for index in range(4):
        groups, label, teacher = random.integers(0, len(GROUPS), (3, 6, 5), np.uint8)
        truth = Truth(label, teacher, impossible(SKY))
        confidence = random.random((6, 5))
        for sums in (whole, parts[index % 2]):
            sums.add(groups, confidence, truth)
            sums.add_step(confidence > 0.5, (groups, groups), (label, label))
    found, expected = together(parts).as_dict(), whole.as_dict()
    assert found.pop("iou") == expected.pop("iou") and found.pop("confusion") == expected.pop("confusion")
    assert found.pop("labelled_groups") == expected.pop("labelled_groups")
    assert found == pytest.approx(expected)
    assert all(value is not None for value in found.values())


def test_nothing_is_no_number() -> None:
    told = Sums().as_dict()
    assert told["pictures"] == 0 and told["iou"] == {}
    assert {
        value
        for name, value in told.items()
        if name not in ("pictures", "labelled_pixels", "labelled_groups", "iou", "confusion")
    } == {None}
