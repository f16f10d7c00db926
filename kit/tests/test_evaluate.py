"""mIoU while training against a count pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import tiny_checkpoint
import torch
import torch.distributed as dist
from torch import Tensor, nn

from pspnet_kit.data.augment import resize_input
from pspnet_kit.training.device import Ranks
from pspnet_kit.training.evaluate import mean_iou

HERE = Ranks(torch.device("cpu"))


class Channels(nn.Module):
    """Says the class of the brightest channel, at the input's own stride of 1."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def picture(classes: list[list[int]]) -> np.ndarray:
    """One whose channel of the class is lit, `[h, w, 3]`."""
    return np.eye(3, dtype=np.uint8)[np.array(classes)] * 200


def test_a_case_by_hand() -> None:
    image = picture([[0, 0, 1, 1]])
    label = np.array([[0, 1, 1, 255]], np.uint8)
    # Class 0: 1 of 2; class 1: 1 of 2, as the last pixel is not judged; class 2 is nowhere.
    assert mean_iou(Channels(), [(image, label)], (1, 4), HERE) == pytest.approx(50)
    # A class that is predicted though no label has it counts with 0.
    wrong = (picture([[2, 0, 1, 1]]), label)
    assert mean_iou(Channels(), [wrong], (1, 4), HERE) == pytest.approx((0 + 50 + 0) / 3)


def test_pixels_of_all_pictures_count_together() -> None:
    samples = [
        (picture([[0, 0, 0, 0]]), np.array([[0, 0, 0, 0]], np.uint8)),
        (picture([[0, 1, 1, 1]]), np.array([[1, 1, 0, 1]], np.uint8)),
    ]
    # Class 0: 4 right of 4 + 1 + 1; class 1: 2 right of 2 + 1 + 1.
    assert mean_iou(Channels(), samples, (1, 4), HERE) == pytest.approx(100 * (4 / 6 + 2 / 4) / 2)


def test_labels_keep_their_own_size() -> None:
    # Seen at 2 x 2, judged at 4 x 4: the borders are as sharp as bilinear logits make them.
    image = picture([[0, 1], [0, 1]]).repeat(2, 0).repeat(2, 1)
    label = np.array([[0, 0, 1, 1]] * 4, np.uint8)
    assert mean_iou(Channels(), [(image, label)], (2, 2), HERE) == 100


def test_nothing_to_judge_is_zero() -> None:
    void = np.full((1, 4), 255, np.uint8)
    assert mean_iou(Channels(), [(picture([[0, 1, 2, 0]]), void)], (1, 4), HERE) == 0


def test_a_network_is_judged_as_numpy_counts_it() -> None:
    random = np.random.default_rng(0)
    samples = [
        (random.integers(0, 256, (60, 80, 3), dtype=np.uint8), random.choice([0, 1, 2, 255], (60, 80)).astype(np.uint8))
        for _ in range(2)
    ]
    model = tiny_checkpoint.tiny()
    model.train()
    hits, unions = np.zeros(3), np.zeros(3)
    for image, label in samples:
        with torch.no_grad():
            logits = model.eval()(resize_input(image, 96, 96)[None])
            full = torch.nn.functional.interpolate(logits, (60, 80), mode="bilinear", align_corners=False)
        predicted = full.numpy()[0].argmax(0)
        for index in range(3):
            said, true, judged = predicted == index, label == index, label != 255
            hits[index] += (said & true).sum()
            unions[index] += ((said | true) & judged).sum()
    wanted = float((hits / unions).mean() * 100)
    assert mean_iou(model.train(), samples, (96, 96), HERE) == pytest.approx(wanted, abs=0.02)
    assert not model.training


def test_ranks_share_the_pictures_and_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = [
        (picture([[0, 0, 0, 0]]), np.array([[0, 0, 0, 0]], np.uint8)),
        (picture([[0, 1, 1, 1]]), np.array([[1, 1, 0, 1]], np.uint8)),
        (picture([[1, 1, 0, 0]]), np.array([[1, 1, 1, 0]], np.uint8)),
    ]
    parts: list[Tensor] = []
    monkeypatch.setattr(dist, "all_reduce", lambda counts: parts.append(counts.clone()))
    mean_iou(Channels(), samples, (1, 4), Ranks(torch.device("cpu"), 0, 2))
    monkeypatch.setattr(dist, "all_reduce", lambda counts: counts.add_(parts[0]))
    whole = mean_iou(Channels(), samples, (1, 4), HERE)
    assert int(parts[0].sum()) == 8
    assert mean_iou(Channels(), samples, (1, 4), Ranks(torch.device("cpu"), 1, 2)) == pytest.approx(whole)
