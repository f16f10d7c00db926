"""What a network looks like, as data: it is stored in every checkpoint and names every choice of shape."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from ..errors import KitError, shown

MOST_CHANNELS = 2048
"""Of a layer of the head: the widest backbone's. More would take all memory before a single weight is looked at."""
MOST_BINS = 8
LARGEST_BIN = 64
BACKBONES = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2", "resnet50", "resnet101")


@dataclass(frozen=True)
class Architecture:
    """The shape of a PSPNet before anything is pruned or factorised.

    The defaults are the paper's head (Zhao et al. 2017, section 4 and its published code) on EfficientNet-Lite0.
    """

    classes: int
    backbone: str = "efficientnet-lite0"
    stride: int = 8
    """Of the features that are pooled, 8 or 16."""
    stages: int = 7
    """How many of EfficientNet-Lite's seven stages are kept. ResNet always keeps its four."""
    bins: tuple[int, ...] = (1, 2, 3, 6)
    bin_channels: int = 0
    """Channels of each pooled branch; 0 is the paper's: the features' channels over the number of bins."""
    head_channels: int = 512
    """Channels of the 3x3 convolution behind the pyramid."""
    skip_stride: int = 0
    """Finer features that the head is refined with, 4 or 8; 0 is the paper's PSPNet, which has none."""
    skip_channels: int = 32
    refine_channels: int = 64
    dropout: float = 0.1
    auxiliary: bool = True
    """Whether there is an auxiliary classifier to train with. Exports leave it out."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bins", tuple(self.bins))
        if self.backbone not in BACKBONES:
            raise KitError(f"backbone {shown(self.backbone)}: expected one of {', '.join(BACKBONES)}")
        if self.stride not in (8, 16):
            raise KitError(f"stride {self.stride}: expected 8 or 16")
        if self.skip_stride and not (self.skip_stride in (4, 8) and self.skip_stride < self.stride):
            raise KitError(f"skip_stride {self.skip_stride}: expected 4 or 8, less than the stride {self.stride}, or 0")
        if not 2 <= self.classes <= 255:
            raise KitError(f"{self.classes} classes: expected 2 to 255")
        if not 4 <= self.stages <= 7:
            raise KitError(f"stages {self.stages}: expected 4 to 7")
        if not 1 <= len(self.bins) <= MOST_BINS or not 1 <= min(self.bins) <= max(self.bins) <= LARGEST_BIN:
            raise KitError(f"bins {shown(self.bins)}: expected 1 to {MOST_BINS} numbers from 1 to {LARGEST_BIN}")
        for name, least in (("bin_channels", 0), ("head_channels", 1), ("skip_channels", 1), ("refine_channels", 1)):
            if not least <= getattr(self, name) <= MOST_CHANNELS:
                raise KitError(f"{name} {getattr(self, name)}: expected {least} to {MOST_CHANNELS}")
        if not 0 <= self.dropout < 1:
            raise KitError(f"dropout {self.dropout}: expected 0 to less than 1")

    @property
    def output_stride(self) -> int:
        """Pixels of the input for one cell of the logits."""
        return self.skip_stride or self.stride

    def check_size(self, height: int, width: int) -> None:
        """Refuses input sizes whose feature map the bins do not divide: pooling would not be kernel = stride.

        Raises:
            KitError: with the nearest sizes that fit.
        """
        import math

        step = self.stride * math.lcm(*self.bins)
        for name, size in (("height", height), ("width", width)):
            if size <= 0 or size % step:
                low = max(size // step, 1) * step
                raise KitError(
                    f"input {name} {size}: stride {self.stride} and bins {self.bins} need a multiple of {step}, "
                    f"such as {low} or {low + step}"
                )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON and checkpoints."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Architecture:
        """Reads what as_dict wrote.

        Raises:
            KitError: at unknown and missing keys, and values of another type.
        """
        known = {field.name: field.default for field in fields(cls)}
        if unknown := sorted(set(values) - set(known)):
            raise KitError(f"architecture: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
        if "classes" not in values:
            raise KitError("architecture: classes is missing")
        for name, value in values.items():
            like = 0 if name == "classes" else known[name]
            if isinstance(like, tuple):
                right = isinstance(value, (list, tuple)) and all(type(item) is int for item in value)
            else:
                right = type(value) is type(like) or (type(like) is float and type(value) is int)
            if not right:
                raise KitError(f"architecture: {name} is {shown(value)}, expected a value such as {like!r}")
        return cls(**values)
