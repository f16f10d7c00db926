"""What the tests of the exam share: a model whose answers are the pictures' colours, and drawn labels."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from built import bands
from PIL import Image
from tiny_tflite import identity

from pspnet_kit.export.manifest import Manifest, write_manifest

HEIGHT, WIDTH = 12, 16
"""Of the bands: rows 0 to 3 red, 4 to 7 green, 8 to 11 blue."""


def model(
    folder: Path, classes: Sequence[str] = ("sky", "road", "pedestrian"), groups: Sequence[str] = ("", "", "")
) -> Path:
    """A model that calls red, green and blue by these names."""
    folder.mkdir(parents=True, exist_ok=True)
    path = identity(folder / "model.tflite", HEIGHT, WIDTH)
    entries = [{"name": name, "group": group} for name, group in zip(classes, groups, strict=True)]
    write_manifest(Manifest("colours", "1", "MIT", "Red, green and blue", entries), path)
    return path


def picture(path: Path) -> Path:
    """The bands as a PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(bands()[0]).save(path)
    return path


def jpeg(image: np.ndarray) -> bytes:
    """A JPEG in full colour resolution."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


def polygon(label: str, *points: tuple[float, float], kind: str = "polygon") -> dict[str, Any]:
    """A shape as LabelMe writes it."""
    return {
        "label": label,
        "points": [list(point) for point in points],
        "group_id": None,
        "shape_type": kind,
        "flags": {},
    }


def rows(label: str, first: int, last: int) -> dict[str, Any]:
    """A polygon over whole rows of the bands."""
    return polygon(label, (0, first), (WIDTH - 1, first), (WIDTH - 1, last), (0, last))


def drawing(path: Path, shapes: Sequence[dict[str, Any]], **others: Any) -> Path:
    """A LabelMe file for a picture of the bands' size."""
    content: dict[str, Any] = {
        "version": "5.0.0",
        "flags": {},
        "shapes": list(shapes),
        "imagePath": f"{path.stem}.png",
        "imageData": None,
        "imageHeight": HEIGHT,
        "imageWidth": WIDTH,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content | others))
    return path
