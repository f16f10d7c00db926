"""Finds the files of a list by their digests, in folders or at their web addresses."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import urllib.parse
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from ..errors import KitError, WriteError
from ..files import digest, read_bytes, write_whole
from .fetch import UnreachableError, fetch
from .listing import Entry

_PATIENCE = 3
"""How often a host may be out of reach before no more of its files are tried."""
_LARGEST_POINTER = 1024
"""Bytes of a Git LFS pointer, at most (the specification of Git LFS)."""


class Shelf:
    """Folders that are searched for files: first by name, then by digest alone."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """Lists what lies in `folders` and below.

        Raises:
            KitError: when one is no folder.
        """
        self._by_name: dict[str, list[Path]] = {}
        self._by_suffix: dict[str, list[Path]] = {}
        self._digests: dict[Path, str] = {}
        for folder in folders:
            if not folder.is_dir():
                raise KitError(f"{folder}: no such folder to take pictures from")
            for place, _, names in os.walk(folder):
                for name in names:
                    path = Path(place) / name
                    self._by_name.setdefault(name, []).append(path)
                    self._by_suffix.setdefault(path.suffix.lower(), []).append(path)

    def find(self, sha256: str, path: str) -> Path | None:
        """A file with this digest. Only files with the ending of `path` are read."""
        pure = PurePosixPath(path)
        for candidate in self._by_name.get(pure.name, []) + self._by_suffix.get(pure.suffix.lower(), []):
            if self._digest(candidate) == sha256:
                return candidate
        return None

    def nearly(self, sha256: str, path: str) -> str:
        """What to say where `find` finds nothing: of a file that stands for the wanted one, or only has its name."""
        pure = PurePosixPath(path)
        named = self._by_name.get(pure.name, [])
        for candidate in named + self._by_suffix.get(pure.suffix.lower(), []):
            if _lfs_pointer(candidate) == sha256:
                return f"; {candidate} is a Git LFS pointer to it: `git lfs pull` in that clone gets the file itself"
        for candidate in named:
            found = "a Git LFS pointer to another file" if _lfs_pointer(candidate) else self._other(candidate)
            return f"; {candidate} has its name, but is {found}: expected the SHA-256 {sha256}"
        return ""

    def _other(self, path: Path) -> str:
        found = self._digest(path)
        return f"another file of the SHA-256 {found}" if found else "a file that can't be read"

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            try:
                self._digests[path] = digest(path)
            except KitError:
                self._digests[path] = ""
        return self._digests[path]


def _lfs_pointer(path: Path) -> str:
    """The SHA-256 of the file that a Git LFS pointer stands for; "" for any other file."""
    try:
        text = read_bytes(path, _LARGEST_POINTER)
    except KitError:
        return ""
    found = re.search(rb"^oid sha256:([0-9a-f]{64})$", text, re.MULTILINE)
    return found[1].decode() if found and text.startswith(b"version https://git-lfs.github.com/") else ""


class Downloads:
    """A folder of downloaded files, named by their digests. What a broken download left is gone on with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._silent: dict[str, int] = {}
        """How often each host could not be reached since it last answered."""

    def get(self, entry: Entry) -> Path:
        """The file of the entry, downloaded unless it is here.

        Raises:
            KitError: when it can't be had, or is another file than the list says.
            WriteError: when it can't be kept here.
        """
        target = self._folder / f"{entry.sha256}{entry.suffix}"
        with contextlib.suppress(KitError):
            if digest(target) == entry.sha256:
                return target
        if not entry.source.raw:
            how = f": {entry.source.get}" if entry.source.get else ""
            raise KitError(
                f"{entry.where}: is in none of the --from folders, and has no address to download it from{how}"
            )
        part = self._folder / f"{entry.sha256}.download"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WriteError(self._folder, error) from error
        address = entry.source.raw.replace("{path}", urllib.parse.quote(entry.path))
        self._fetch(address, part, entry)
        content = read_bytes(part)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            part.unlink(missing_ok=True)
            raise KitError(f"{entry.where}: {address} gives another file than the list says; its digest differs")
        write_whole(target, content)
        part.unlink(missing_ok=True)
        return target

    def _fetch(self, address: str, part: Path, entry: Entry) -> None:
        """Goes on with `part` until it is whole."""
        host = urllib.parse.urlsplit(address).netloc
        if self._silent.get(host, 0) >= _PATIENCE:
            raise KitError(
                f"{entry.where}: {address} was not tried, since {host} could not be reached {_PATIENCE} times"
            )
        try:
            fetch(address, part, entry.where)
        except UnreachableError:
            self._silent[host] = self._silent.get(host, 0) + 1
            raise
        self._silent[host] = 0
