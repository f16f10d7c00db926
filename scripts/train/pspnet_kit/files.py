"""Files that are written whole or not at all, and places that are tried before time is spent."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from .errors import KitError


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file, and its folder where there is none; a kill or a full disk leaves the former file.

    Raises:
        KitError: when it can't be written.
    """
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise KitError(f"{path}: can't be written: {error.strerror or error}") from error


def check_file(path: Path) -> None:
    """Tries whether `path` can be written, without making or changing it. Its folder is made.

    Raises:
        KitError: when it can't be.
    """
    if path.is_dir():
        raise KitError(f"{path}: can't be written: is a folder")
    check_folder(path.parent, path)


def check_folder(folder: Path, named: Path | None = None) -> None:
    """Makes `folder` and tries whether files can be made in it. The message names `named`, or the folder.

    Raises:
        KitError: when they can't be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise KitError(f"{named or folder}: can't be written: {error.strerror or error}") from error
