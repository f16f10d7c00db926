"""The figures of the confusion matrix, against cases counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from pspnet_kit.errors import KitError
from pspnet_kit.judge.metrics import Confusion


def ids(*values: int) -> np.ndarray:
    return np.array([values], np.uint8)


@pytest.fixture
def counted() -> Confusion:
    confusion = Confusion(4)
    #                 hit hit miss hit void hit
    confusion.add(ids(0, 0, 1, 1, 255, 2), ids(0, 0, 0, 1, 3, 2))
    return confusion


def test_iou_counts_what_is_labelled_or_predicted(counted: Confusion) -> None:
    np.testing.assert_allclose(counted.iou(), [2 / 3, 1 / 2, 1, np.nan])
    assert counted.mean_iou() == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)


def test_accuracies(counted: Confusion) -> None:
    assert counted.pixels == 5
    assert counted.pixel_accuracy() == pytest.approx(4 / 5)
    assert counted.mean_accuracy() == pytest.approx((1 + 1 / 2 + 1) / 3)
    assert counted.frequency_weighted_iou() == pytest.approx(2 / 5 * 2 / 3 + 2 / 5 * 1 / 2 + 1 / 5)


def test_a_class_that_is_only_predicted_pulls_the_mean_down() -> None:
    confusion = Confusion(3)
    confusion.add(ids(0, 0), ids(0, 2))
    np.testing.assert_allclose(confusion.iou(), [1 / 2, np.nan, 0])
    assert confusion.mean_iou() == pytest.approx(1 / 4)
    assert confusion.mean_accuracy() == pytest.approx(1 / 2)


def test_predictions_that_are_no_class_are_wrong() -> None:
    confusion = Confusion(2)
    confusion.add(ids(0, 1), ids(255, 1))
    assert confusion.iou().tolist() == [0, 1]
    assert confusion.pixel_accuracy() == pytest.approx(1 / 2)


def test_pictures_add_up() -> None:
    whole, parts = Confusion(3), Confusion(3)
    label, mask = ids(0, 1, 2, 1, 0, 255), ids(0, 1, 1, 1, 2, 0)
    whole.add(label, mask)
    for part in (slice(0, 2), slice(2, 6)):
        parts.add(label[:, part], mask[:, part])
    np.testing.assert_array_equal(whole.counts, parts.counts)


def test_groups_forgive_confusion_within_them() -> None:
    confusion = Confusion(3)
    confusion.add(ids(0, 1, 1, 2), ids(1, 0, 2, 2))
    names, merged = confusion.grouped(["thing", "thing", "ground"])
    assert names == ["thing", "ground"]
    np.testing.assert_array_equal(merged.counts, [[2, 1, 0], [0, 1, 0]])
    np.testing.assert_allclose(merged.iou(), [2 / 3, 1 / 2])


def test_nothing_to_judge_is_no_number() -> None:
    confusion = Confusion(2)
    confusion.add(ids(255), ids(0))
    assert np.isnan(confusion.mean_iou()) and np.isnan(confusion.pixel_accuracy())
    assert np.isnan(confusion.frequency_weighted_iou())


def test_strange_labels_and_shapes_are_refused() -> None:
    with pytest.raises(KitError, match="label id 7: expected 0 to 1"):
        Confusion(2).add(ids(0, 7), ids(0, 0))
    with pytest.raises(KitError, match="expected the same"):
        Confusion(2).add(ids(0, 1), ids(0))
