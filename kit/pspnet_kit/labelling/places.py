"""What is known of a picture before a teacher sees it: the kind of place, and the groups that can't be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import read_json, read_toml, real
from ..pool.index import INDEX


@dataclass(frozen=True)
class Listed:
    """What the pool's list says of a file."""

    kind: str
    """Of place, such as "office"."""
    licence: str


def index_of(pool: Path) -> tuple[Path, str] | None:
    """The list of the pool, and where in it the files of `pool` are, as "held/"; None where the pool has no list.

    A part of a pool, such as its folder `held`, has its kinds in the list of the whole.
    """
    folder = real(pool)
    for path, within in ((folder / INDEX, ""), (folder.parent / INDEX, f"{folder.name}/")):
        if path.is_file():
            return path, within
    return None


def listed(pool: Path) -> dict[str, Listed]:
    """What the list says of each file, by its path below `pool`; nothing where the pool has no list.

    Raises:
        KitError: when the list can't be read.
    """
    if not (found := index_of(pool)):
        return {}
    path, within = found
    try:
        entries = read_json(path)["pictures"]
        told = {
            str(entry["file"]): Listed(str(entry.get("place", "")), str(entry.get("licence", ""))) for entry in entries
        }
        return {file.removeprefix(within): about for file, about in told.items() if file.startswith(within)}
    except (KeyError, TypeError, AttributeError) as error:
        raise KitError(
            f"{path}: expected a list `pictures` of `file`, `place` and `licence`, as kit pool writes it: {error!r}"
        ) from error


@dataclass(frozen=True)
class Places:
    """What a file such as kit/scene/places.toml tells."""

    never: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """By the kind of place a factor for each group: 0 for those that are never there, else 1."""
    no_up: frozenset[str] = frozenset()
    """The kinds that are seen from so high above that a picture may be turned."""
    ground: NDArray[np.float32] | None = None
    """The same factors for what lies below the camera of a panorama."""
    ground_degrees: float = 90.0
    """How far below the horizon that begins."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        ground = None if self.ground is None else [self.ground_degrees, *map(int, self.ground)]
        return {
            "never": {kind: [int(value) for value in factor] for kind, factor in self.never.items()},
            "no_up": sorted(self.no_up),
            "ground": ground,
        }


def read(path: Path, groups: Sequence[str]) -> Places:
    """The file's content.

    Raises:
        KitError: when the file can't be read, or names a group that is not there.
    """
    content = read_toml(path)
    never, no_up, ground = content.get("never", {}), content.get("no_up", []), content.get("ground")
    if set(content) - {"never", "no_up", "ground"} or not isinstance(never, dict):
        raise KitError(f"{path}: expected a list no_up and tables [never] and [ground]")
    if not isinstance(no_up, list) or not all(isinstance(kind, str) for kind in no_up):
        raise KitError(f"{path}: no_up is {no_up!r}, expected a list of kinds of places")
    factors = {kind: _factor(path, kind, names, groups) for kind, names in never.items()}
    if ground is None:
        return Places(factors, frozenset(no_up))
    if not isinstance(ground, dict) or set(ground) != {"degrees", "never"}:
        raise KitError(f"{path}: expected [ground] to have degrees and never")
    degrees = ground["degrees"]
    if isinstance(degrees, bool) or not isinstance(degrees, (int, float)) or not 0 < degrees <= 90:
        raise KitError(f"{path}: ground.degrees is {degrees!r}, expected more than 0 and at most 90")
    return Places(factors, frozenset(no_up), _factor(path, "ground.never", ground["never"], groups), float(degrees))


def _factor(path: Path, key: str, names: Any, groups: Sequence[str]) -> NDArray[np.float32]:
    if not isinstance(names, list) or not set(map(str, names)) < set(groups):
        raise KitError(f"{path}: {key!r} is {names!r}, expected a list of some of {', '.join(groups)}")
    return np.array([name not in names for name in groups], np.float32)


def restrict(
    classes: NDArray[np.float32], groups: NDArray[np.float32], group_of: NDArray[np.int64], factor: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities `[…, classes]` and `[…, groups]` without those of impossible groups, as shares of the rest.

    Where nothing is left, all are 0: such a cell teaches nothing.
    """
    left = groups * factor
    total = left.sum(-1, keepdims=True)
    scale = np.where(total > 1e-3, 1 / np.maximum(total, 1e-3), 0)
    return classes * factor[group_of] * scale, left * scale
