"""What a teacher's classes mean in the classes of the data set that is written: a class, or only a group of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data import VOID, ClassInfo
from ..data.dataset import group_names
from ..errors import KitError
from ..files import read_toml


@dataclass(frozen=True)
class Mapping:
    """From a teacher's probabilities to those of classes and groups."""

    classes: NDArray[np.float32]
    """`[teacher's classes, classes]`, 0 or 1."""
    groups: NDArray[np.float32]
    """`[teacher's classes, groups]`: one 1 in every row."""
    group_of: NDArray[np.int64]
    """The group's index of each class."""

    def as_dict(self) -> dict[str, list[list[int]]]:
        """Plain values: of each class of the teacher the class that it is, none where there is only a group, and the
        group."""
        return {
            "classes": [[int(index) for index in np.flatnonzero(row)] for row in self.classes],
            "groups": [[int(index) for index in np.flatnonzero(row)] for row in self.groups],
        }

    def split(self, probabilities: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probabilities `[…, teacher's classes]` as those of classes and those of groups.

        A class's probability is its group's too; what goes to a group alone is in no class.
        """
        return probabilities @ self.classes, probabilities @ self.groups


def hard_labels(
    classes: NDArray[np.float32], groups: NDArray[np.float32], group_of: NDArray[np.int64], threshold: float
) -> NDArray[np.uint8]:
    """Train ids `[h, w]`: the likeliest class of the likeliest group, void where the teacher isn't sure.

    It is sure where the group has at least `threshold`, and the class at least half of its group.
    """
    group = groups.argmax(-1)
    sure = np.take_along_axis(groups, group[..., None], -1)[..., 0]
    own = np.where(group_of == group[..., None], classes, -1)
    label = own.argmax(-1)
    best = np.take_along_axis(own, label[..., None], -1)[..., 0]
    return np.where((sure >= threshold) & (best * 2 >= sure), label, VOID).astype(np.uint8)


def identity(classes: Sequence[ClassInfo]) -> Mapping:
    """For a teacher that has the classes themselves."""
    group_of = _group_of(classes)
    return Mapping(
        np.eye(len(classes), dtype=np.float32), np.eye(group_of.max() + 1, dtype=np.float32)[group_of], group_of
    )


def read(path: Path, names: Sequence[str], classes: Sequence[ClassInfo], teacher: Path) -> Mapping:
    """The mapping in `path` for a teacher with the classes `names`.

    Raises:
        KitError: when the file can't be read, names a class that the teacher or the data set lacks, or lacks a class of
            the teacher.
    """
    content = read_toml(path)
    if unknown := sorted(set(content) - {"classes", "groups", "names"}):
        raise KitError(f"{path}: {unknown[0]} is unknown; known here: classes, groups, names")
    to_class, to_group, other = (_texts(path, content, table) for table in ("classes", "groups", "names"))
    if both := sorted(set(to_class) & set(to_group)):
        raise KitError(f"{path}: {both[0]} is in [classes] and in [groups]; expected it in one of them")
    own = [other.get(name, name) for name in names]
    if lacking := [name for name in (*to_class, *to_group) if name not in own]:
        raise KitError(f"{teacher}: lacks the class {lacking[0]!r} that {path} maps; it has {', '.join(names)}")
    known, groups = [c.name for c in classes], group_names(classes)
    group_of = _group_of(classes)
    matrices = np.zeros((len(names), len(known)), np.float32), np.zeros((len(names), len(groups)), np.float32)
    for row, name in enumerate(own):
        if name not in to_class and name not in to_group:
            raise KitError(
                f"{path}: does not say what the class {name!r} of {teacher} is: add it to [classes] or [groups]"
            )
        target = to_class.get(name) or to_group[name]
        column = _index(path, name, target, known if name in to_class else groups)
        if name in to_class:
            matrices[0][row, column] = 1
            column = int(group_of[column])
        matrices[1][row, column] = 1
    return Mapping(*matrices, group_of)


def _group_of(classes: Sequence[ClassInfo]) -> NDArray[np.int64]:
    groups = group_names(classes)
    return np.array([groups.index(c.group or c.name) for c in classes])


def _index(path: Path, name: str, target: str, known: Sequence[str]) -> int:
    if target not in known:
        raise KitError(f"{path}: {name} is said to be {target!r}, expected one of {', '.join(known)}")
    return known.index(target)


def _texts(path: Path, content: dict[str, Any], table: str) -> dict[str, str]:
    entries = content.get(table, {})
    if not isinstance(entries, dict) or not all(isinstance(value, str) for value in entries.values()):
        raise KitError(f"{path}: {table} is {entries!r}, expected a table of names")
    return entries
