"""A data set in memory, and the batches of an epoch: the same for the same seed, whatever happened before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KitError
from .augment import Augmentation, Window, colour, paste_rare, paste_soft

Sample = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Image `[h, w, 3]` RGB and label `[h, w]`, 255 = void."""


@dataclass(frozen=True)
class Batches:
    """Augmented batches of one rank of `ranks`."""

    samples: Sequence[Sample]
    size: tuple[int, int]
    """Height and width of the network's input."""
    batch: int
    how: Augmentation
    seed: int = 0
    rank: int = 0
    ranks: int = 1
    soft: Sequence[NDArray[np.uint8]] | None = None
    """Probabilities of groups for every sample, `[groups, h', w']`; then batches have them too."""

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise KitError(f"train.batch {self.batch}: expected at least 1")
        if len(self.samples) < self.batch * self.ranks:
            raise KitError(
                f"{len(self.samples)} pictures to train on are fewer than one batch of {self.batch} on {self.ranks} "
                "processes: take a smaller train.batch"
            )

    def __len__(self) -> int:
        return len(self.samples) // (self.batch * self.ranks)

    def epoch(self, epoch: int, crop: tuple[int, int], skip: int = 0) -> Iterator[tuple[Tensor, ...]]:
        """Float32 `[batch, 3, *crop]`, int64 `[batch, *crop]` and, where there are soft targets, float32
        `[batch, groups, *crop / SOFT_STRIDE]`. `skip` leaves out that many batches at the start."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.samples))
        for step in range(skip, len(self)):
            first = (step * self.ranks + self.rank) * self.batch
            samples = [self.sample(epoch, int(index), crop) for index in order[first : first + self.batch]]
            yield tuple(torch.stack(parts) for parts in zip(*samples, strict=True))

    def sample(self, epoch: int, index: int, crop: tuple[int, int]) -> tuple[Tensor, ...]:
        """One augmented sample; a function of seed, epoch and index alone."""
        random = np.random.default_rng((self.seed, epoch, index))
        image, label = self.samples[index]
        soft = self.soft[index] if self.soft else None
        if self.how.paste_classes and random.random() < self.how.paste:
            other = int(random.integers(len(self.samples)))
            donor = self.samples[other]
            if soft is not None and self.soft:
                soft = paste_soft(soft, (self.soft[other], donor[1]), self.how.paste_classes)
            image, label = paste_rare(image, label, donor, self.how.paste_classes)
        window = Window.draw((label.shape[0], label.shape[1]), self.size, crop, self.how, random)
        x, y = window.cut(image, label)
        seen = colour(x, self.how, random), y
        return seen if soft is None else (*seen, window.cut_soft(soft))
