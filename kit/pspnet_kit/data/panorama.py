"""Views of equirectangular panoramas: the picture of a camera that looks in one direction, and the way back.

A panorama shows the whole sphere: its columns are longitudes, its rows latitudes from straight up to straight down. A
view is the picture of a pinhole camera at its centre. `back` carries a map of a view onto the sphere again, so that
the maps of many views can vote there.

Angles are degrees. Yaw 0 is the middle column of the panorama and grows to the right, pitch is positive when the camera
looks down, `fov` is the angle between the left and the right edge of the view.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import read_bytes
from .pictures import read_image


def read(path: Path) -> NDArray[np.uint8]:
    """The panorama in the file, uint8 RGB `[h, 2h, 3]`.

    Raises:
        KitError: when it can't be read, isn't twice as wide as high, or says of itself that it is a part of the sphere
            or not equirectangular.
    """
    panorama = read_image(path)
    check(panorama, path)
    _refuse_others(path)
    return panorama


def check(panorama: NDArray[np.generic], named: Path | str = "panorama") -> None:
    """Refuses a picture that can't show the whole sphere. The message names `named`.

    Raises:
        KitError: when it isn't uint8 `[h, 2h, 3]`.
    """
    if panorama.ndim != 3 or panorama.shape[2] != 3 or panorama.dtype != np.uint8:
        form = f"{panorama.dtype} {list(panorama.shape)}"
        raise KitError(f"{named}: is {form}, expected a panorama of uint8 [height, 2 x height, 3]")
    check_shape(panorama.shape[0], panorama.shape[1], named)


def check_shape(height: int, width: int, named: Path | str) -> None:
    """Refuses the size of a picture that can't show the whole sphere. The message names `named`.

    Raises:
        KitError: when it isn't twice as wide as high.
    """
    if height < 1 or width != 2 * height:
        raise KitError(
            f"{named}: is {width}x{height}, expected a panorama that is exactly twice as wide as high, as "
            "equirectangular pictures of the whole sphere are"
        )


_SPHERE = re.compile(rb"""(?<!/)GPano:(\w+)\s*(?:=\s*["']([^"'<>]*)["']|>([^<]*)<)""")
"""An entry of Photo Sphere XMP metadata (developers.google.com/streetview/spherical-metadata): attribute or element."""


def _refuse_others(path: Path) -> None:
    """Holds a panorama to what cameras and stitchers note of it: a part of the sphere may be 2:1 too."""
    entries = _SPHERE.findall(read_bytes(path))
    said = {name.decode(): (first or second).decode("utf-8", "replace").strip() for name, first, second in entries}
    if (projection := said.get("ProjectionType", "equirectangular")).lower() != "equirectangular":
        raise KitError(
            f"{path}: its XMP metadata (GPano) says that its projection is {projection}, expected equirectangular"
        )

    def size(area: str) -> list[int]:
        sides = (said.get(f"{area}{side}Pixels", "") for side in ("Width", "Height"))
        return [int(side) for side in sides if side.isdecimal()]

    part, full = size("CroppedAreaImage"), size("FullPano")
    if len(part) == len(full) == 2 and part != full:
        raise KitError(
            f"{path}: its XMP metadata (GPano) says that it shows {part[0]}x{part[1]} of a sphere of "
            f"{full[0]}x{full[1]}, expected the whole sphere: fill it up to that size, or put views among the pictures"
        )


def view(
    panorama: NDArray[np.uint8], yaw: float, pitch: float, fov: float, width: int, height: int
) -> NDArray[np.uint8]:
    """What a camera in the middle of `panorama` sees: uint8 `[height, width, 3]`, bilinear.

    A view with fewer pixels per degree than the panorama has aliases: 1024x512 has 2.8 of them.

    Args:
        panorama: uint8 `[h, 2h, 3]`.

    Raises:
        KitError: for a panorama that isn't 2:1, and angles or a size that no view can have.
    """
    check(panorama)
    return sample(panorama, yaw, pitch, fov, width, height).round().astype(np.uint8)


def check_view(yaw: float, pitch: float, fov: float, width: int, height: int) -> None:
    """Holds angles and size to what a view can have.

    Raises:
        KitError: for what is out of range.
    """
    _Camera(yaw, pitch, fov, width, height)


def sample(
    sphere: NDArray[np.generic], yaw: float, pitch: float, fov: float, width: int, height: int
) -> NDArray[np.float32]:
    """The same of any map of the sphere, `[h, 2h, channels]`: float32 `[height, width, channels]`.

    Raises:
        KitError: for angles or a size that no view can have.
    """
    rows, columns = _Camera(yaw, pitch, fov, width, height).sphere(sphere.shape[0])
    # The sphere goes on past the left and right edges. Past the poles the row nearest to them stands in.
    return _bilinear(sphere, rows, columns, wrap=True)


def back(
    seen: NDArray[np.generic], yaw: float, pitch: float, fov: float, height: int
) -> tuple[NDArray[np.generic], NDArray[np.bool_]]:
    """A map of a view, carried onto the sphere.

    Args:
        seen: `[h, w]` or `[h, w, channels]`, of the view that `view` cuts with these angles. Whole numbers are taken
            for class ids and sampled from the nearest cell, other numbers for probabilities and sampled bilinearly.
        height: of the panorama that the map is carried to.

    Returns:
        The values `[height, 2 * height]` (with channels as `seen`), 0 where the view doesn't reach, and where it does.

    Raises:
        KitError: for angles or a size that no view can have.
    """
    if seen.ndim not in (2, 3):
        raise KitError(
            f"the map of a view is {list(seen.shape)}, expected [height, width] or [height, width, channels]"
        )
    if height < 1:
        raise KitError(f"a panorama of height {height} is asked for, expected at least 1")
    camera = _Camera(yaw, pitch, fov, seen.shape[1], seen.shape[0])
    rows, columns, reached = camera.plane(height)
    values = np.zeros((height, 2 * height, *seen.shape[2:]), seen.dtype)
    if np.issubdtype(seen.dtype, np.integer) or seen.dtype == np.bool_:
        nearest = (
            np.clip(np.floor(rows + 0.5), 0, seen.shape[0] - 1).astype(np.int64),
            np.clip(np.floor(columns + 0.5), 0, seen.shape[1] - 1).astype(np.int64),
        )
        values[reached] = seen[nearest]
    else:
        values[reached] = _bilinear(seen, rows, columns, wrap=False)
    return values, reached


@dataclass(frozen=True)
class _Camera:
    """A pinhole camera. Its axes: x to the right, y down, z where it looks."""

    yaw: float
    pitch: float
    fov: float
    width: int
    height: int

    def __post_init__(self) -> None:
        if not 0 < self.fov < 180:
            raise KitError(f"a view of {self.fov} degrees is asked for, expected more than 0 and less than 180")
        if not -90 <= self.pitch <= 90:
            raise KitError(f"a view with the pitch {self.pitch} is asked for, expected -90 (up) to 90 (down) degrees")
        if not np.isfinite(self.yaw):
            raise KitError(f"a view with the yaw {self.yaw} is asked for, expected degrees")
        if self.width < 1 or self.height < 1:
            raise KitError(f"a view of {self.width}x{self.height} is asked for, expected at least one pixel each way")

    @property
    def _focal(self) -> float:
        """The distance of the picture's plane from the camera, in pixels."""
        return float(self.width / 2 / np.tan(np.radians(self.fov) / 2))

    def _turn(self) -> NDArray[np.float64]:
        """The matrix from the camera's axes to those of the sphere: pitch first, then yaw."""
        p, t = np.radians(self.pitch), np.radians(self.yaw)
        pitch = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
        yaw = np.array([[np.cos(t), 0, np.sin(t)], [0, 1, 0], [-np.sin(t), 0, np.cos(t)]])
        return yaw @ pitch

    def sphere(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Where a panorama of `rows` rows has the pixels of the view: rows and columns `[height, width]`."""
        x = np.arange(self.width) + 0.5 - self.width / 2
        y = np.arange(self.height) + 0.5 - self.height / 2
        ray = np.stack(np.broadcast_arrays(x[None, :], y[:, None], self._focal), axis=-1) @ self._turn().T
        longitude = np.arctan2(ray[..., 0], ray[..., 2])
        latitude = np.arctan2(ray[..., 1], np.hypot(ray[..., 0], ray[..., 2]))
        return (latitude / np.pi + 0.5) * rows - 0.5, (longitude / (2 * np.pi) + 0.5) * 2 * rows - 0.5

    def plane(self, rows: int) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
        """Where the view has the pixels of a panorama of `rows` rows that it reaches.

        Returns:
            Rows and columns of these `[n]`, and which they are `[rows, 2 * rows]`.
        """
        latitude = ((np.arange(rows) + 0.5) / rows - 0.5)[:, None] * np.pi
        longitude = ((np.arange(2 * rows) + 0.5) / rows - 1)[None, :] * np.pi
        ray = (
            np.stack(
                np.broadcast_arrays(
                    np.cos(latitude) * np.sin(longitude), np.sin(latitude), np.cos(latitude) * np.cos(longitude)
                ),
                axis=-1,
            )
            @ self._turn()
        )
        ahead = ray[..., 2] > 1e-9
        scale = self._focal / np.where(ahead, ray[..., 2], 1)
        x, y = ray[..., 0] * scale + self.width / 2, ray[..., 1] * scale + self.height / 2
        reached = ahead & (x >= 0) & (x < self.width) & (y >= 0) & (y < self.height)
        return y[reached] - 0.5, x[reached] - 0.5, reached


def _bilinear(
    samples: NDArray[np.generic], rows: NDArray[np.float64], columns: NDArray[np.float64], wrap: bool
) -> NDArray[np.float32]:
    """`samples` at fractional places; columns go round where `wrap`, else the edge stands for what lies past it."""
    height, width = samples.shape[:2]
    top, left = np.floor(rows), np.floor(columns)
    extra = (None,) * (samples.ndim - 2)
    down = (rows - top).astype(np.float32)[(..., *extra)]
    right = (columns - left).astype(np.float32)[(..., *extra)]
    r = [np.clip(top + step, 0, height - 1).astype(np.int64) for step in (0, 1)]
    c = [
        np.mod(left + step, width).astype(np.int64) if wrap else np.clip(left + step, 0, width - 1).astype(np.int64)
        for step in (0, 1)
    ]
    upper = samples[r[0], c[0]] * (1 - right) + samples[r[0], c[1]] * right
    lower = samples[r[1], c[0]] * (1 - right) + samples[r[1], c[1]] * right
    return (upper * (1 - down) + lower * down).astype(np.float32)
