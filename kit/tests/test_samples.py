"""Batches: every picture once an epoch, shared among processes, the same again for the same seed."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
import torch

from pspnet_kit.data.augment import Augmentation
from pspnet_kit.data.samples import Batches
from pspnet_kit.errors import KitError

NOTHING = Augmentation(scale=(1.0, 1.0), aspect=0.0, flip=0.0, colour=0.0, low_light=0.0, blur=0.0, paste=0.0)
SIZE = (4, 4)


def samples(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Each is of one value, its number."""
    return [(np.full((4, 4, 3), i, np.uint8), np.full((4, 4), i, np.uint8)) for i in range(count)]


def seen(batches: Batches, epoch: int, skip: int = 0) -> list[int]:
    return [int(y) for _, labels in batches.epoch(epoch, SIZE, skip) for y in labels[:, 0, 0]]


def test_an_epoch_is_a_permutation_and_each_is_another() -> None:
    batches = Batches(samples(12), SIZE, 3, NOTHING)
    assert len(batches) == 4
    orders = [seen(batches, epoch) for epoch in range(3)]
    assert all(sorted(order) == list(range(12)) for order in orders)
    assert orders[0] != orders[1] != orders[2] and orders[0] != list(range(12))


def test_images_and_labels_come_together() -> None:
    for images, labels in Batches(samples(8), SIZE, 4, NOTHING).epoch(0, SIZE):
        assert images.shape == (4, 3, 4, 4) and images.dtype == torch.float32
        assert labels.shape == (4, 4, 4) and labels.dtype == torch.int64
        assert torch.equal((images[:, 0] * 128 + 127).round().long(), labels)


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    batches = Batches(samples(11), SIZE, 3, NOTHING)
    orders = [seen(batches, epoch) for epoch in range(6)]
    assert all(len(set(order)) == 9 for order in orders)
    assert set().union(*orders) == set(range(11))


def test_ranks_share_an_epoch_without_overlap() -> None:
    shares = [seen(Batches(samples(12), SIZE, 2, NOTHING, rank=rank, ranks=3), 5) for rank in range(3)]
    assert [len(share) for share in shares] == [4, 4, 4]
    assert sorted(chain.from_iterable(shares)) == list(range(12))
    # Together they take the steps of one process with a batch three times as large.
    whole = seen(Batches(samples(12), SIZE, 6, NOTHING), 5)
    assert whole[:6] == shares[0][:2] + shares[1][:2] + shares[2][:2]


def test_the_seed_alone_decides() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
    data = [(image, label) for image, (_, label) in zip(noise, samples(6), strict=True)]
    how = Augmentation(paste_classes=(1, 2))

    def run(seed: int) -> list[torch.Tensor]:
        return [x for x, _ in Batches(data, SIZE, 2, how, seed).epoch(3, SIZE)]

    assert all(torch.equal(a, b) for a, b in zip(run(7), run(7), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(run(7), run(8), strict=True))


def test_a_sample_does_not_depend_on_its_batch_or_rank() -> None:
    data = samples(6)
    small, large = Batches(data, SIZE, 1, Augmentation(), rank=1, ranks=2), Batches(data, SIZE, 6, Augmentation())
    for one, other in zip(small.sample(2, 4, SIZE), large.sample(2, 4, SIZE), strict=True):
        assert torch.equal(one, other)


def test_skipping_goes_on_in_the_middle() -> None:
    batches = Batches(samples(9), SIZE, 3, NOTHING)
    assert seen(batches, 1, skip=2) == seen(batches, 1)[6:]


def test_rare_classes_are_pasted_from_other_pictures() -> None:
    data = samples(2)
    how = Augmentation(**{**NOTHING.__dict__, "paste": 1.0, "paste_classes": (1,)})
    batches = Batches(data, SIZE, 2, how)
    values = {int(batches.sample(epoch, 0, SIZE)[1][0, 0]) for epoch in range(12)}
    # The donor is picture 1 now and then, and then covers all of picture 0.
    assert values == {0, 1}


def test_too_few_pictures_and_empty_batches_are_refused() -> None:
    with pytest.raises(KitError, match=r"5 pictures .* one batch of 3 on 2 processes"):
        Batches(samples(5), SIZE, 3, NOTHING, ranks=2)
    assert len(Batches(samples(6), SIZE, 3, NOTHING, ranks=2)) == 1
    with pytest.raises(KitError, match=r"train\.batch 0"):
        Batches(samples(5), SIZE, 0, NOTHING)
