"""The kinds of pictures that the exam shows to models: files, frames of clips, and views of panoramas."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import panorama
from ..data.pictures import decode, read_image
from ..judge.daemon import store


class Picture(Protocol):
    """One picture, not yet read."""

    @property
    def name(self) -> str:
        """What messages and reports call it."""
        ...

    def read(self) -> NDArray[np.uint8]:
        """The picture, uint8 RGB `[h, w, 3]`.

        Raises:
            KitError: when it can't be read.
        """
        ...

    def store(self, folder: Path, stem: str) -> Path:
        """Puts the picture into `folder` for the daemon, as a file of this name; returns the file."""
        ...


@dataclass(frozen=True)
class PictureFile:
    """A picture that is a file of its own."""

    path: Path
    turned: bool = True
    """As its EXIF orientation says: see read_image."""

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> NDArray[np.uint8]:
        return read_image(self.path, self.turned)

    def store(self, folder: Path, stem: str) -> Path:
        return store(self.path, folder, stem, self.turned)


@dataclass(frozen=True)
class Frame:
    """A frame of a clip, as the JPEG picture that stands there."""

    clip: Path
    number: int
    jpeg: bytes = field(repr=False)

    @property
    def name(self) -> str:
        return f"{self.clip}, frame {self.number}"

    def read(self) -> NDArray[np.uint8]:
        with decode(io.BytesIO(self.jpeg), self.name, ("JPEG",)) as picture:
            return np.array(picture.convert("RGB"), dtype=np.uint8)

    def store(self, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.jpg"
        path.write_bytes(self.jpeg)
        return path


@dataclass(frozen=True)
class View:
    """What a camera sees in a panorama of the whole sphere; `recipe` is yaw, pitch, fov, width and height."""

    path: Path
    recipe: Mapping[str, float]

    @property
    def name(self) -> str:
        angles = ", ".join(f"{key} {self.recipe[key]:g}" for key in ("yaw", "pitch", "fov"))
        return f"{self.path}, view at {angles}"

    def read(self) -> NDArray[np.uint8]:
        yaw, pitch, fov = (self.recipe[key] for key in ("yaw", "pitch", "fov"))
        width, height = (int(self.recipe[key]) for key in ("width", "height"))
        return panorama.view(panorama.read(self.path), yaw, pitch, fov, width, height)

    def store(self, folder: Path, stem: str) -> Path:
        path = folder / f"{stem}.png"
        Image.fromarray(self.read()).save(path, compress_level=1)
        return path
