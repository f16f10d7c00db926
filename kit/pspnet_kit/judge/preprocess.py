"""What a byte of a picture becomes in the model's input, bit for bit as pspnetd's crates/pixels/src/preprocess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..data.resize import round_half_up


@dataclass(frozen=True)
class PixelMap:
    """What byte of a tensor a pixel value becomes, per channel: `table` is `[3, 256]` of the tensor's type."""

    table: np.ndarray

    @classmethod
    def new(
        cls,
        signed: bool,
        scale: float,
        zero_point: int,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> PixelMap:
        """The map into `q = real / scale + zero_point` with `real = (pixel - mean) / std`.

        Without mean and std the whole range of pixels is the whole range of the tensor.
        """
        low, high, kind = (-128, 127, np.int8) if signed else (0, 255, np.uint8)
        pixels = np.arange(256, dtype=np.float64)[None, :].repeat(3, axis=0)
        if mean is None or std is None:
            return cls((pixels + low).astype(kind))
        # The daemon holds these as 32-bit numbers and computes with 64 bits.
        means, stds = (np.asarray(values, np.float32).astype(np.float64)[:, None] for values in (mean, std))
        steps = (pixels - means) / stds / float(np.float32(scale))
        return cls(np.clip(np.sign(steps) * round_half_up(np.abs(steps)) + zero_point, low, high).astype(kind))

    def apply(self, image: np.ndarray) -> np.ndarray:
        """The tensor `[1, h, w, 3]` for `image`, uint8 `[h, w, 3]`."""
        return np.stack([self.table[channel][image[:, :, channel]] for channel in range(3)], axis=-1)[None]
