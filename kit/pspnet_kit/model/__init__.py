"""The network: PSPNet (Zhao et al. 2017) on ResNet or EfficientNet-Lite, and what is done to its shape."""

from .architecture import BACKBONES, Architecture
from .pspnet import PSPNet, build

__all__ = ["BACKBONES", "Architecture", "PSPNet", "build"]
