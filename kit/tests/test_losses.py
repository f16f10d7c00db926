"""Losses against numbers worked out by hand."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor

from pspnet_kit.training.losses import STRUCTURAL, channel_wise, class_weights, pixel_pairs, segmentation, soft_targets


def cells(*values: list[float]) -> Tensor:
    """Logits `[1, classes, 1, cells]`, a list for each class."""
    return torch.tensor(values)[None, :, None, :]


def test_class_weights_are_powers_of_the_share_with_a_mean_of_one() -> None:
    # Shares 0.8 and 0.2; the power -1 gives 1.25 and 5, whose mean over the pixels is 2.
    torch.testing.assert_close(class_weights(torch.tensor([80.0, 20.0]), 1.0), torch.tensor([0.625, 2.5]))
    # The power -0.5 gives 1.25 and 2 for 0.64 and 0.25; a third class has 0.11.
    weights = class_weights(torch.tensor([64.0, 25.0, 11.0]), 0.5)
    assert float(weights[1] / weights[0]) == pytest.approx(1.6)
    assert float((weights * torch.tensor([0.64, 0.25, 0.11])).sum()) == pytest.approx(1)


def test_no_power_weighs_all_classes_alike() -> None:
    torch.testing.assert_close(class_weights(torch.tensor([7.0, 1.0, 0.0]), 0.0), torch.ones(3))


def test_a_class_that_never_occurs_weighs_as_much_as_the_rarest() -> None:
    torch.testing.assert_close(class_weights(torch.tensor([80.0, 20.0, 0.0]), 1.0), torch.tensor([0.625, 2.5, 2.5]))


def test_segmentation_is_weighted_cross_entropy_of_the_labelled_pixels() -> None:
    # Odds 3:1 for class 0 in each pixel: -log p is log 4/3 for class 0, log 4 for class 1.
    logits = cells([log(3.0)] * 3, [0.0] * 3)
    labels = torch.tensor([[[0, 1, 255]]])
    assert float(segmentation(logits, labels, None)) == pytest.approx((log(4 / 3) + log(4)) / 2)
    weights = torch.tensor([1.0, 3.0])
    assert float(segmentation(logits, labels, weights)) == pytest.approx((log(4 / 3) + 3 * log(4)) / 4)


def test_void_has_no_gradient_and_void_alone_no_loss() -> None:
    logits = cells([1.0, 2.0], [0.0, 0.0]).requires_grad_()
    segmentation(logits, torch.tensor([[[0, 255]]]), None).backward()
    assert logits.grad is not None
    assert logits.grad[..., 0].abs().min() > 0 and logits.grad[..., 1].abs().max() == 0
    logits.grad = None
    loss = segmentation(logits, torch.full((1, 1, 2), 255), None)
    loss.backward()
    assert float(loss) == 0 and logits.grad is not None and not logits.grad.any()


def test_segmentation_upsamples_the_logits_with_half_pixel_centres() -> None:
    # Two cells 0 and 4 become 0, 1, 3, 4 over four pixels.
    logits = cells([0.0, 4.0], [0.0, 0.0])
    wanted = sum(log(1 + 2.718281828459045**value) for value in (0, 1, 3, 4)) / 4
    assert float(segmentation(logits, torch.ones(1, 1, 4, dtype=torch.long), None)) == pytest.approx(wanted)


def test_soft_targets_are_the_divergence_times_the_squared_temperature() -> None:
    # At T = 2 the teacher's odds are 3:1 in the first cell and 1:1 in the second, the student's 1:1 in both.
    teacher = cells([2 * log(3.0), 5.0], [0.0, 5.0])
    student = cells([1.0, -2.0], [1.0, -2.0])
    divergence = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert float(soft_targets(student, teacher, 2.0)) == pytest.approx(4 * divergence / 2)
    # The other way round it is another number.
    other = 0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25)
    assert float(soft_targets(teacher, student, 2.0)) == pytest.approx(4 * other / 2)


def test_soft_targets_do_not_see_what_all_classes_share() -> None:
    teacher = cells([1.0, 2.0], [0.5, -1.0])
    assert float(soft_targets(teacher + 7, teacher, 3.0)) == pytest.approx(0, abs=1e-6)


def test_channel_wise_compares_where_a_class_is() -> None:
    # The teacher puts 3/4 of class 0 into the first of two cells, the student half; class 1 is the same.
    teacher = cells([log(3.0) * 2, 0.0], [1.0, 4.0])
    student = cells([9.0, 9.0], [0.0, 3.0])
    divergence = 0.75 * log(0.75 / 0.5) + 0.25 * log(0.25 / 0.5)
    assert float(channel_wise(student, teacher, 2.0)) == pytest.approx(4 * divergence / 2)


def test_pixel_pairs_compare_similarities_of_cells() -> None:
    # The teacher's cells are at right angles, the student's alike: two of four pairs differ by one.
    teacher, student = cells([1.0, 0.0], [0.0, 3.0]), cells([2.0, 5.0], [0.0, 0.0])
    assert float(pixel_pairs(student, teacher, 1.0)) == pytest.approx(0.5)
    # Lengths do not count.
    assert float(pixel_pairs(student, student * 3, 1.0)) == pytest.approx(0, abs=1e-12)


def test_pixel_pairs_pool_large_maps() -> None:
    # 24 x 24 cells that cancel in blocks of 2 x 2 are nothing to compare, though they are nowhere alike.
    sign = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(12, 12)
    student = torch.ones(1, 2, 24, 24)
    noisy = student + 5 * sign
    assert float(pixel_pairs(noisy, student, 1.0)) == pytest.approx(0, abs=1e-10)


@pytest.mark.parametrize("name", STRUCTURAL)
def test_the_student_is_drawn_to_the_teacher(name: str) -> None:
    teacher, student = torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    student.requires_grad_()
    before = STRUCTURAL[name](student, teacher, 1.0)
    (gradient,) = torch.autograd.grad(before, student)
    assert float(STRUCTURAL[name](student - 0.1 * gradient, teacher, 1.0)) < float(before)
