"""Post-training quantisation: ranges from a few pictures, no training.

Calibration runs the float network on the pictures and chooses a range for every group of tensors that the file must
quantise alike (observers.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import KitError
from .observers import Method, Observer
from .ops import Add, Conv, OpGraph, run
from .quantised import QuantisedGraph, quantise_graph


@dataclass(frozen=True)
class Settings:
    """How post-training quantisation is done."""

    method: Method = "mse"
    percentile: float = 99.99


def choose_pictures(count: int, wanted: int, force: bool = False) -> list[int]:
    """Indices of `wanted` of `count` pictures, evenly spread, always the same ones.

    Raises:
        KitError: at an empty set, and at a set of one picture unless `force`.
    """
    if count < 1 or wanted < 1:
        raise KitError(f"calibration: {min(count, wanted)} pictures; expected at least two")
    taken = min(count, wanted)
    if taken == 1 and not force:
        raise KitError(
            "calibration: one picture cannot show the range of every tensor; expected at least two (about 100 are "
            "usual), or --force"
        )
    return [int((2 * i + 1) * count // (2 * taken)) for i in range(taken)]


def to_input(pictures: NDArray[np.uint8]) -> Tensor:
    """uint8 `[n, h, w, 3]` to what the network sees, float `[n, 3, h, w]`."""
    return (torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() - 127) / 128


def quantise(
    graph: OpGraph, pictures: Sequence[NDArray[np.uint8]], settings: Settings | None = None, force: bool = False
) -> QuantisedGraph:
    """The int8 form of `graph`.

    Args:
        graph: what trace() made.
        pictures: calibration pictures, uint8 `[h, w, 3]` of the graph's input size; choose_pictures picks them.
        settings: how ranges are chosen.
        force: go on with a single picture.

    Raises:
        KitError: at no picture, one picture, or one of another size.
    """
    choose_pictures(len(pictures), len(pictures), force)
    for index, picture in enumerate(pictures):
        if picture.shape != graph.input.shape or picture.dtype != np.uint8:
            raise KitError(f"calibration picture {index} is {picture.dtype} {picture.shape}, not uint8 {graph.input.shape}")
    settings = settings or Settings()
    observers = observe(graph, pictures, settings.method)
    return quantise_graph(graph, choose_ranges(graph, observers, settings))


def observe(graph: OpGraph, pictures: Sequence[NDArray[np.uint8]], method: Method) -> dict[str, Observer]:
    """One observer per range group that has seen every picture."""
    groups = graph.range_groups()
    observers = {group: Observer() for group in groups.values()}
    passes = [Observer.extremes] if method in ("minmax", "average") else [Observer.extremes, Observer.histogram]
    with torch.no_grad():
        for see in passes:
            for picture in pictures:
                for node, value in run(graph, to_input(picture[None])):
                    see(observers[groups[node.name]], value)
    return observers


def choose_ranges(
    graph: OpGraph, observers: dict[str, Observer], settings: Settings
) -> dict[str, tuple[float, float]]:
    """Low and high of every range group. What ends in ReLU6 never needs more than 0..6."""
    groups = graph.range_groups()
    return {group: observer.choose(settings.method, settings.percentile) for group, observer in observers.items()}
