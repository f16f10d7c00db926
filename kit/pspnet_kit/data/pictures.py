"""Opens picture files so that every way in which one can be broken becomes one error with the file's name.

What the pixels of a label mean is labels.py's concern.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import KitError
from ..files import open_regular

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".webp")
"""Files with other endings in a folder of pictures are left alone."""

FORMATS = ("JPEG", "PNG", "BMP", "PPM", "WEBP", "GIF")
"""Those that are decoded, whatever a file is called. Pillow's others are less well kept, and some run programs."""
MOST_PIXELS = 178_956_970
"""A larger picture is refused before it is decoded. It is Pillow's own limit."""

_ORIENTATION = 0x0112  # the EXIF tag
_QUARTER_TURNS = (5, 6, 7, 8)
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def is_picture(path: Path) -> bool:
    """Whether a file in a folder of pictures is one, by its name; hidden ones and folders are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and not path.is_dir()


def list_pictures(folder: Path) -> list[Path]:
    """The pictures that lie in a folder, by name.

    Raises:
        KitError: when there is no such folder, or it can't be read.
    """
    if not folder.is_dir():
        raise KitError(f"{folder}: no such folder of pictures")
    try:
        return sorted(filter(is_picture, folder.iterdir()))
    except OSError as error:
        raise KitError(f"{folder}: can't be read: {error.strerror or error}") from error


def in_time(paths: Iterable[Path]) -> list[Path]:
    """Frames in the order in which they follow one another: numbers in names count as numbers, 2 before 10."""

    def order(path: Path) -> tuple[object, ...]:
        # Texts and numbers take turns, so that none is compared with the other.
        parts = (re.split("([0-9]+)", part) for part in path.parts)
        return [[int(piece) if index % 2 else piece for index, piece in enumerate(part)] for part in parts], path

    return sorted(paths, key=order)


def printable(name: str) -> str:
    """A file name for tables and drawings: bytes that are not UTF-8 become \\udcXX."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


@contextmanager
def open_picture(path: Path) -> Iterator[Image.Image]:
    """The opened, not yet decoded picture; decoding inside the `with` is covered too.

    Raises:
        KitError: when the file is missing, no picture, cut off or otherwise broken.
    """
    with open_regular(path) as file, decode(file, str(path)) as picture:
        yield picture


@contextmanager
def decode(file: BinaryIO, name: str, formats: Sequence[str] = FORMATS) -> Iterator[Image.Image]:
    """The same for an open file, which messages call `name`."""
    try:
        with Image.open(file, formats=formats) as picture:
            yield picture
    except UnidentifiedImageError:
        kinds = ", ".join(formats)
        raise KitError(f"{name}: this is no picture that can be read; expected one of the formats {kinds}") from None
    except KitError:
        raise
    except Exception as error:
        # For a broken file Pillow raises these, by the format and the place where it breaks, and now and then others.
        if not isinstance(error, _BROKEN) and not _is_pillow_s(error):
            raise
        raise KitError(f"{name}: can't read this picture: {error}") from error


def _is_pillow_s(error: Exception) -> bool:
    """Whether Pillow's own code raised it."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    module = trace.tb_frame.f_globals.get("__name__", "") if trace is not None else ""
    return str(module).partition(".")[0] == "PIL"


def read_image(path: Path, turned: bool = True) -> NDArray[np.uint8]:
    """The picture as uint8 RGB `[h, w, 3]`, turned as its EXIF orientation says, as viewers and LabelMe show it.

    Args:
        turned: False for a picture that has a label picture, which belongs to the pixels of the file as it is stored:
            for a half turn, or a square, no size would tell the mistake.

    Raises:
        KitError: when it can't be read, or has more than 8 bits per channel.
    """
    with open_picture(path) as picture:
        if picture.mode.startswith(("I", "F")):
            raise KitError(f"{path}: has more than 8 bits per channel ({picture.mode}); save it with 8")
        shown = ImageOps.exif_transpose(picture) if turned else picture
        return np.array(shown.convert("RGB"), dtype=np.uint8)


def read_pictures(folder: Path, most: int = 8) -> list[NDArray[np.uint8]]:
    """Up to `most` pictures of a folder, evenly spread over its sorted names.

    Raises:
        KitError: where there is no folder, no picture in it, or one that can't be read.
    """
    paths = list_pictures(folder)
    if not paths:
        raise KitError(f"{folder}: no picture in it ({', '.join(SUFFIXES)})")
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(most, len(paths))).round().astype(int))
    return [read_image(paths[index]) for index in chosen]


def orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 where none is said."""
    return int(picture.getexif().get(_ORIENTATION, 1))


def size_of(path: Path) -> tuple[int, int]:
    """Width and height of a picture's file as it is stored, without decoding it.

    Raises:
        KitError: when it can't be read.
    """
    with open_picture(path) as picture:
        width, height = picture.size
        return width, height


def turn_told(path: Path, stored: tuple[int, int], label: tuple[int, int]) -> str:
    """What to say of a picture whose label picture has another size, both width and height: that EXIF's turn would make
    them fit; else nothing."""
    with open_picture(path) as picture:
        turn = orientation(picture)
    if turn not in _QUARTER_TURNS or stored[::-1] != label:
        return ""
    return (
        f". They fit only after the turn of the picture's EXIF orientation {turn}, which is ignored, since labels "
        "belong to the pixels as they are stored: save the picture turned and without that orientation"
    )
