"""Files: reading with clear errors, writing whole or not at all, and trying places before time is spent."""

from __future__ import annotations

import contextlib
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from .errors import KitError, WriteError


def read_bytes(path: Path) -> bytes:
    """What is in the file.

    Raises:
        KitError: when it is missing or can't be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except OSError as error:
        raise KitError(f"{path}: can't be read: {error.strerror or error}") from error


def read_toml(path: Path) -> dict[str, Any]:
    """What the TOML file says.

    Raises:
        KitError: when it can't be read or is no TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KitError(f"{path}: can't be read: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file, and its folder where there is none; a kill or a full disk leaves the former file.

    A link stays, and the file that it leads to is written. A pipe or device is written to as it is.

    Raises:
        WriteError: when it can't be written.
    """
    target = _target(path)
    part = target.with_name(target.name + ".part")
    try:
        if _is_stream(path):
            path.write_bytes(content)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise WriteError(path, error) from error


def check_file(path: Path) -> None:
    """Tries whether `path` can be written, without making or changing anything.

    Raises:
        KitError: when it can't be.
    """
    if path.is_dir():
        raise KitError(f"{path}: can't be written: is a folder")
    if not _is_stream(path):
        check_folder(_target(path).parent, path)


def check_folder(folder: Path, named: Path | None = None) -> None:
    """Tries whether files can be made in `folder`, or in the nearest that is there.

    The message names `named`, or the folder.

    Raises:
        KitError: when they can't be.
    """
    try:
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise KitError(f"{named or folder}: can't be written: {error.strerror or error}") from error


def _target(path: Path) -> Path:
    return path.resolve() if path.is_symlink() else path


def _is_stream(path: Path) -> bool:
    """Whether `path` is there but no file that could be replaced, such as /dev/stdout."""
    return path.exists() and not path.is_file() and not path.is_dir()
