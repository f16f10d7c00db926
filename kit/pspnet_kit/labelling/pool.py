"""The unlabelled pictures of a pool: `pictures/*` and `panoramas/<place>_<exposure>.*`, all read once before any is
labelled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data import panorama
from ..data.pictures import list_pictures, read_image
from ..errors import KitError
from ..files import digest
from . import places

EXPOSURE = re.compile(r"_(bright|mid|dark)$")
_SHOWN = 20


@dataclass(frozen=True)
class Place:
    """A picture, or the exposures of one panorama."""

    name: str
    """Of the files that are written for it."""
    files: tuple[Path, ...]
    digests: tuple[str, ...]
    """SHA-256 of each file; "" where it can't be read."""
    panorama: bool
    kind: str = ""
    """What the pool's list calls it, such as "office"."""
    licences: tuple[str, ...] = ("",)
    """Those of its files that the pool's list says, each once; "" for files of which it says none."""
    unlisted: tuple[Path, ...] = ()
    """Those files."""


def find(root: Path) -> list[Place]:
    """The pictures and then the panoramas below `root`, by name.

    Raises:
        KitError: when there are none.
    """
    folders = [root / name for name in ("pictures", "panoramas")]
    if not any(folder.is_dir() for folder in folders):
        raise KitError(f"{root}: has no folder pictures and none panoramas; expected a pool with one of them")
    pictures, panoramas = (list_pictures(folder) if folder.is_dir() else [] for folder in folders)
    listed = places.listed(root)

    def place(name: str, files: Sequence[Path], panorama: bool) -> Place:
        said = [listed.get(str(file.relative_to(root)), places.Listed("", "")) for file in files]
        licences = tuple(dict.fromkeys(each.licence for each in said))
        unlisted = tuple(file for file, each in zip(files, said, strict=True) if not each.licence)
        return Place(name, tuple(files), tuple(map(_digest, files)), panorama, said[0].kind, licences, unlisted)

    found = [place(file.stem, [file], False) for file in pictures]
    exposures: dict[str, list[Path]] = {}
    for file in panoramas:
        exposures.setdefault(EXPOSURE.sub("", file.stem), []).append(file)
    found += [place(name, files, True) for name, files in exposures.items()]
    if not found:
        raise KitError(f"{root}: its folders pictures and panoramas are empty")
    return found


def refuse_doubles(found: Sequence[Place], names: Callable[[Place], Iterable[str]]) -> None:
    """Holds the places to names of their own, and to pictures of their own: `names` says which are written for each.

    Raises:
        KitError: when one would overwrite another's.
    """
    known: dict[str, Place] = {}
    for place in found:
        for name in {place.name, *names(place)}:
            if other := known.get(name):
                same = "has the same name as" if place.name == other.name else f"becomes {name!r}, as does"
                raise KitError(
                    f"{place.files[0]}: {same} {other.files[0]}, so their labels would be one file; rename one of them"
                )
            known[name] = place


def _digest(file: Path) -> str:
    try:
        return digest(file)
    except KitError:
        # `broken` names it.
        return ""


def broken(found: Sequence[Place], progress: Callable[[Sequence[Place]], Iterable[Place]] = iter) -> dict[str, str]:
    """What can't be used, by the place's name, and why: no picture, cut off, a panorama that isn't 2:1 or whose
    exposures differ in size."""
    faults: dict[str, str] = {}
    for place in progress(found):
        try:
            sizes = {(panorama.read if place.panorama else read_image)(file).shape for file in place.files}
        except KitError as error:
            faults[place.name] = str(error)
            continue
        if len(sizes) > 1:
            faults[place.name] = f"{place.files[0]}: its exposures have different sizes"
    return faults


def refuse(root: Path, faults: dict[str, str]) -> None:
    """Names what is broken.

    Raises:
        KitError: when anything is.
    """
    if not faults:
        return
    listed = [*faults.values()][:_SHOWN]
    more = [f"{len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else []
    raise KitError(
        "\n".join([f"{root}: can't use {len(faults)} of its pictures (--skip-broken leaves them out):", *listed, *more])
    )
