"""What judging is tested on: the daemon's binary and a small data set."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from needs import needs
from PIL import Image

TARGET = Path(__file__).resolve().parents[2] / "target"
COLOURS = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)


def built() -> Path | None:
    """The binary that PSPNETD names or that was built here."""
    for name in (os.environ.get("PSPNETD"), TARGET / "release/pspnetd", TARGET / "debug/pspnetd"):
        if name and Path(name).is_file():
            return Path(name)
    return None


def pspnetd() -> Path:
    """The same; the test is left out where there is none."""
    program = built()
    needs(program is not None, "pspnetd is not built: cargo build --release, or PSPNETD=FILE")
    assert program is not None
    return program


def bands() -> tuple[np.ndarray, np.ndarray]:
    """A picture of a red, a green and a blue band, and its class map."""
    label = np.repeat([0, 1, 2], 4).astype(np.uint8)[:, None].repeat(16, axis=1)
    return COLOURS[label], label


def camvid(root: Path) -> Path:
    """A CamVid tree of two pictures of bands; the second has a column of void."""
    for folder in ("val/images", "val/labels"):
        (root / folder).mkdir(parents=True)
    picture, label = bands()
    for name, void in (("a", 0), ("b", 1)):
        truth = label.copy()
        truth[:, :void] = 11
        Image.fromarray(picture).save(root / "val/images" / f"{name}.png")
        Image.fromarray(truth).save(root / "val/labels" / f"{name}.png")
    return root
