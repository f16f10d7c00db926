"""What the tests of `kit label` share: pools of striped pictures, and a teacher of red, green and blue."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import tiny_tflite
from PIL import Image

from pspnet_kit.__main__ import main

CLASSES = """
[[classes]]
name = "leaf"
color = "#00ff00"
group = "plant"
[[classes]]
name = "brick"
color = "#ff0000"
group = "structure"
[[classes]]
name = "stone"
color = "#808080"
group = "structure"
"""
MAPPING = """
[classes]
red = "brick"
green = "leaf"
[groups]
blue = "structure"
"""
RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def teacher(folder: Path, names: tuple[str, ...] = ("red", "green", "blue"), size: tuple[int, int] = (32, 32)) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "manifest.toml").write_text("".join(f'[[classes]]\nname = "{name}"\n' for name in names))
    return tiny_tflite.identity(folder / "model.tflite", *size)


def picture(path: Path, *columns: tuple[int, int, int], size: tuple[int, int] = (64, 96)) -> Path:
    """Vertical stripes of these colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = size
    row = np.array(columns, np.uint8)[np.arange(width) * len(columns) // width]
    Image.fromarray(np.broadcast_to(row, (height, width, 3)).copy()).save(path)
    return path


def listed(pool: Path, *rows: Mapping[str, str]) -> None:
    """The list of a pool, with a row for each picture."""
    (pool / "pool.json").write_text(json.dumps({"pictures": rows}))


def label(tmp_path: Path, *more: str, pool: str = "pool") -> int:
    (tmp_path / "classes.toml").write_text(CLASSES)
    (tmp_path / "mapping.toml").write_text(MAPPING)
    models = [] if "--teacher" in more else ["--teacher", str(teacher(tmp_path / "teacher"))]
    places = ["--classes", str(tmp_path / "classes.toml"), "--mapping", str(tmp_path / "mapping.toml")]
    return main(
        ["label", str(tmp_path / pool), *models, "--out", str(tmp_path / "out"), *places, "--views", "3", *more]
    )
