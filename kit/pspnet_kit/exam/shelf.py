"""Finds pictures that no repository may hold in folders that the user names: by path, by name and digest, by digest."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from ..data.pictures import is_picture
from ..data.sources import matching
from ..errors import KitError
from ..files import digest


class Shelf:
    """The folders of `--pictures`, with everything below them.

    Raises:
        KitError: when one of them is no folder.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        for folder in folders:
            if not folder.is_dir():
                raise KitError(f"--pictures {folder}: no such folder")
        self.folders = list(folders)
        self._files: list[Path] | None = None
        self._digests: dict[Path, str] = {}

    def below(self, root: Path, pattern: str) -> list[Path]:
        """The files that a path with wildcards fits, sorted; of a folder, the files that lie in it. See matching.

        The path starts at `root`, else, without steps upwards, at any depth below the first folder that has such files.

        Raises:
            KitError: when the path can't be one.
        """
        try:
            downwards = "/".join(part for part in PurePosixPath(pattern).parts if part != "..")
            if PurePosixPath(pattern).is_absolute():
                raise ValueError("it is absolute")
            if here := _files(matching([root], pattern)):
                return here
            below = (filter(Path.is_dir, folder.glob("**")) for folder in self.folders)
            return next(filter(None, (_files(matching(folders, downwards)) for folders in below)), [])
        except (ValueError, NotImplementedError, IndexError) as error:
            raise KitError(f"{root}: {pattern!r} is no path from here: {error}") from error

    def with_digest(self, sha256: str, name: str) -> Path | None:
        """The picture of this SHA-256: those called `name` are looked at first; None where there is none."""
        files = self._pictures()
        for path in sorted(files, key=lambda path: path.name != name):
            if self._digest(path) == sha256:
                return path
        return None

    def named(self, name: str) -> Path | None:
        """The first picture that is called `name`; None where there is none."""
        return next((path for path in self._pictures() if path.name == name), None)

    def _pictures(self) -> list[Path]:
        if self._files is None:
            self._files = [path for folder in self.folders for path in sorted(folder.rglob("*")) if is_picture(path)]
        return self._files

    def _digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest(path)
        return self._digests[path]


def _files(found: Iterable[Path]) -> list[Path]:
    """Of folders all that lies in them and is no folder: links that lead nowhere are told when they are read."""
    files: set[Path] = set()
    for path in found:
        files.update((each for each in path.iterdir() if not each.is_dir()) if path.is_dir() else [path])
    return sorted(files)
