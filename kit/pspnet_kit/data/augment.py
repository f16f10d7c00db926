"""Pictures and labels as training sees them: scaled, cropped, flipped, recoloured, blurred, with rare things pasted in.

Each draw comes from the generator that is handed in, so a sample is the same whenever its seed is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from ..errors import KitError
from .labels import VOID
from .resize import resize

MEAN, DEVIATION = 127.0, 128.0
SOFT_STRIDE = 8
"""Pixels of a sample for one cell of its soft targets: a fine network's own stride."""


@dataclass(frozen=True)
class Augmentation:
    """How far a sample may differ from its picture. Probabilities are 0..1; all zero leaves plain random crops."""

    scale: tuple[float, float] = (0.7, 1.8)
    """Of the picture against the network's input."""
    aspect: float = 0.1
    """Width may change by this share against height."""
    flip: float = 0.5
    colour: float = 0.8
    """Brightness, contrast, saturation, white balance."""
    low_light: float = 0.15
    """Gamma, dimming and sensor noise."""
    blur: float = 0.1
    paste: float = 0.5
    """Rare classes of another picture at the place where they stood there."""
    paste_classes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("scale", "paste_classes"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if len(self.scale) != 2 or not 0 < self.scale[0] <= self.scale[1]:
            raise KitError(f"augment.scale {list(self.scale)}: expected the least and the greatest scale, above 0")
        if self.aspect < 0:
            raise KitError(f"augment.aspect {self.aspect}: expected at least 0")
        for name in ("flip", "colour", "low_light", "blur", "paste"):
            if not 0 <= getattr(self, name) <= 1:
                raise KitError(f"augment.{name} {getattr(self, name)}: expected a probability from 0 to 1")


def to_input(image: NDArray[np.uint8]) -> Tensor:
    """uint8 `[h, w, 3]` to the network's float32 `[3, h, w]`, (pixel - 127) / 128."""
    return (torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() - MEAN) / DEVIATION


def resize_input(image: NDArray[np.uint8], height: int, width: int) -> Tensor:
    """To_input at another size, each value as pspnetd makes it."""
    return to_input(image if image.shape[:2] == (height, width) else resize(image, height, width))


def paste_rare(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    donor: tuple[NDArray[np.uint8], NDArray[np.uint8]],
    classes: tuple[int, ...],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Copies every pixel of `classes` from the donor, where it is; a donor of another size is scaled first."""
    mask = np.isin(donor[1], classes)
    if not mask.any():
        return image, label
    rows, columns = label.shape
    picture, ids = donor
    if ids.shape != label.shape:
        picture = np.asarray(Image.fromarray(picture).resize((columns, rows), Image.Resampling.BILINEAR))
        ids = ids[_nearest((rows, columns), ids.shape)]
        mask = np.isin(ids, classes)
    return np.where(mask[..., None], picture, image), np.where(mask, ids, label)


def paste_soft(
    soft: NDArray[np.uint8], donor: tuple[NDArray[np.uint8], NDArray[np.uint8]], classes: tuple[int, ...]
) -> NDArray[np.uint8]:
    """What paste_rare does, for soft targets `[groups, h, w]`: `donor` has those and the label of the other picture."""
    grid = (soft.shape[1], soft.shape[2])
    mask = np.isin(donor[1][_nearest(grid, donor[1].shape)], classes)
    return np.where(mask, donor[0][:, *_nearest(grid, donor[0].shape[1:])], soft)


def _nearest(cells: tuple[int, int], shape: tuple[int, ...]) -> tuple[Any, ...]:
    """Indices of the pixels of a `shape` that lie in the middle of each of `cells`."""
    rows, columns = ((np.arange(n) * 2 + 1) * pixels // (2 * n) for n, pixels in zip(cells, shape, strict=True))
    return np.ix_(rows, columns)


@dataclass(frozen=True)
class Window:
    """The part of a picture that becomes a sample, and how."""

    shape: tuple[int, int]
    """Of the picture: height and width."""
    crop: tuple[int, int]
    """Of the sample."""
    top: int
    left: int
    height: int
    width: int
    antialias: bool
    flip: bool

    @classmethod
    def draw(
        cls,
        shape: tuple[int, int],
        size: tuple[int, int],
        crop: tuple[int, int],
        how: Augmentation,
        random: np.random.Generator,
    ) -> Window:
        """A crop of the picture as if it had been scaled to about the network's input `size` first."""
        rows, columns = shape
        zoom = float(np.exp(random.uniform(np.log(how.scale[0]), np.log(how.scale[1]))))
        stretch = float(np.exp(random.uniform(-how.aspect, how.aspect)))
        box_h = max(round(crop[0] * rows / (size[0] * zoom)), 2)
        box_w = max(round(crop[1] * columns / (size[1] * zoom * stretch)), 2)
        top = int(random.integers(min(rows - box_h, 0), max(rows - box_h, 0) + 1))
        left = int(random.integers(min(columns - box_w, 0), max(columns - box_w, 0) + 1))
        # pspnetd averages areas where it shrinks to less than half, and interpolates above. The mix makes the network
        # indifferent to which; the picture that nothing averaged is left out where pspnetd can't make it.
        antialias = bool(random.random() < 0.5) or max(box_h / crop[0], box_w / crop[1]) > 2
        return cls(shape, crop, top, left, box_h, box_w, antialias, bool(random.random() < how.flip))

    def cut(self, image: NDArray[np.uint8], label: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        """Float32 `[3, *crop]` (normalised) and int64 `[*crop]`; what lies outside the picture is void."""
        rows, columns = self.shape
        bottom, right = self.top + self.height, self.left + self.width
        inner = (slice(max(self.top, 0), min(bottom, rows)), slice(max(self.left, 0), min(right, columns)))
        x = to_input(image[inner])[None]
        y = torch.from_numpy(np.ascontiguousarray(label[inner]))[None, None]
        margins = (max(-self.left, 0), max(right - columns, 0), max(-self.top, 0), max(bottom - rows, 0))
        if any(margins):
            x = F.pad(x, margins)
            y = F.pad(y, margins, value=VOID)
        x = F.interpolate(x, size=self.crop, mode="bilinear", align_corners=False, antialias=self.antialias)[0]
        y = F.interpolate(y, size=self.crop, mode="nearest-exact")[0, 0]
        if self.flip:
            x, y = x.flip(-1), y.flip(-1)
        return x, y.long()

    def cut_soft(self, soft: NDArray[np.uint8]) -> Tensor:
        """The same part of soft targets `[groups, h, w]`, which cover the picture.

        Gives float32 `[groups, *crop / SOFT_STRIDE]` of 0 to 1; what lies outside the picture is 0 in all groups.
        """
        cells = [-(-side // SOFT_STRIDE) for side in self.crop]
        # Two samples each way in a cell: a scaled-down picture has several targets in one.
        where = [
            (start + (torch.arange(2 * count) + 0.5) * (extent / (2 * count))) * (2 / whole) - 1
            for start, extent, count, whole in zip(
                (self.top, self.left), (self.height, self.width), cells, self.shape, strict=True
            )
        ]
        y, x = torch.meshgrid(where[0], where[1], indexing="ij")
        values = torch.from_numpy(soft)[None].float() / 255
        sampled = F.grid_sample(
            values, torch.stack([x, y], -1)[None], mode="bilinear", padding_mode="border", align_corners=False
        )[0]
        inside = (x.abs() < 1) & (y.abs() < 1)
        targets = F.avg_pool2d((sampled * inside)[None], 2)[0]
        return targets.flip(-1) if self.flip else targets


def geometry(
    image: NDArray[np.uint8],
    label: NDArray[np.uint8],
    size: tuple[int, int],
    crop: tuple[int, int],
    how: Augmentation,
    random: np.random.Generator,
) -> tuple[Tensor, Tensor]:
    """What Window.draw and Window.cut give."""
    return Window.draw((label.shape[0], label.shape[1]), size, crop, how, random).cut(image, label)


def colour(x: Tensor, how: Augmentation, random: np.random.Generator) -> Tensor:
    """Changes what light, sensor and lens do. `x` is float32 `[3, h, w]`, normalised, and stays so."""
    picture = x * (DEVIATION / 255) + MEAN / 255
    if random.random() < how.colour:
        grey = picture.mean(0, keepdim=True)
        picture = grey + (picture - grey) * random.uniform(0.5, 1.5)
        middle = picture.mean()
        picture = middle + (picture - middle) * random.uniform(0.6, 1.4)
        picture = picture * random.uniform(0.7, 1.3)
        picture = picture * torch.from_numpy(random.uniform(0.9, 1.1, (3, 1, 1)).astype(np.float32))
    if random.random() < how.low_light:
        picture = picture.clamp(0, 1) ** random.uniform(1.2, 2.2) * random.uniform(0.4, 1.0)
        noise = random.standard_normal(picture.shape, dtype=np.float32)
        picture = picture + torch.from_numpy(noise) * random.uniform(0.005, 0.04)
    if random.random() < how.blur:
        picture = F.avg_pool2d(F.pad(picture[None], (1, 1, 1, 1), mode="replicate"), 3, 1)[0]
    return (picture.clamp(0, 1) * 255 - MEAN) / DEVIATION
