"""Writes a labelled pool as a data set of the kit, picture by picture, so that a killed run goes on where it was.

`NOTICE` where the pool has one, `images/NAME.jpg`, `labels/NAME.png` (train ids, 255 = void), `soft/NAME.png` (see
Dataset.read_soft) and, last of all, `dataset.toml`. `made.json` says what is done, and of which files it was made.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import VOID, ClassInfo, origin
from ..data.dataset_toml import FILE, SETTINGS
from ..errors import KitError, shown
from ..export.manifest import quoted
from ..files import check_folder, delete, read_bytes, read_json, write_whole
from ..pool.notice import NOTICE
from . import provenance, record
from .record import Record

QUALITY = 92
FOLDERS = ("images", "labels", "soft")


class Store:
    """A data set being written. A run with other settings does not go on with its labels.

    Args:
        sources: name, licence and citation of all that the labels come from.

    Raises:
        KitError: when the folder can't be written, or holds labels that were made otherwise.
    """

    def __init__(
        self,
        out: Path,
        settings: Mapping[str, Any],
        classes: Sequence[ClassInfo],
        sources: Sequence[Mapping[str, str]],
    ) -> None:
        self.out, self.classes, self.sources = out, classes, sources
        check_folder(out)
        text = json.dumps(settings, indent=1, sort_keys=True) + "\n"
        known = out / SETTINGS
        if known.is_file():
            if differing := _differing(known, json.loads(text)):
                told = f"holds labels that were made with other settings ({known}): {differing}"
                raise KitError(f"{out}: {told}; name another folder")
        elif out.is_dir() and any(out.iterdir()):
            raise KitError(f"{out}: is not empty and holds no labels of kit label; name another folder with --out")
        else:
            write_whole(known, text.encode("utf-8"))
        made = record.read(out)
        self._made, self._is_older = made or {}, made is None

    def has(self, place: str, wanted: Record) -> bool:
        """Whether all pictures of the place are there, with labels of the same files and kind of place.

        An older version noted neither: what it wrote is taken to match.
        """
        same = self._is_older or (place in self._made and self._made[place].same(wanted))
        return same and all(map(self._is_here, wanted.pictures))

    def names(self) -> set[str]:
        """Of all pictures that are there with their labels."""
        return {path.stem for path in (self.out / "images").glob("*.jpg")}

    def licences(self) -> list[str]:
        """Those of all files that the pictures which are there were made of; "" where none is known."""
        here = [each for each in self._made.values() if any(map(self._is_here, each.pictures))]
        return [licence for each in here for licence in each.licences]

    def put(self, name: str, image: NDArray[np.uint8], label: NDArray[np.uint8], groups: NDArray[np.float32]) -> None:
        """Writes picture, train ids `[h, w]` and the probabilities of groups `[h', w', groups]`.

        Raises:
            KitError: when one can't be written.
        """
        soft = np.rint(groups.transpose(2, 0, 1) * 255).astype(np.uint8).reshape(-1, groups.shape[1])
        write_whole(self._path("soft", name), _encoded(soft, "PNG"))
        write_whole(self._path("labels", name), _encoded(label, "PNG"))
        write_whole(self._path("images", name), _encoded(image, "JPEG", quality=QUALITY))

    def add(self, place: str, made: Record) -> None:
        """Notes that all pictures of the place are written, and deletes those that it had before and has no longer.

        Raises:
            KitError: when a file can't be written or deleted.
        """
        former = self._made.get(place)
        self._made[place] = made
        if former is not None:
            kept = {name for each in self._made.values() for name in each.pictures}
            for name in set(former.pictures) - kept:
                for folder in FOLDERS:
                    delete(self._path(folder, name))
        record.write(self.out, self._made)

    def begin(self, pool: Path, wanted: Mapping[str, Record]) -> None:
        """Takes over the pool's notice and what is done of the places that are `wanted`.

        dataset.toml goes until it tells whose pictures and labels these are.

        Raises:
            KitError: when a file can't be read, written or deleted.
        """
        delete(self.out / FILE)
        if (pool / NOTICE).is_file():
            former, now = (_text(folder / NOTICE) for folder in (self.out, pool))
            write_whole(self.out / NOTICE, provenance.joined_notice(former, now).encode("utf-8", "surrogateescape"))
        self._made |= {place: each for place, each in wanted.items() if self.has(place, each)}
        self._is_older = False
        record.write(self.out, self._made)

    def finish(self, name: str, licence: str, citation: str) -> None:
        """Writes dataset.toml; licence and citation are those of the pictures.

        Raises:
            KitError: when it can't be written.
        """
        own = {"name": name, "licence": licence, "citation": citation}
        write_whole(self.out / FILE, self._toml(own).encode("utf-8"))

    def _is_here(self, name: str) -> bool:
        return self._path("images", name).is_file()

    def _path(self, folder: str, name: str) -> Path:
        return self.out / folder / (name + (".jpg" if folder == "images" else ".png"))

    def _toml(self, own: Mapping[str, str]) -> str:
        lines = [*_source(own), 'labels = "index"', f"void = [{VOID}]", "", "[splits.train]"]
        lines += [f'{folder} = "{folder}"' for folder in FOLDERS]
        for other in self.sources:
            lines += ["", "[[sources]]", *_source(other)]
        for info in self.classes:
            lines += ["", "[[classes]]", f"name = {quoted(info.name)}", f"color = {quoted(info.color)}"]
            lines += [f"group = {quoted(info.group)}"] if info.group else []
        return "\n".join(lines) + "\n"


def _differing(known: Path, wanted: Mapping[str, Any]) -> str:
    """Which settings in the file are not those that are wanted, in words; "" where all are.

    Raises:
        KitError: when the file can't be read.
    """
    former = read_json(known)
    if not isinstance(former, dict):
        raise KitError(f"{known}: holds no settings of kit label; name another folder with --out")
    # Mirror images are noted only where there are none.
    before, now = {"mirror": True, **former}, {"mirror": True, **wanted}
    keys = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    plain = (str, int, float, bool)
    return ", ".join(
        f"{key} is {shown(now[key])}, was {shown(before[key])}"
        if isinstance(before.get(key), plain) and isinstance(now.get(key), plain)
        else f"other {key}"
        for key in keys
    )


def _encoded(pixels: NDArray[np.uint8], kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _text(path: Path) -> str:
    return read_bytes(path).decode("utf-8", "surrogateescape") if path.is_file() else ""


def _source(source: Mapping[str, str]) -> list[str]:
    named = {**source, "name": source.get("name", "").strip() or "unnamed"}
    return [f"{key} = {quoted(named[key])}" for key in origin.KEYS if named.get(key)]
