"""Moves a trained classifier from one class weighting to another, without training.

Cross entropy with weights w learns probabilities proportional to w p (Menon et al. 2021, Long-tail learning via logit
adjustment, section 4): taking log w off the logits gives p back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import PSPNet
from ..training.losses import class_weights


@torch.no_grad()
def rebalance(model: PSPNet, frequencies: Tensor, before: float, after: float) -> Tensor:
    """Changes the classifier's bias in place as if the weights had been `frequency ** -after`, not `** -before`.

    `frequencies`: pixel counts `[classes]` of the training labels. Gives what was added to each logit.
    """
    move = class_weights(frequencies, after).log() - class_weights(frequencies, before).log()
    move = move - move.mean()
    bias = model.classifier.bias
    assert bias is not None
    bias += move.to(bias.device)
    return move
