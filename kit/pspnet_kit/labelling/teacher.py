"""Asks one or several segmentation models for class probabilities: each as it is and mirrored if wanted, all averaged.

A model is asked at its own input size, so files of the same network with several sizes see a picture at several scales.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..data import origin
from ..data.resize import resize
from ..errors import KitError
from ..judge.predictors import Predictor, TflitePredictor, TorchPredictor, open_predictor

SOURCE = (
    "MOSAIC is in github.com/mlcommons/mobile_open, commit 86a873714efd6cb391c3a4751e3bb7b8f91b1449, "
    "vision/mosaic/models_and_checkpoints/R4/mobile_segmenter_r4_quant_argmax_uint8.tflite (sha256 "
    "da8b3822a22fde45ecaf0ff32022287eff58b500096971b04f3c1b292da66a3c); kit adopt makes a teacher of it"
)
"""Where the teacher of the scene models comes from."""


class Teacher(Protocol):
    """What is asked for probabilities."""

    names: tuple[str, ...]

    def probabilities(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        """Float32 `[*size, classes]`, of a picture uint8 `[h, w, 3]` of any size."""
        ...


class Ensemble:
    """The mean of some models with the same classes, each asked for a picture as it is and, with `mirror`, for its
    mirror image too.

    Raises:
        KitError: when a file is missing, is no segmentation network of known ends, tells no class names, or has others
            than the first.
    """

    def __init__(self, paths: Sequence[Path], mirror: bool = True) -> None:
        self.mirror = mirror
        for path in paths:
            if not path.exists():
                raise KitError(f"{path}: no such teacher. {SOURCE}")
        self.models = [_opened(path) for path in paths]
        self.names = self.models[0].class_names
        self.sources: list[dict[str, Any]] = origin.join(model.origin for model in self.models)["sources"]
        """Where what they know comes from: name, licence and citation of each."""
        for model in self.models:
            if len(model.class_names) != model.classes:
                raise KitError(
                    f"{model.path}: {len(model.class_names)} names for {model.classes} classes: a teacher needs a "
                    "manifest.toml beside it that names each (kit adopt writes one)"
                )
            if model.class_names != self.names:
                raise KitError(
                    f"{model.path}: has other classes than {self.models[0].path}; teachers must agree in them"
                )

    def probabilities(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        """See Teacher."""
        total = torch.zeros(1, len(self.names), *size)
        asked = (False, True) if self.mirror else (False,)
        for model in self.models:
            small = resize(image, *model.size)
            for mirrored in asked:
                logits = _logits(model, np.ascontiguousarray(small[:, ::-1]) if mirrored else small)
                p = logits.softmax(1)
                if not torch.isfinite(p).all():
                    raise KitError(f"{model.path}: its logits for a picture are too large to be probabilities")
                total += F.interpolate(p.flip(-1) if mirrored else p, size, mode="bilinear", align_corners=False)
        mean: NDArray[np.float32] = (total[0] / (len(asked) * len(self.models))).permute(1, 2, 0).numpy()
        return mean


def _opened(path: Path) -> Predictor:
    try:
        return open_predictor(path)
    except KitError as error:
        raise KitError(f"{error}. A teacher gives logits of classes; kit adopt makes such a model of others") from error


def _logits(model: Predictor, small: NDArray[np.uint8]) -> torch.Tensor:
    """Float `[1, classes, h / s, w / s]`."""
    if isinstance(model, TflitePredictor):
        raw = model.run(model.pixel_map.apply(small)).astype(np.float32) * np.float32(model.scale)
        return torch.from_numpy(np.ascontiguousarray(raw.transpose(2, 0, 1)))[None]
    if isinstance(model, TorchPredictor):
        logits: torch.Tensor = model.logits(small)
        return logits
    raise KitError(f"{model.path}: gives no probabilities that could be learned from")


def scaled(probabilities: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Probabilities `[h, w, n]` at another size, bilinear with half-pixel centres as in the daemon."""
    x = torch.from_numpy(np.ascontiguousarray(probabilities.transpose(2, 0, 1)))[None]
    y: NDArray[np.float32] = F.interpolate(x, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()
    return y
