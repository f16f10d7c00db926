"""Convolutions as every part of the network uses them, padded as TensorFlow does."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class SamePad(nn.Module):
    """TensorFlow's SAME padding of a strided convolution on even sizes: the odd pixel goes right and below."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        total = max(kernel - stride, 0)
        self.before, self.after = total // 2, total - total // 2

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.before, self.after, self.before, self.after))


class ConvBN(nn.Module):
    """Convolution without bias, BatchNorm, and ReLU6 unless `activation` is None.

    Input `[n, inputs, h, w]`, output `[n, outputs, ceil(h / stride), ceil(w / stride)]` for even h and w. `same`:
    strided convolutions are padded as TensorFlow does, else by half a kernel on all sides, as PyTorch's ResNets are.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
        dilation: int = 1,
        activation: type[nn.Module] | None = nn.ReLU6,
        eps: float = 1e-3,
        momentum: float = 0.1,
        same: bool = True,
    ) -> None:
        super().__init__()
        strided = same and stride > 1 and kernel > 1
        self.pad = SamePad(kernel, stride) if strided else nn.Identity()
        padding = 0 if strided else dilation * (kernel // 2)
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation, groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=eps, momentum=momentum)
        self.act = activation() if activation else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(self.pad(x))))


def resize(x: Tensor, like: Tensor) -> Tensor:
    """Bilinear, corner pixels on corner pixels: old Edge TPU compilers take no other kind from PyTorch."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=True)


def initialise(module: nn.Module) -> None:
    """He initialisation of the convolutions that no ImageNet weights are known for."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)


__all__ = ["ConvBN", "SamePad", "initialise", "resize"]
