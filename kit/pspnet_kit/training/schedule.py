"""Learning rate over the run, and the average of the weights that is kept beside them."""

from __future__ import annotations

import copy

import torch
from torch import nn


def poly(step: int, steps: int, warmup: int, power: float = 0.9) -> float:
    """Factor of the base rate: (1 - step / steps) ** power (Zhao et al. 2017, section 5.1) after a linear warm-up."""
    if step < warmup:
        return (step + 1) / warmup
    return max(1 - step / steps, 0.0) ** power


class Average:
    """Exponential moving average of parameters and BatchNorm statistics; young averages forget faster."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.model = copy.deepcopy(model).eval()
        for parameter in self.model.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Moves towards `model`, which has the same shapes."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        target, source = self.model.state_dict(), model.state_dict()
        for name, value in target.items():
            if value.dtype.is_floating_point:
                value.lerp_(source[name], 1 - decay)
            else:
                value.copy_(source[name])
