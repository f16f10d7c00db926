"""What is known of a picture before a teacher sees it: the kind of place, and the groups that can't be there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import read_toml

FILE = "pool.json"
"""What `kit pool` writes of each file: `pictures[].file` and `pictures[].place`."""


def kinds(pool: Path) -> dict[str, str]:
    """The kind of place of each file, by its path below `pool`; none where the pool has no list of them.

    Raises:
        KitError: when the list can't be read.
    """
    path = pool / FILE
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["pictures"]
        return {str(entry["file"]): str(entry["place"]) for entry in entries if "place" in entry}
    except OSError as error:
        raise KitError(f"{path}: can't be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise KitError(
            f"{path}: expected a list `pictures` of `file` and `place`, as kit pool writes it: {error!r}"
        ) from error


def read(path: Path, groups: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """By the kind of place a factor for each of `groups`: 0 for those that are never there, else 1.

    Raises:
        KitError: when the file can't be read, or names a group that is not there.
    """
    content = read_toml(path)
    never = content.get("never", {})
    if set(content) - {"never"} or not isinstance(never, Mapping):
        raise KitError(f"{path}: expected one table [never]")
    factors: dict[str, NDArray[np.float32]] = {}
    for kind, names in never.items():
        if not isinstance(names, list) or not set(map(str, names)) < set(groups):
            raise KitError(f"{path}: {kind!r} is {names!r}, expected a list of some of {', '.join(groups)}")
        factors[kind] = np.array([name not in names for name in groups], np.float32)
    return factors


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
