"""ResNet-50 and ResNet-101 as PSPNet uses them: three 3x3 convolutions as stem, the last stages dilated.

He et al. 2016 for the bottlenecks; Zhao et al. 2017 (published code) for the stem of 64, 64, 128 channels and for the
dilations of 2 and 4 that keep stride 8.
"""

from __future__ import annotations

from torch import Tensor, nn

from .blocks import ConvBN

DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
WIDTHS = (64, 128, 256, 512)
EXPANSION = 4


def convolution(
    inputs: int, outputs: int, kernel: int = 1, stride: int = 1, dilation: int = 1, active: bool = True
) -> ConvBN:
    """With the padding, the BatchNorm settings and the ReLU that ResNets are trained with."""
    activation = nn.ReLU if active else None
    return ConvBN(inputs, outputs, kernel, stride, 1, dilation, activation, eps=1e-5, same=False)


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up to four times the width; a projection on the shortcut where shapes differ."""

    def __init__(self, inputs: int, width: int, stride: int, dilation: int) -> None:
        super().__init__()
        outputs = width * EXPANSION
        self.reduce = convolution(inputs, width)
        self.spatial = convolution(width, width, 3, stride, dilation)
        self.expand = convolution(width, outputs, active=False)
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else convolution(inputs, outputs, 1, stride, active=False)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.expand(self.spatial(self.reduce(x))) + self.shortcut(x))


class ResNet(nn.Module):
    """Features of strides 4, 8 and the last one, which is `stride`; what goes beyond it is dilated instead."""

    def __init__(self, variant: str, stride: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(convolution(3, 64, 3, 2), convolution(64, 64, 3), convolution(64, 128, 3))
        self.pool = nn.MaxPool2d(3, 2, 1)
        channels, reached, dilation = 128, 4, 1
        stages: list[nn.Module] = []
        self.channels: dict[int, int] = {}
        for index, (depth, width) in enumerate(zip(DEPTHS[variant], WIDTHS, strict=True)):
            blocks: list[nn.Module] = []
            for block in range(depth):
                step = 2 if index > 0 and block == 0 and reached * 2 <= stride else 1
                if index > 0 and block == 0 and step == 1:
                    dilation *= 2
                reached *= step
                blocks.append(Bottleneck(channels, width, step, dilation))
                channels = width * EXPANSION
            stages.append(nn.Sequential(*blocks))
            self.channels[reached] = channels
            if index == 2:
                self.auxiliary_channels = channels
        self.stages = nn.ModuleList(stages)
        self.strides = [4, 8, min(16, stride), stride]
        self.outputs = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.pool(self.stem(x))
        features: dict[str, Tensor] = {}
        for index, stage in enumerate(self.stages):
            x = stage(x)
            features[f"stride{self.strides[index]}"] = x
            if index == 2:
                features["auxiliary"] = x
        features["last"] = x
        return features
