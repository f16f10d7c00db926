"""Runs a model over labelled pictures and gathers every figure about it; also how far two ways to run it agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..data import VOID, ClassInfo, Dataset, Pair
from ..errors import KitError
from .boundary import Boundary
from .calibration import Calibration
from .cost import Cost
from .daemon import Daemon
from .metrics import Confusion
from .predictors import Predictor
from .speed import Speed

MOST_DISAGREEMENT = 0.001
"""Share of pixels in which the daemon may differ from ai-edge-litert."""

Progress = Callable[[Iterable[Any]], Iterable[Any]]


@dataclass(frozen=True)
class Agreement:
    """The same .tflite in ai-edge-litert and in the daemon, on the same pictures."""

    pictures: int
    pixels: int
    differing: int
    daemon_mean_iou: float
    """As `pspnetd eval` states it."""
    mean_iou: float
    """Of ai-edge-litert's masks, on the same pictures."""

    @property
    def share(self) -> float:
        """Of all pixels, void ones too."""
        return self.differing / self.pixels if self.pixels else 0.0

    @property
    def holds(self) -> bool:
        return self.share <= MOST_DISAGREEMENT

    def sentence(self) -> str:
        """For people."""
        return (
            f"{self.differing} of {self.pixels} pixels differ between LiteRT and pspnetd ({100 * self.share:.4f} %, "
            f"at most {100 * MOST_DISAGREEMENT:g} % may), {self.pictures} pictures; "
            f"mIoU {100 * self.mean_iou:.3f} and {100 * self.daemon_mean_iou:.3f}"
        )


@dataclass
class Judgement:
    """All that is known of one model on one set of pictures."""

    name: str
    path: str
    classes: tuple[ClassInfo, ...]
    confusion: Confusion
    boundary: Boundary
    calibration: Calibration
    picture_accuracy: dict[str, float] = field(default_factory=dict)
    """Pixel accuracy by the picture's file stem; a picture that is void all over is left out."""
    cost: Cost | None = None
    speed: Speed | None = None
    agreement: Agreement | None = None


def judge(
    predictor: Predictor,
    dataset: Dataset,
    pairs: Sequence[Pair],
    boundaries: bool = True,
    progress: Progress = iter,
) -> Judgement:
    """Every figure that needs pictures. Without `boundaries` it takes less time, and those stay empty.

    Raises:
        KitError: when a picture or label can't be read.
    """
    classes = len(dataset.classes)
    found = Judgement(
        predictor.name, str(predictor.path), dataset.classes, Confusion(classes), Boundary(classes), Calibration()
    )
    for pair in progress(pairs):
        image, label = dataset.read(pair)
        mask, confidence = predictor.predict(image)
        found.confusion.add(label, mask)
        if boundaries:
            found.boundary.add(label, mask)
        if confidence is not None:
            found.calibration.add(label, mask, confidence)
        accuracy = accuracy_of(label, mask)
        if not np.isnan(accuracy):
            found.picture_accuracy[pair.image.stem] = accuracy
    return found


def accuracy_of(label: np.ndarray, mask: np.ndarray) -> float:
    """Share of the judged pixels of one picture that are right; NaN if there are none."""
    judged = label != VOID
    return float((mask == label)[judged].mean()) if judged.any() else float("nan")


def agreement(
    predictor: Predictor, daemon: Daemon, dataset: Dataset, pairs: Sequence[Pair], progress: Progress = iter
) -> Agreement:
    """Compares a .tflite in ai-edge-litert with the daemon: masks pixel by pixel, and `pspnetd eval`'s mIoU.

    Raises:
        KitError: when the daemon fails, or gives masks of another size.
    """
    confusion = Confusion(len(dataset.classes))
    pixels = differing = 0
    masks = daemon.masks(predictor.path, dataset, pairs)
    for pair, theirs in zip(progress(pairs), masks, strict=True):
        image, label = dataset.read(pair)
        ours, _ = predictor.predict(image)
        if ours.shape != theirs.shape:
            raise KitError(f"{pair.image}: pspnetd's mask is {theirs.shape}, the picture is {ours.shape}")
        confusion.add(label, ours)
        pixels += ours.size
        differing += int(np.count_nonzero(ours != theirs))
    stated = daemon.evaluate(predictor.path, dataset, pairs)["miou"]
    daemon_mean = float("nan") if stated is None else float(stated)
    return Agreement(len(pairs), pixels, differing, daemon_mean, confusion.mean_iou())
