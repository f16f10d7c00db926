"""The ten coarse groups, and the group of every class of a model.

A class is looked up by its name, so that a class called `tree` is the same in every model: first in what the user says,
then in groups.toml, then in the group of the model's manifest if that is one of the ten, last by a first word that
names a group (`vehicle-car`), which is a guess.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ..data import VOID, ClassInfo
from ..errors import KitError
from ..judge.predictors import Predictor

GROUPS = ("sky", "structure", "paved", "soil", "plant", "water", "person", "vehicle", "furniture", "other")
"""In the order of the group ids, which label maps of the exam hold."""
PERSON = GROUPS.index("person")
UNJUDGED = "void"
"""What a mapping says of labels that are not judged."""


def group_id(name: str, where: str, void: bool = False) -> int:
    """The id of a group; VOID for `void` where that is allowed.

    Raises:
        KitError: beginning with `where`, for any other name.
    """
    if name in GROUPS:
        return GROUPS.index(name)
    if void and name == UNJUDGED:
        return VOID
    raise KitError(f"{where}: {name!r} is no group; known are {', '.join(GROUPS)}{', void' * void}")


def groups_of(predictor: Predictor, extra: Mapping[str, str]) -> tuple[str, ...]:
    """The group of each class of a model, in the order of its outputs.

    Args:
        extra: what the user says, class name to group.

    Raises:
        KitError: when the model names no classes, or one of them belongs to no group that is known.
    """
    classes = predictor.class_infos
    if len(classes) != predictor.classes:
        told = f"names {len(classes)} of its {predictor.classes} classes" if classes else "does not name its classes"
        raise KitError(f"{predictor.path}: {told}; expected a manifest.toml beside it with [[classes]] for all of them")
    found = [_group_of(entry, extra) for entry in classes]
    lost = [entry.name for entry, group in zip(classes, found, strict=True) if not group]
    if lost:
        raise KitError(
            f"{predictor.path}: the group of {_listed(lost)} is not known; say it by "
            f"--map {_shell(lost[0])}=GROUP or in [classes] of the sets file, where GROUP is one of {', '.join(GROUPS)}"
        )
    return tuple(found)


def lookup(groups: Sequence[str]) -> np.ndarray:
    """The table uint8 `[256]` from a class id to its group's id; VOID for ids that are no class."""
    table = np.full(256, VOID, np.uint8)
    table[: len(groups)] = [GROUPS.index(group) for group in groups]
    return table


@cache
def known() -> dict[str, str]:
    """Every class name that groups.toml lists, with its group."""
    listed = tomllib.loads(Path(__file__).with_name("groups.toml").read_text(encoding="utf-8"))
    return {name: group for group, names in listed.items() for name in names}


def _group_of(entry: ClassInfo, extra: Mapping[str, str]) -> str:
    if entry.name in extra:
        return extra[entry.name]
    words = re.split(r"[\s_-]+", entry.name.strip().lower())
    if group := known().get(" ".join(words)):
        return group
    if entry.group in GROUPS:
        return entry.group
    return words[0] if words[0] in GROUPS else ""


def _listed(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _shell(name: str) -> str:
    return name if re.fullmatch(r"[\w-]+", name) else f"'{name}'"
