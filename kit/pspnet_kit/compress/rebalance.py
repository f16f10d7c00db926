"""Moves a trained classifier from one class weighting to another, without training.

Cross entropy with weights w learns probabilities proportional to w p (Menon et al. 2021, Long-tail learning via logit
adjustment, section 4): taking log w off the logits gives p back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..errors import KitError
from ..model import PSPNet
from ..quant.graph import trace
from ..training.losses import class_weights


@torch.no_grad()
def rebalance(model: PSPNet, frequencies: Tensor, before: float, after: float) -> Tensor:
    """Changes the classifier's bias in place as if the weights had been `frequency ** -after`, not `** -before`.

    `frequencies`: pixel counts `[classes]` of the training labels. Gives what was added to each logit.

    Raises:
        KitError: when there are no pixels.
    """
    if not frequencies.sum() > 0:
        raise KitError("the labels hold nothing but void: no class frequencies to rebalance by")
    move = class_weights(frequencies, after).log() - class_weights(frequencies, before).log()
    move = move - move.mean()
    # A classifier that was factorised is a chain, and the bias is its last convolution's.
    last = list(model.classifier.modules())[-1]
    assert isinstance(last, nn.Conv2d) and last.bias is not None
    last.bias += move.to(last.bias.device)
    return move


def moved_ranges(
    model: PSPNet, size: tuple[int, int], ranges: Mapping[str, Sequence[float]], move: Tensor
) -> dict[str, tuple[float, float]]:
    """The ranges of a network trained with quantisation, wide enough for logits that `move` was added to."""
    graph = trace(model, torch.zeros(1, 3, *size))
    output = graph.range_groups()[graph.output]
    moved = {group: (float(low), float(high)) for group, (low, high) in ranges.items()}
    low, high = moved[output]
    moved[output] = (low + min(float(move.min()), 0.0), high + max(float(move.max()), 0.0))
    return moved
