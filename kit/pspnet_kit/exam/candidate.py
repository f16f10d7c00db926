"""A model in the exam: its classes taken as coarse groups, with the confidence in the winning group."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..data import VOID
from ..judge.predictors import Predictor
from .groups import GROUPS, groups_of, lookup


@dataclass(frozen=True)
class Answer:
    """What a model says of a picture."""

    classes: np.ndarray
    """The class map, uint8 `[h, w]`, as the daemon gives it."""
    groups: np.ndarray
    """The group of each pixel's class, uint8 `[h, w]`."""
    confidence: np.ndarray
    """The softmax probability of all classes of that group, float32 `[h, w]`."""


class Candidate:
    """A model whose classes belong to groups.

    Raises:
        KitError: when one of its classes belongs to no known group.
    """

    def __init__(self, predictor: Predictor, extra: Mapping[str, str]) -> None:
        self.predictor = predictor
        self.groups = groups_of(predictor, extra)
        self.table = lookup(self.groups)
        self._members = np.equal.outer(self.table[: predictor.classes], np.arange(len(GROUPS))).astype(np.float32)

    def answer(self, image: np.ndarray) -> Answer:
        """The class is the one of the greatest logit, which users see, and the group is that class's group."""
        shape = image.shape[:2]
        classes, confidence = np.empty(shape, np.uint8), np.empty(shape, np.float32)
        for rows, scores in self.predictor.scores(image):
            classes[rows] = scores.argmax(axis=2)
            groups = self.table[classes[rows]].astype(np.int64)
            shares = self._by_group(scores)
            confidence[rows] = np.take_along_axis(shares, groups[:, :, None], axis=2)[:, :, 0]
        return Answer(classes, self.table[classes], confidence)

    def sure_groups(self, image: np.ndarray, sure: float) -> np.ndarray:
        """The group of the greatest summed probability, uint8 `[h, w]`; 255 where that is less than `sure`."""
        found = np.empty(image.shape[:2], np.uint8)
        for rows, scores in self.predictor.scores(image):
            shares = self._by_group(scores)
            found[rows] = np.where(shares.max(axis=2) >= sure, shares.argmax(axis=2), VOID)
        return found

    def _by_group(self, scores: np.ndarray) -> np.ndarray:
        """Softmax over the classes, summed by group: float32 `[h, w, groups]`."""
        exponents = np.exp(scores - scores.max(axis=2, keepdims=True))
        return (exponents @ self._members) / exponents.sum(axis=2, keepdims=True)
