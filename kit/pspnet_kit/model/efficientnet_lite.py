"""EfficientNet-Lite0 to Lite2 without the classifier: ReLU6, no squeeze-and-excitation, stem of 32 channels.

Shapes after the TPU models repository's EfficientNet-Lite: widths and depths of Tan and Le 2019, table 1; the stem
keeps its width, the first and the last stage keep their depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn

from .blocks import ConvBN


@dataclass(frozen=True)
class Stage:
    """A run of equal blocks."""

    repeats: int
    kernel: int
    stride: int
    expansion: int
    outputs: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM = 32
SCALES = {"efficientnet-lite0": (1.0, 1.0), "efficientnet-lite1": (1.0, 1.1), "efficientnet-lite2": (1.1, 1.2)}
"""(width, depth)"""


def round_width(channels: int, width: float) -> int:
    """To the nearest multiple of 8, never below 0.9 of the product."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class InvertedResidual(nn.Module):
    """MBConv (Sandler et al. 2018): expand 1x1, depthwise kxk, project 1x1 without activation.

    Residual where shapes allow.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int, dilation: int) -> None:
        super().__init__()
        middle = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        self.expand = ConvBN(inputs, middle) if expansion > 1 else nn.Identity()
        self.depthwise = ConvBN(middle, middle, kernel, stride, groups=middle, dilation=dilation)
        self.project = ConvBN(middle, outputs, activation=None)

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.residual else y


class EfficientNetLite(nn.Module):
    """Features of strides 4, 8 and the last one, which is `stride`.

    Strides beyond `stride` become 1 and the kernels are not dilated: the Edge TPU has no dilated depthwise convolution.
    """

    def __init__(self, variant: str, stride: int, stages: int) -> None:
        super().__init__()
        width, depth = SCALES[variant]
        self.stem = ConvBN(3, STEM, 3, 2)
        channels, reached = STEM, 2
        blocks: list[nn.Module] = []
        self.taps: dict[int, int] = {}
        """Stride to the index of the last block that has it."""
        self.channels: dict[int, int] = {}
        for index, stage in enumerate(STAGES[:stages]):
            repeats = stage.repeats if index in (0, len(STAGES) - 1) else math.ceil(stage.repeats * depth)
            outputs = round_width(stage.outputs, width)
            for repeat in range(repeats):
                step = stage.stride if repeat == 0 and reached * stage.stride <= stride else 1
                reached *= step
                blocks.append(InvertedResidual(channels, outputs, stage.kernel, step, stage.expansion, 1))
                channels = outputs
                self.taps[reached] = len(blocks) - 1
                self.channels[reached] = channels
            if index == 3:
                self.auxiliary_tap, self.auxiliary_channels = len(blocks) - 1, channels
        self.blocks = nn.ModuleList(blocks)
        self.outputs = channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        x = self.stem(x)
        features: dict[str, Tensor] = {}
        for index, block in enumerate(self.blocks):
            x = block(x)
            for stride, tap in self.taps.items():
                if tap == index:
                    features[f"stride{stride}"] = x
            if index == self.auxiliary_tap:
                features["auxiliary"] = x
        features["last"] = x
        return features
