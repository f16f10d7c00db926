"""What the daemon itself makes of pictures: class maps by `predict`, figures by `eval`, times by `bench`.

Everything is asked of the real binary, with settings that no configuration file on the machine can change.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from ..data import Dataset, Pair
from ..data.pictures import open_picture, orientation, read_image
from ..errors import KitError

BATCH = 32
"""Pictures for one start of the daemon."""
MATCHING = ("--set", 'model.fit="stretch"', "--set", "model.threads=1")


class Storable(Protocol):
    """A picture that can be put into a folder for the daemon."""

    def store(self, folder: Path, stem: str) -> Path:
        """Puts it there as a file of this name with an ending that fits; returns the file."""
        ...


class Daemon:
    """The pspnetd binary.

    Raises:
        KitError: when it is missing or does not run.
    """

    def __init__(self, binary: Path) -> None:
        self.binary = Path(binary)
        if not self.binary.is_file():
            raise KitError(f"{binary}: no such file; expected the pspnetd binary (cargo build --release)")
        self.version = self._run("--version").strip()

    def masks(self, model: Path, dataset: Dataset, pairs: Sequence[Pair]) -> Iterator[np.ndarray]:
        """The class map of each picture, uint8 `[h, w]`, as `pspnetd predict` writes it."""
        for first in range(0, len(pairs), BATCH):
            with tempfile.TemporaryDirectory() as folder:
                pictures = _pictures(Path(folder) / "images", pairs[first : first + BATCH])
                yield from self._predict(model, folder, pictures)

    def masks_of(self, model: Path, pictures: Sequence[Storable]) -> Iterator[np.ndarray]:
        """The same for pictures of any kind, which need not be files."""
        for first in range(0, len(pictures), BATCH):
            with tempfile.TemporaryDirectory() as folder:
                images = Path(folder) / "images"
                batch = enumerate(pictures[first : first + BATCH])
                try:
                    images.mkdir()
                    stored = [each.store(images, f"{index:06}") for index, each in batch]
                except OSError as error:
                    raise KitError(f"{folder}: can't hold pictures for pspnetd: {error.strerror or error}") from error
                yield from self._predict(model, folder, stored)

    def evaluate(self, model: Path, dataset: Dataset, pairs: Sequence[Pair]) -> dict[str, Any]:
        """The object that `pspnetd eval --json` prints: `miou`, `pixel_accuracy`, `iou` by class, and more."""
        with tempfile.TemporaryDirectory() as folder:
            images, labels = Path(folder) / "images", Path(folder) / "labels"
            labels.mkdir()
            for picture, pair in zip(_pictures(images, pairs), pairs, strict=True):
                Image.fromarray(dataset.read(pair)[1]).save(labels / f"{picture.stem}.png", compress_level=1)
            found = self._run(
                "eval", "--model", model, "--images", images, "--labels", labels, "--json", *self._settings(folder)
            )
        return _parse(found, self.binary)

    def bench(self, model: Path, seconds: float, picture: str = "pattern:640x480") -> dict[str, Any]:
        """The object that `pspnetd bench --json` prints: `stages` with `infer` and its `min_ms`, one thread."""
        with tempfile.TemporaryDirectory() as folder:
            arguments = ("--model", model, "--camera", picture, "--threads", 1, "--seconds", seconds, "--json")
            return _parse(self._run("bench", *arguments, *self._settings(folder)), self.binary)

    def _predict(self, model: Path, folder: str, pictures: Sequence[Path]) -> Iterator[np.ndarray]:
        output = Path(folder) / "masks"
        self._run("predict", "--model", model, "--output", output, *self._settings(folder), *pictures)
        for picture in pictures:
            # Another program than pspnetd may end well and write nothing.
            with open_picture(output / f"{picture.stem}_mask.png") as mask:
                yield np.array(mask, dtype=np.uint8)

    def _settings(self, folder: str) -> tuple[str, ...]:
        # An empty file instead of the machine's own configuration, which could letterbox or use four threads.
        empty = Path(folder) / "pspnetd.toml"
        empty.touch()
        return ("--config", str(empty), *MATCHING)

    def _run(self, *arguments: object) -> str:
        command = [str(self.binary), *map(str, arguments)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        except OSError as error:
            raise KitError(f"{self.binary}: can't be run: {error}") from error
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:] or ["no message"]
            raise KitError(f"{self.binary} {arguments[0]}: exit code {done.returncode}: {last[0]}")
        return done.stdout


def _pictures(folder: Path, pairs: Sequence[Pair]) -> list[Path]:
    """The pictures under names of their own, in order, without EXIF's turn, as Dataset.read takes them."""
    folder.mkdir()
    return [store(pair.image, folder, f"{index:06}", turned=False) for index, pair in enumerate(pairs)]


def store(path: Path, folder: Path, stem: str, turned: bool) -> Path:
    """Puts a link to a picture's file into `folder`.

    The daemon turns pictures as their EXIF says; a picture that is not to be `turned` is copied without that.
    """
    with open_picture(path) as opened:
        copied = not turned and orientation(opened) != 1
    picture = folder / f"{stem}{'.png' if copied else path.suffix}"
    if copied:
        Image.fromarray(read_image(path, turned=False)).save(picture, compress_level=1)
    else:
        picture.symlink_to(path.resolve())
    return picture


def _parse(text: str, binary: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise KitError(f"{binary}: its JSON can't be read ({error}); is it of this version?") from error
    return found
