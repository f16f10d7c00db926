"""Files: reading with clear errors, writing whole or not at all, and trying places before time is spent."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import stat
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from .errors import KitError, WriteError, reason

PART = ".part"
"""Ends the names of files that are not yet written."""
_TOKEN = 8
"""Random bytes in such a name."""
_PARTS = f".{'[0-9a-f]' * (2 * _TOKEN)}{PART}"
"""Fits those names, and no hidden file of another program."""
LARGEST = 1 << 30
"""Bytes that no file has which the kit reads."""
LARGEST_TEXT = 1 << 26
"""Bytes of TOML, JSON and lists of names."""
_PIECE = 1 << 20


def open_regular(path: Path, largest: int = LARGEST) -> BinaryIO:
    """The file, opened for reading. Links are followed; what isn't a regular file then is refused without reading it.

    Raises:
        KitError: when it is missing, can't be read, is a pipe or device, or has more than `largest` bytes.
    """
    try:
        # A pipe that nobody writes to would hold a plain open.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KitError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise KitError(f"{path}: can't be read: {reason(error)}") from error
    try:
        status = os.fstat(number)
        if not stat.S_ISREG(status.st_mode):
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
            raise KitError(f"{path}: is {kind}, expected a file")
        if status.st_size > largest:
            raise KitError(f"{path}: has {status.st_size} bytes, expected at most {largest}")
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: Path, largest: int = LARGEST) -> bytes:
    """What is in the file.

    Raises:
        KitError: see open_regular.
    """
    return b"".join(_pieces(path, largest))


def _pieces(path: Path, largest: int) -> Iterator[bytes]:
    """The file's content piece by piece: a single read of `largest` bytes would ask for that much memory."""
    left = largest
    try:
        with open_regular(path, largest) as file:
            while piece := file.read(_PIECE):
                left -= len(piece)
                # The files of /proc tell no size, and others may grow.
                if left < 0:
                    raise KitError(f"{path}: has more than {largest} bytes")
                yield piece
    except OSError as error:
        raise KitError(f"{path}: can't be read: {reason(error)}") from error


def read_text(path: Path, largest: int = LARGEST_TEXT) -> str:
    """What is in a text file, without the mark in front of it that some editors write (BOM).

    Raises:
        KitError: see open_regular; and when it is no UTF-8.
    """
    try:
        return read_bytes(path, largest).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise KitError(f"{path}: is no text in UTF-8: {error}") from error


def digest(path: Path, largest: int = LARGEST) -> str:
    """The SHA-256 of the file, in hex.

    Raises:
        KitError: see open_regular.
    """
    total = hashlib.sha256()
    for piece in _pieces(path, largest):
        total.update(piece)
    return total.hexdigest()


def read_toml(path: Path) -> dict[str, Any]:
    """What the TOML file says.

    Raises:
        KitError: when it can't be read or is no TOML.
    """
    return parse_toml(path, read_text(path))


def parse_toml(path: Path | str, text: str) -> dict[str, Any]:
    """What the text says; `path` is for the message.

    Raises:
        KitError: when it is no TOML.
    """
    try:
        return tomllib.loads(text)
    # Beside syntax: numbers with too many digits, and tables in tables without end.
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: is no TOML that can be read: {error}") from error


def read_json(path: Path) -> Any:
    """What the JSON file says.

    Raises:
        KitError: when it can't be read or is no JSON.
    """
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KitError(f"{path}: is no JSON that can be read: {error}") from error


def write_whole(path: Path, content: bytes) -> None:
    """Writes the file, and its folder where there is none; a kill or a full disk leaves the former file.

    A link stays, and the file that it leads to is written. A pipe or device is written to as it is. A file that is
    replaced leaves its mode to the new one, and its owner and group where this user may give them.

    Raises:
        WriteError: when it can't be written.
    """
    part: Path | None = None
    try:
        target = _target(path)
        # Of this run alone, and no longer than the longest name of a file.
        part = target.with_name(f".{secrets.token_hex(_TOKEN)}{PART}")
        if _is_stream(path):
            path.write_bytes(content)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as file:
            _take_rights(file.fileno(), target)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except (OSError, ValueError) as error:
        with contextlib.suppress(OSError, ValueError):
            if part is not None:
                part.unlink(missing_ok=True)
        raise WriteError(path, error) from error


def delete(path: Path) -> None:
    """Deletes the file, if it is there.

    Raises:
        KitError: when it can't be.
    """
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise KitError(f"{path}: can't be deleted: {reason(error)}") from error


@contextlib.contextmanager
def sole_writer(folder: Path, below: bool = True) -> Iterator[None]:
    """Keeps other runs out of the folder, which is made where there is none, and deletes what killed ones left half
    written. A folder that this run made and that is still empty in the end goes again.

    Args:
        below: whether the folders in it are the run's too, so that what is half written there goes as well.

    Raises:
        KitError: when another run writes to it, or it can't be made.
    """
    made = False
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            made = True
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise WriteError(folder, error) from error
    try:
        # Where a file system has no locks, there are none.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise KitError(f"{folder}: another run writes to it; wait until it has ended") from None
            for part in (folder.rglob if below else folder.glob)(_PARTS):
                part.unlink(missing_ok=True)
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        os.close(lock)


def check_file(path: Path) -> None:
    """Tries whether `path` can be written, without making or changing anything.

    Raises:
        KitError: when it can't be.
    """
    try:
        _check_name(path)
        if path.is_dir():
            raise KitError(f"{path}: can't be written: is a folder")
        parent = None if _is_stream(path) else _target(path).parent
    except (OSError, ValueError) as error:
        raise WriteError(path, error) from error
    if parent is not None:
        check_folder(parent, path)


def check_folder(folder: Path, named: Path | None = None) -> None:
    """Tries whether files can be made in `folder`, or in the nearest that is there.

    The message names `named`, or the folder.

    Raises:
        KitError: when they can't be.
    """
    try:
        _check_name(folder)
        if folder.is_symlink():
            # No folder can be made where a link leads nowhere, or round in a circle.
            folder.stat()
        nearest = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except (OSError, ValueError) as error:
        raise WriteError(named or folder, error) from error


def _check_name(path: Path) -> None:
    """Fails where the name can't be one: is too long, has a NUL, or leads through a file."""
    with contextlib.suppress(FileNotFoundError):
        os.lstat(path)


def real(path: Path) -> Path:
    """The path without links. Those that lead round in a circle stay, for opening the file to tell."""
    return Path(os.path.realpath(path))


def _target(path: Path) -> Path:
    """The file that is written: `path`, or where its link leads, which need not be there.

    Raises:
        OSError: for links that lead round in a circle.
    """
    if not path.is_symlink():
        return path
    # Path.resolve tells of a circle by another error, or not at all, by the version of Python.
    with contextlib.suppress(FileNotFoundError):
        path.stat()
    return path.resolve()


def _take_rights(file: int, former: Path) -> None:
    """Gives the open file the mode of the one that it replaces, and its owner and group where that is permitted."""
    try:
        rights = former.stat()
    except FileNotFoundError:
        return
    # Some file systems have neither.
    for owner, group in ((-1, rights.st_gid), (rights.st_uid, -1)):
        with contextlib.suppress(OSError):
            os.fchown(file, owner, group)
    with contextlib.suppress(OSError):
        os.fchmod(file, rights.st_mode & 0o777)


def _is_stream(path: Path) -> bool:
    """Whether `path` is there but no file that could be replaced, such as /dev/stdout."""
    return path.exists() and not path.is_file() and not path.is_dir()
