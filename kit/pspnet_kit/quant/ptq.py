"""Post-training quantisation: ranges from a few pictures, no training.

Calibration runs the float network on the pictures and chooses a range for every group of tensors that the file must
quantise alike (observers.py); then weights and biases are refined (refine.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..data.augment import to_input
from ..errors import KitError
from .observers import Method, Observer
from .ops import OpGraph, run
from .quantised import QuantisedGraph, quantise_graph
from .refine import Refinement, refine

REFINED_ON = 16
"""Pictures at most, evenly spread, for refine(): all of them are in memory at once."""


@dataclass(frozen=True)
class Settings:
    """How post-training quantisation is done. The defaults measured best."""

    method: Method = "mse"
    percentile: float = 99.99
    refinement: Refinement = field(default_factory=Refinement)


def choose_pictures(count: int, wanted: int, force: bool = False) -> list[int]:
    """Indices of `wanted` of `count` pictures, evenly spread, always the same ones.

    Raises:
        KitError: at an empty set, and at a set of one picture unless `force`.
    """
    taken = min(count, wanted)
    if taken < 1:
        raise KitError("calibration: no pictures; about 100 are usual")
    if taken == 1 and not force:
        raise KitError(
            "calibration: one picture cannot show the range of every tensor; expected at least two (about 100 are "
            "usual), or --force"
        )
    return [(2 * i + 1) * count // (2 * taken) for i in range(taken)]


def quantise(
    graph: OpGraph, pictures: Sequence[NDArray[np.uint8]], settings: Settings | None = None, force: bool = False
) -> QuantisedGraph:
    """The int8 form of `graph`.

    Args:
        graph: what trace() made.
        pictures: calibration pictures, uint8 `[h, w, 3]` of the graph's input size; choose_pictures picks them.
        settings: how ranges are chosen and what is refined.
        force: go on with a single picture.

    Raises:
        KitError: at no picture, one picture, or one of another size.
    """
    choose_pictures(len(pictures), len(pictures), force)
    for index, picture in enumerate(pictures):
        if picture.shape != graph.input.shape or picture.dtype != np.uint8:
            raise KitError(
                f"calibration picture {index} is {picture.dtype} {picture.shape}, not uint8 {graph.input.shape}"
            )
    settings = settings or Settings()
    inputs = [to_input(picture)[None] for picture in pictures]
    ir = quantise_graph(graph, float_ranges(graph, inputs, settings))
    if settings.refinement == Refinement(False, False):
        return ir
    some = choose_pictures(len(inputs), REFINED_ON, force)
    return refine(ir, torch.cat([inputs[i] for i in some]), settings.refinement)


def float_ranges(graph: OpGraph, inputs: Sequence[Tensor], settings: Settings) -> dict[str, tuple[float, float]]:
    """Low and high of every range group but the input's, from the float network on `inputs`, `[1, 3, h, w]` each."""
    groups = graph.range_groups()
    observers = {group: Observer() for group in groups.values() if group != groups[graph.input.name]}

    def watched(x: Tensor) -> Iterator[tuple[Observer, Tensor]]:
        for node, value in run(graph, x):
            if groups[node.name] in observers:
                yield observers[groups[node.name]], value

    with torch.no_grad():
        for x in inputs:
            for observer, value in watched(x):
                observer.extremes(value)
            for observer in observers.values():
                observer.end_picture()
        for x in inputs if settings.method in ("percentile", "mse") else ():
            for observer, value in watched(x):
                observer.histogram(value)
    return {group: observer.choose(settings.method, settings.percentile) for group, observer in observers.items()}
