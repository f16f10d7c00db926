"""Labels drawn in LabelMe: a JSON file with the corners of every shape, and where the picture is from.

The form is that of https://github.com/wkentaro/labelme: `imagePath`, `imageWidth`, `imageHeight` and `shapes`, each
with `label`, `points` and `shape_type`. The exam also reads `source`, `sha256` and `panorama`, which LabelMe ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from ..data import VOID, panorama
from ..errors import KitError, shown
from ..files import read_json
from .groups import group_id

MOST_POINTS = 100_000
"""Of all shapes of a file together."""
MOST_VIEW = 1 << 25
"""Pixels of a view of a panorama: directions of each are in memory at once."""
LEAST = {"polygon": 3, "rectangle": 2}
"""Points that a shape needs, of the kinds that are read."""


@dataclass(frozen=True)
class Shape:
    """One drawn shape: its group's id, or VOID, and its corners."""

    kind: str
    group: int
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Drawing:
    """What one file says."""

    path: Path
    picture: str
    """`imagePath`: from the file's folder."""
    width: int
    height: int
    shapes: tuple[Shape, ...]
    source: Mapping[str, Any]
    """Where the picture comes from; empty where it is not said."""
    sha256: str
    """Of the picture's file; empty where it is not said."""
    panorama: Mapping[str, float]
    """The view that was cut from a panorama; empty where the picture is none."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.width, self.height

    @property
    def beside(self) -> Path:
        """Where the picture lies if the file is as LabelMe wrote it. LabelMe writes the separators of its machine."""
        return self.path.parent / self.picture.replace("\\", "/")

    def label(self) -> NDArray[np.uint8]:
        """Group ids `[h, w]`: shapes in their order, later ones over earlier ones; VOID where nothing is drawn.

        A shape covers the pixels of its outline too, as in LabelMe's own masks.
        """
        canvas = Image.new("L", (self.width, self.height), VOID)
        pen = ImageDraw.Draw(canvas)
        for shape in self.shapes:
            if shape.kind == "rectangle":
                (x0, y0), (x1, y1) = shape.points
                pen.rectangle((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=shape.group)
            else:
                pen.polygon(list(shape.points), fill=shape.group, outline=shape.group)
        return np.array(canvas, dtype=np.uint8)


def read(path: Path, mapping: Mapping[str, str]) -> Drawing:
    """Reads and checks a file.

    Args:
        mapping: fine names to groups or `void`; the names of groups and `void` need no entry.

    Raises:
        KitError: when it is no such file, or a shape can't be painted or has a label of no group.
    """
    content = read_json(path)
    shapes = content.get("shapes") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(shapes, list):
        raise KitError(f"{path}: this is no LabelMe file; expected an object with shapes, imageWidth and imageHeight")
    if sum(len(entry["points"]) for entry in shapes if _has_points(entry)) > MOST_POINTS or len(shapes) > MOST_POINTS:
        raise KitError(f"{path}: has more than {MOST_POINTS} shapes or points")
    width, height = _side(path, content, "imageWidth"), _side(path, content, "imageHeight")
    return Drawing(
        path,
        _picture(path, content),
        width,
        height,
        tuple(_shape(f"{path}: shape {number}", entry, mapping) for number, entry in enumerate(shapes, 1)),
        _typed(path, content, "source", dict, "an object", {}),
        _typed(path, content, "sha256", str, "64 hexadecimal digits", "").lower(),
        _view(path, content, width, height),
    )


def _has_points(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("points"), list)


def _picture(path: Path, content: dict[str, Any]) -> str:
    name: str = _typed(path, content, "imagePath", str, "the picture's file name")
    if not PurePosixPath(name.replace("\\", "/")).name or "\0" in name:
        raise KitError(f"{path}: imagePath is {shown(name)}; expected the picture's file name")
    return name


def _shape(where: str, entry: Any, mapping: Mapping[str, str]) -> Shape:
    if not isinstance(entry, dict) or not isinstance(entry.get("label"), str):
        raise KitError(f"{where}: has no label")
    name = entry["label"]
    kind = entry.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in LEAST:
        raise KitError(
            f"{where} ({name}): is a {kind if isinstance(kind, str) else shown(kind)}; expected polygon or rectangle"
        )
    points = entry.get("points")
    if not isinstance(points, list) or not all(_is_point(point) for point in points):
        raise KitError(f"{where} ({name}): has points that are no pairs of numbers")
    least = LEAST[kind]
    if len(points) < least or (kind == "rectangle" and len(points) != least):
        expected = f"at least {least}" if kind == "polygon" else f"{least}, two opposite corners"
        raise KitError(f"{where} ({name}): is a {kind} of {len(points)} points; expected {expected}")
    group = group_id(mapping.get(name, name), where, void=True)
    return Shape(kind, group, tuple((float(x), float(y)) for x, y in points))


def _view(path: Path, content: dict[str, Any], width: int, height: int) -> dict[str, float]:
    # A recipe may stand at the top, or as an object in `recipe`; a recipe in words is for readers.
    recipe = content.get("recipe")
    holder = recipe if isinstance(recipe, dict) else content
    view = _typed(path, holder, "panorama", dict, "an object", {})
    keys = ("yaw", "pitch", "fov", "width", "height")
    if view and not all(_is_number(view.get(key)) for key in keys):
        raise KitError(f"{path}: panorama is {shown(view)}; expected numbers for {', '.join(keys)}")
    # Before the view is cut: a mistyped size would take all memory.
    if view and (view["width"], view["height"]) != (width, height):
        size = f"{shown(view['width'])}x{shown(view['height'])}"
        raise KitError(f"{path}: its panorama's view is {size}; expected {width}x{height}, as the drawing is")
    if view and width * height > MOST_VIEW:
        raise KitError(f"{path}: its panorama's view is {width}x{height}; expected at most {MOST_VIEW} pixels")
    found = {key: float(view[key]) for key in keys if view}
    if found:
        try:
            panorama.check_view(found["yaw"], found["pitch"], found["fov"], width, height)
        except KitError as error:
            raise KitError(f"{path}: panorama: {error}") from error
    return found


def _typed(path: Path, content: dict[str, Any], key: str, kind: type, expected: str, default: Any = None) -> Any:
    value = content.get(key, default)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise KitError(f"{path}: {key} is {shown(value)}; expected {expected}")
    return value


def _side(path: Path, content: dict[str, Any], key: str) -> int:
    side: int = _typed(path, content, key, int, "a number of pixels")
    if not 1 <= side <= 1 << 16:
        raise KitError(f"{path}: {key} is {shown(side)}; expected a number of pixels")
    return side


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(_is_number(value) for value in point)


def _is_number(value: Any) -> bool:
    # NaN is not less than anything, and a whole number may be too large for a float.
    return type(value) in (int, float) and abs(value) < 1e6
