"""Holds what a checkpoint says to the form that every command relies on: a foreign one is one error, with its key."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .errors import KitError, shown
from .model import Architecture

NEEDED = ("architecture", "model", "classes", "input")
LARGEST_SIDE = 8192
"""Pixels of the input: as much as `kit adopt` takes."""


def check(path: Path, content: Mapping[str, Any]) -> Architecture:
    """The architecture of a network's checkpoint, whose other entries are of the right types and sizes then.

    Raises:
        KitError: naming the file and the entry, or the tensor that isn't finite.
    """
    if missing := [key for key in NEEDED if key not in content]:
        raise KitError(f"{path}: not a checkpoint of a network: {', '.join(missing)} missing")
    for key, kind in (("architecture", dict), ("model", dict), ("classes", list), ("input", dict)):
        _typed(path, key, content[key], kind)
    for key, kind in (("history", list), ("metrics", dict), ("data", dict), ("ranges", dict)):
        _typed(path, key, content.get(key, kind()), kind)
    try:
        architecture = Architecture.from_dict(content["architecture"])
        height, width = (content["input"].get(key) for key in ("height", "width"))
        if not all(type(side) is int and side <= LARGEST_SIDE for side in (height, width)):
            raise KitError(
                f"input {shown(height)} x {shown(width)}: expected height and width of at most {LARGEST_SIDE} pixels"
            )
        architecture.check_size(height, width)
    except KitError as error:
        raise KitError(f"{path}: {error}") from error
    _check_classes(path, content["classes"], architecture.classes)
    _check_tables(path, content)
    _check_tensors(path, content["model"])
    return architecture


def _check_classes(path: Path, classes: list[Any], count: int) -> None:
    if len(classes) != count:
        raise KitError(f"{path}: names {len(classes)} classes, the network has {count}")
    for index, entry in enumerate(classes):
        _typed(path, f"classes[{index}]", entry, dict)
        for key in ("name", "color", "group"):
            _typed(path, f"classes[{index}].{key}", entry.get(key, None if key == "name" else ""), str)


def _check_tables(path: Path, content: Mapping[str, Any]) -> None:
    """History, metrics, ranges and what is told of the data."""
    data = content.get("data", {})
    for source in (data, *_typed(path, "data.sources", data.get("sources", []), list)):
        for key in ("name", "licence", "citation"):
            _typed(path, f"data.{key}", _typed(path, "data.sources", source, dict).get(key, ""), str)
    for index, step in enumerate(content.get("history", [])):
        _typed(path, f"history[{index}]", step, dict)
        for place, layer in enumerate(_typed(path, f"history[{index}].layers", step.get("layers", []), list)):
            if step.get("command") == "codebook":
                _typed(path, f"history[{index}].layers[{place}]", layer, dict)
                _typed(path, f"history[{index}].layers[{place}].name", layer.get("name"), str)
    for name, value in content.get("metrics", {}).items():
        if type(value) not in (int, float):
            raise KitError(f"{path}: metrics.{name} is {shown(value)}, expected a number")
    for name, ends in content.get("ranges", {}).items():
        numbers = isinstance(ends, list) and len(ends) == 2 and all(type(end) in (int, float) for end in ends)
        if not numbers or not all(math.isfinite(end) for end in ends):
            raise KitError(f"{path}: ranges.{name} is {shown(ends)}, expected a least and a greatest value")


def _check_tensors(path: Path, weights: dict[Any, Any]) -> None:
    for name, tensor in weights.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
            raise KitError(f"{path}: model.{shown(name)} is {shown(tensor)}, expected a tensor")
        if tensor.is_complex() or not torch.isfinite(tensor).all():
            raise KitError(f"{path}: {name} has weights that are infinite or no numbers; train it again")
        if name.endswith("running_var") and bool((tensor < 0).any()):
            raise KitError(f"{path}: {name} has variances below 0")


def _typed(path: Path, key: str, value: Any, kind: type) -> Any:
    if not isinstance(value, kind):
        expected = {"dict": "a table", "list": "a list", "str": "a text"}[kind.__name__]
        raise KitError(f"{path}: {key} is {shown(value)}, expected {expected}")
    return value
