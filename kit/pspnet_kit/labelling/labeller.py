"""Labels one picture or panorama of a pool: asks the teacher, applies what is known of the place, writes the result."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..data.pictures import read_image
from ..data.resize import resize
from . import sphere
from .mapping import Mapping, hard_labels
from .places import Places, restrict
from .pool import Place
from .record import Record
from .store import Store
from .teacher import Teacher, scaled

STRIDE = 4
"""Pixels of a written picture for one cell of its soft targets."""
TURNS = 4
"""Quarter turns in which a picture without an up is written."""
VIEW = (256, 384)
"""Height and width of the views that are cut from panoramas."""
METHOD = 2
"""Counts up when the same settings give other labels."""


@dataclass(frozen=True)
class Settings:
    """What the labels depend on, beside the teacher and its mapping."""

    views: int
    """Of each panorama."""
    threshold: float
    """The least probability of a group whose pixels get a label."""
    side: int
    """The longer side of written pictures, at most."""
    seed: int
    """Of the views' directions."""


@dataclass(frozen=True)
class Labeller:
    """What is the same for all pictures of a pool."""

    store: Store
    teacher: Teacher
    meaning: Mapping
    places: Places
    settings: Settings

    def done(self, place: Place) -> bool:
        """Whether nothing is left to do."""
        return self.store.has(place.name, self.record(place))

    def record(self, place: Place) -> Record:
        """What its labels depend on, beside what they all do, and what is written for it."""
        decides = place.kind in self.places.never or place.kind in self.places.no_up
        return Record(place.digests, place.kind if decides else "", tuple(self.names(place)), place.licences)

    def names(self, place: Place) -> list[str]:
        """Of the pictures that are written for it."""
        if not place.panorama:
            turns = range(1, TURNS if place.kind in self.places.no_up else 1)
            return [place.name, *(f"{place.name}_turn{turn}" for turn in turns)]
        return [f"{place.name}_view{index:03d}" for index in range(self.settings.views)]

    def label(self, place: Place) -> None:
        """Writes its pictures, labels and soft targets.

        Raises:
            KitError: when a file can't be read or written.
        """
        images = [read_image(file) for file in place.files]
        if not place.panorama:
            image = self._limited(images[0])
            cells = (-(-image.shape[0] // STRIDE), -(-image.shape[1] // STRIDE))
            probabilities = self.teacher.probabilities(image, cells)
            for turn, turned in enumerate(self.names(place)):
                self._put(place, turned, np.rot90(image, turn), np.rot90(probabilities, turn))
            self.store.add(place.name, self.record(place))
            return
        # The name seeds it, so that the views of a place do not depend on what else is in the pool.
        name = zlib.crc32(place.name.encode("utf-8", "surrogateescape"))
        random = np.random.default_rng((self.settings.seed, name))
        votes = sphere.vote(images, self.teacher)
        views = sphere.cut(images, votes, self.settings.views, VIEW, random)
        for written, view in zip(self.names(place), views, strict=True):
            self._put(place, written, view.image, view.probabilities, view.below)
        self.store.add(place.name, self.record(place))

    def _limited(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        height, width, _ = image.shape
        factor = self.settings.side / max(height, width)
        return image if factor >= 1 else resize(image, max(round(height * factor), 1), max(round(width * factor), 1))

    def _put(
        self,
        place: Place,
        name: str,
        image: NDArray[np.uint8],
        probabilities: NDArray[np.float32],
        below: NDArray[np.float32] | None = None,
    ) -> None:
        values = self.meaning.split(probabilities)
        if place.kind in self.places.never:
            values = restrict(*values, self.meaning.group_of, self.places.never[place.kind])
        if below is not None and self.places.ground is not None:
            ground = (below >= self.places.ground_degrees)[..., None]
            bare = restrict(*values, self.meaning.group_of, self.places.ground)
            values = np.where(ground, bare[0], values[0]), np.where(ground, bare[1], values[1])
        size = (image.shape[0], image.shape[1])
        fine = scaled(values[0], size), scaled(values[1], size)
        label = hard_labels(*fine, self.meaning.group_of, self.settings.threshold)
        self.store.put(name, image, label, values[1])
