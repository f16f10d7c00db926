"""PSPNet: a backbone, the pyramid pooling module and the classifiers (Zhao et al. 2017, figure 3)."""

from __future__ import annotations

import dataclasses

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .architecture import Architecture
from .blocks import ConvBN, initialise, resize
from .efficientnet_lite import EfficientNetLite
from .resnet import ResNet


class PyramidPooling(nn.Module):
    """Averages over grids of 1x1, 2x2, 3x3 and 6x6 cells, each reduced by a 1x1 convolution, resized and concatenated.

    Input `[n, inputs, h, w]`, output `[n, inputs + bins * channels, h, w]`.
    """

    def __init__(self, inputs: int, bins: tuple[int, ...], channels: int) -> None:
        super().__init__()
        self.bins = bins
        self.branches = nn.ModuleList(ConvBN(inputs, channels) for _ in bins)
        self.outputs = inputs + channels * len(bins)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            resize(branch(F.adaptive_avg_pool2d(x, cells)), x)
            for cells, branch in zip(self.bins, self.branches, strict=True)
        ]
        return torch.cat([x, *pooled], 1)


class PSPNet(nn.Module):
    """Logits at the network's own stride.

    Input: `[n, 3, h, w]`, RGB, (pixel - 127) / 128. Output: `[n, classes, h / s, w / s]`, s = `output_stride`; while
    training with an auxiliary classifier a pair of them, the auxiliary one at its own stride.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        a = self.architecture = architecture
        self.backbone: EfficientNetLite | ResNet
        if a.backbone.startswith("resnet"):
            self.backbone = ResNet(a.backbone, a.stride)
        else:
            self.backbone = EfficientNetLite(a.backbone, a.stride, a.stages)
        features = self.backbone.outputs
        self.pyramid = PyramidPooling(features, a.bins, a.bin_channels or features // len(a.bins))
        self.head = ConvBN(self.pyramid.outputs, a.head_channels, 3)
        last = a.head_channels
        if a.skip_stride:
            self.skip = ConvBN(self.backbone.channels[a.skip_stride], a.skip_channels)
            self.refine = ConvBN(a.head_channels + a.skip_channels, a.refine_channels, 3)
            last = a.refine_channels
        self.dropout = nn.Dropout2d(a.dropout)
        self.classifier = nn.Conv2d(last, a.classes, 1)
        if a.auxiliary:
            middle = max(self.backbone.auxiliary_channels // 4, 32)
            self.auxiliary = nn.Sequential(
                ConvBN(self.backbone.auxiliary_channels, middle, 3),
                nn.Dropout2d(a.dropout),
                nn.Conv2d(middle, a.classes, 1),
            )
        initialise(self)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        features = self.backbone(x)
        y = self.head(self.pyramid(features["last"]))
        if self.architecture.skip_stride:
            finer = self.skip(features[f"stride{self.architecture.skip_stride}"])
            y = self.refine(torch.cat([resize(y, finer), finer], 1))
        logits = self.classifier(self.dropout(y))
        if self.training and self.architecture.auxiliary:
            return logits, self.auxiliary(features["auxiliary"])
        return logits

    def renew_classifiers(self, classes: int) -> None:
        """Random classifiers for another set of classes; all that comes before them stays."""
        self.architecture = dataclasses.replace(self.architecture, classes=classes)
        # A factorised classifier is a chain of convolutions.
        first = next(layer for layer in self.classifier.modules() if isinstance(layer, nn.Conv2d))
        self.classifier = nn.Conv2d(first.in_channels, classes, 1)
        initialise(self.classifier)
        if self.architecture.auxiliary:
            self.auxiliary[-1] = nn.Conv2d(self.auxiliary[-1].in_channels, classes, 1)
            initialise(self.auxiliary[-1])


def build(architecture: Architecture) -> PSPNet:
    """A network with random weights; model.weights puts ImageNet's into its backbone."""
    return PSPNet(architecture)
