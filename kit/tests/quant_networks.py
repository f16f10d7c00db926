"""Small networks and pictures for the tests of quantisation and export."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pspnet_kit.data.augment import to_input
from pspnet_kit.model import Architecture, PSPNet, build
from pspnet_kit.model.blocks import ConvBN

SIZE = (48, 64)
PLAIN = Architecture(4, stages=4, bins=(1, 2), bin_channels=7, head_channels=13)
SKIP = Architecture(
    4,
    stages=5,
    stride=16,
    bins=(1,),
    bin_channels=8,
    head_channels=16,
    skip_stride=8,
    skip_channels=9,
    refine_channels=12,
)


def settled(architecture: Architecture, seed: int = 0) -> PSPNet:
    """With BatchNorms and activations as alive as after training."""
    torch.manual_seed(seed)
    model = build(architecture)
    settle(model)
    return model.eval()


def settle(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, ConvBN):
            fan_in = module.conv.weight[0].numel()
            nn.init.normal_(module.conv.weight, 0, (2 / fan_in) ** 0.5)
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.7, 1.3)
            nn.init.uniform_(module.weight, 0.6, 1.1)
            nn.init.uniform_(module.bias, -0.5, 0.5)


def pictures(count: int, size: tuple[int, int] = SIZE) -> list[NDArray[np.uint8]]:
    """Coloured blocks under noise, uint8 `[h, w, 3]`."""
    random = np.random.default_rng(1)
    made = []
    for _ in range(count):
        blocks = random.integers(0, 256, (size[0] // 8, size[1] // 8, 3)).repeat(8, 0).repeat(8, 1)
        noisy = blocks + random.normal(0, 12, blocks.shape)
        made.append(np.clip(noisy, 0, 255).astype(np.uint8))
    return made


def inputs(count: int, size: tuple[int, int] = SIZE) -> Tensor:
    """pictures() as the network sees them."""
    return torch.stack([to_input(picture) for picture in pictures(count, size)])
