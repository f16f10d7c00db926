"""Labels of panoramas: a teacher sees overlapping views, which vote on the sphere; new views take theirs from there.

What one view shows badly, others show well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data import panorama
from .teacher import Teacher

SPHERE = 256
"""Rows of the map of votes: 0.7 degrees each, about a cell of the teacher's output."""
VIEW = (384, 512)
"""Height and width of what the teacher sees."""
FOV = 90.0
STEP = 30
"""Degrees between views at one pitch."""
PITCHES = (0.0, 22.0, 50.0, -45.0)
"""Degrees, positive is down."""
STRIDE = 4
STEEP = 6
"""Of so many views one looks steeply down."""


def vote(exposures: Sequence[NDArray[np.uint8]], teacher: Teacher) -> NDArray[np.float32]:
    """Probabilities of a place, `[SPHERE, 2 * SPHERE, classes]`, from all its exposures `[h, 2h, 3]`."""
    total = np.zeros((SPHERE, 2 * SPHERE, len(teacher.names) + 1), np.float32)
    height, width = VIEW
    cells = (height // STRIDE, width // STRIDE)
    weight = _weight(cells)[..., None]
    for row, pitch in enumerate(PITCHES):
        for column, yaw in enumerate(range(0, 360, STEP)):
            # Neighbouring views overlap and show different exposures, so every direction is seen in all of them.
            exposure = exposures[(row + column) % len(exposures)]
            seen = teacher.probabilities(panorama.view(exposure, yaw, pitch, FOV, width, height), cells)
            # The weight goes round with the values, as their last channel.
            values, _ = panorama.back(np.concatenate([seen * weight, weight], -1), yaw, pitch, FOV, SPHERE)
            total += values.astype(np.float32)
    return _filled(total[..., :-1] / np.maximum(total[..., -1:], 1e-6), total[..., -1] > 0)


def _weight(cells: tuple[int, int]) -> NDArray[np.float32]:
    """How much each cell of a view counts: less towards the edge, where the teacher lacks the surroundings.

    Full votes would end there in a line.
    """
    rows, columns = (np.sin(np.pi * (np.arange(n) + 0.5) / n) ** 2 for n in cells)
    return np.outer(rows, columns).astype(np.float32)


def _filled(mean: NDArray[np.float32], seen: NDArray[np.bool_]) -> NDArray[np.float32]:
    """What no view showed, right above, is taken to be what is next to it in the same direction."""
    middle = SPHERE // 2
    for rows in (range(middle, SPHERE), range(middle - 1, -1, -1)):
        last = middle
        for row in rows:
            mean[row] = np.where(seen[row, :, None], mean[row], mean[last])
            last = row
    return mean


@dataclass(frozen=True)
class View:
    """One picture cut from a panorama, and its probabilities at STRIDE."""

    image: NDArray[np.uint8]
    probabilities: NDArray[np.float32]
    below: NDArray[np.float32]
    """Of each cell, how many degrees below the horizon it lies."""


def cut(
    exposures: Sequence[NDArray[np.uint8]],
    votes: NDArray[np.float32],
    count: int,
    size: tuple[int, int],
    random: np.random.Generator,
) -> Iterator[View]:
    """`count` views of `size`, each of one of the exposures.

    Cameras on walls and masts have such views; every STEEP-th looks down as one under a ceiling or a roof's edge does.
    """
    height, width = size
    latitude = np.linspace(-90, 90, SPHERE + 1, dtype=np.float32)
    latitudes = np.repeat((latitude[1:] + latitude[:-1])[:, None, None] / 2, 2 * SPHERE, axis=1)
    for index in range(count):
        steep = index % STEEP == STEEP - 1
        pitch = random.uniform(60, 90) if steep else random.uniform(-5, 60)
        yaw, fov = random.uniform(-180, 180), random.uniform(50, 90)
        exposure = exposures[int(random.integers(len(exposures)))]
        where = yaw, pitch, fov, width // STRIDE, height // STRIDE
        cells, below = panorama.sample(votes, *where), panorama.sample(latitudes, *where)[..., 0]
        yield View(panorama.view(exposure, yaw, pitch, fov, width, height), cells, below)
