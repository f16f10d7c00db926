"""What is minimised: class-weighted cross entropy, and the ways in which a student follows a teacher."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.labels import VOID


def class_weights(frequencies: Tensor, power: float) -> Tensor:
    """Weights `frequency ** -power`, with a mean of 1 over the pixels; 0 gives every class the same.

    `frequencies`: pixel counts `[classes]`. Classes that never occur get the largest weight of those that do.
    """
    share = frequencies.double() / frequencies.sum()
    present = share > 0
    weights = torch.zeros_like(share)
    weights[present] = share[present] ** -power
    weights[~present] = weights.max()
    return (weights / (weights * share).sum()).float()


def upsample(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """As pspnetd does before its argmax: bilinear, half-pixel centres."""
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def segmentation(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    """Cross entropy per labelled pixel. `logits` `[n, classes, h', w']`, `labels` int64 `[n, h, w]` with 255 = void."""
    full = upsample(logits.float(), tuple(labels.shape[-2:]))
    return F.cross_entropy(full, labels, weights, ignore_index=VOID) if (labels != VOID).any() else full.sum() * 0


def soft_targets(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL(teacher ‖ student) of the classes at each cell (Hinton et al. 2015), averaged over the cells."""
    t = F.log_softmax(teacher / temperature, 1)
    s = F.log_softmax(student / temperature, 1)
    return F.kl_div(s, t, reduction="none", log_target=True).sum(1).mean() * temperature**2


def group_targets(student: Tensor, targets: Tensor, group_of: Tensor, weights: Tensor, confidence: float) -> Tensor:
    """KL(teacher ‖ student) of the groups of classes at each cell: the student's classes are summed by group, so a
    teacher with other classes can be followed, and may leave open which class of a group it is.

    Args:
        student: logits `[n, classes, h', w']`.
        targets: probabilities of groups `[n, groups, h, w]`; cells with none, all 0, do not count.
        group_of: the group of each class, int64 `[classes]`.
        weights: of each group `[groups]`: a cell counts as the mean of its groups.
        confidence: a cell also counts by its greatest probability to this power.
    """
    logits = student.float()
    if logits.shape[-2:] != targets.shape[-2:]:
        logits = upsample(logits, tuple(targets.shape[-2:]))
    whole = logits.logsumexp(1)
    # One group after another: there are few, and a scatter of exponentials is slow to differentiate.
    groups = [logits[:, group_of == group].logsumexp(1) - whole for group in range(len(weights))]
    total = targets.sum(1, keepdim=True)
    known = (total[:, 0] > 0.5).float()
    t = targets / total.clamp(min=1e-6)
    divergence = (t * (t.clamp(min=1e-6).log() - torch.stack(groups, 1))).sum(1)
    share = known * (t * weights[:, None, None]).sum(1) * t.amax(1) ** confidence
    return (share * divergence).sum() / share.sum().clamp(min=1e-6)


def channel_wise(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T² KL of each class's spatial distribution, mean of channels (Shu et al. 2021, Channel-wise Distillation)."""
    t = F.log_softmax(teacher.flatten(2) / temperature, 2)
    s = F.log_softmax(student.flatten(2) / temperature, 2)
    return F.kl_div(s, t, reduction="none", log_target=True).sum(2).mean() * temperature**2


def pixel_pairs(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Mean squared difference of the cosine similarities between cells (Liu et al. 2019, Structured Knowledge
    Distillation), on logits pooled to at most 12 x 12 cells. `temperature` does not enter."""
    del temperature
    size = tuple(min(side, 12) for side in student.shape[-2:])

    def similarities(x: Tensor) -> Tensor:
        x = F.normalize(F.adaptive_avg_pool2d(x, size).flatten(2), dim=1)
        return x.transpose(1, 2) @ x

    return (similarities(student) - similarities(teacher)).square().mean()


STRUCTURAL: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "channel-wise": channel_wise,
    "pixel-pairs": pixel_pairs,
}
"""Losses that may be added to the soft targets, by the name that a recipe uses."""
