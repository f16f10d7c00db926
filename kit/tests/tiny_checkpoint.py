"""The smallest network that every step of the kit takes, as a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pspnet_kit import checkpoint
from pspnet_kit.model import Architecture, PSPNet, build

SIZE = (96, 96)


def tiny(classes: int = 3, **shape: Any) -> PSPNet:
    """With random weights, the same in every run."""
    torch.manual_seed(0)
    small = {"stride": 16, "stages": 4, "bin_channels": 8, "head_channels": 16, **shape}
    return build(Architecture(classes=classes, **small)).eval()


def constant(model: PSPNet, winner: int) -> PSPNet:
    """The network changed so that it says `winner` everywhere."""
    with torch.no_grad():
        model.classifier.weight.zero_()
        model.classifier.bias.copy_(torch.eye(model.architecture.classes)[winner])
    return model


def save(path: Path, model: PSPNet, names: Sequence[str] = "abc", **more: Any) -> Path:
    """Its checkpoint, with a class for each of `names`."""
    content = {
        "architecture": model.architecture.as_dict(),
        "model": model.state_dict(),
        "classes": [{"name": name, "color": "#000000", "group": ""} for name in names],
        "input": {"height": SIZE[0], "width": SIZE[1]},
        "history": [],
        "metrics": {},
        **more,
    }
    checkpoint.save(path, content)
    return path
