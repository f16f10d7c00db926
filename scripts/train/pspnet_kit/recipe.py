"""A training run as data: a TOML file whose every key is a field here. The whole of it is stored with the result."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .data.augment import Augmentation
from .errors import KitError
from .model import Architecture

BACKBONE = "backbone:"
"""Before a checkpoint's name in `weights`: only its backbone is taken."""


@dataclass(frozen=True)
class Data:
    """What is learned from and what is judged on."""

    root: str = ""
    layout: str = "auto"
    train: str = "train"
    """Split, or several joined by +."""
    train_without: tuple[str, ...] = ()
    """File name patterns that are held out."""
    train_only: tuple[str, ...] = ()
    judge: str = ""
    """Split to judge on; none judges nothing."""
    judge_only: tuple[str, ...] = ()
    judge_without: tuple[str, ...] = ()


@dataclass(frozen=True)
class Phase:
    """Some epochs with crops of one size."""

    epochs: int = 0
    crop: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.epochs < 1 or min(self.crop) < 1:
            raise KitError(f"train.phases: expected epochs and crop of at least 1, not {self.epochs} and {self.crop}")


@dataclass(frozen=True)
class Train:
    """How it is learned."""

    size: tuple[int, int] = (288, 384)
    """Height and width of the network's input."""
    phases: tuple[Phase, ...] = (Phase(60, (240, 288)), Phase(20, (288, 384)))
    batch: int = 8
    """Per process."""
    optimiser: str = "adamw"
    rate: float = 1e-3
    backbone_rate: float = 0.5
    """Factor of the rate for layers that start from other weights."""
    decay: float = 0.02
    warmup: int = 100
    """Steps."""
    average: float = 0.998
    """Decay of the average of weights that is judged and saved."""
    class_power: float = 0.5
    """Class weights are frequency ** -power."""
    auxiliary: float = 0.4
    label_stride: int = 2
    """Of the labels that the loss is computed at; 1 is exact and slower."""
    qat: bool = False
    """Train with the roundings of the int8 file; starts from a trained checkpoint."""
    judge_every: int = 5
    """Epochs."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch", "label_stride", "judge_every"):
            if getattr(self, name) < 1:
                raise KitError(f"train.{name} {getattr(self, name)}: expected at least 1")


@dataclass(frozen=True)
class Distil:
    """L = alpha CE + (1 - alpha) T² KL(teacher ‖ student) + weight x structural loss."""

    teacher: str = ""
    alpha: float = 0.5
    temperature: float = 2.0
    structural: str = "channel-wise"
    structural_weight: float = 0.0
    teacher_size: tuple[int, int] = (0, 0)
    """Crops are scaled by this over train.size for the teacher; 0 leaves them."""


@dataclass(frozen=True)
class Recipe:
    """All of a run."""

    model: dict[str, Any] = field(default_factory=dict)
    """Fields of model.Architecture but for classes. A run that starts from a checkpoint may leave it out."""
    data: Data = field(default_factory=Data)
    train: Train = field(default_factory=Train)
    augment: Augmentation = field(default_factory=Augmentation)
    distil: Distil = field(default_factory=Distil)
    weights: str = "imagenet"
    """What the network starts from: imagenet, none, a checkpoint of this kit (all of it), or backbone:CHECKPOINT (only that)."""

    def architecture(self, classes: int) -> Architecture:
        """The network, for a data set of that many classes."""
        return Architecture.from_dict({"classes": classes, **self.model})

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def read(path: Path, overrides: list[str]) -> Recipe:
    """Reads a recipe; each override is `table.key=value` with the value in TOML's own form.

    Raises:
        KitError: naming the file, and the key or line.
    """
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise KitError(f"{path}: {error.strerror or error}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise KitError(f"{path}: {error}") from error
    for text in overrides:
        _override(values, text)
    try:
        return _build(Recipe, values, "")
    except KitError as error:
        raise KitError(f"{path}: {error}") from error


def _override(values: dict[str, Any], text: str) -> None:
    name, equals, value = text.partition("=")
    if not equals:
        raise KitError(f"--set {text}: expected table.key=value")
    *tables, key = name.strip().split(".")
    if not all((*tables, key)):
        raise KitError(f"--set {text}: expected table.key=value")
    for table in tables:
        values = values.setdefault(table, {})
        if not isinstance(values, dict):
            raise KitError(f"--set {text}: {table} is not a table")
    try:
        values[key] = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        values[key] = value.strip()


def _build(kind: Any, values: Any, where: str) -> Any:
    """A dataclass from plain values, with every key and type checked."""
    if not isinstance(values, dict):
        raise KitError(f"{where or 'recipe'}: expected a table")
    fields = {f.name: f for f in dataclasses.fields(kind)}
    if unknown := sorted(set(values) - set(fields)):
        raise KitError(f"unknown key {where}{unknown[0]}; known are {', '.join(sorted(fields))}")
    built: dict[str, Any] = {}
    for name, value in values.items():
        default = fields[name].default
        if default is dataclasses.MISSING and fields[name].default_factory is not dataclasses.MISSING:
            default = fields[name].default_factory()  # type: ignore[misc, operator]
        built[name] = _value(value, default, f"{where}{name}")
    return kind(**built)


def _value(value: Any, default: Any, where: str) -> Any:
    if where == "model":
        if not isinstance(value, dict):
            raise KitError(f"{where}: expected a table")
        return value
    if dataclasses.is_dataclass(default):
        return _build(type(default), value, f"{where}.")
    if where == "train.phases":
        if not isinstance(value, list) or not value:
            raise KitError(f"{where}: expected at least one table with epochs and crop")
        return tuple(_build(Phase, phase, f"{where}.") for phase in value)
    if isinstance(default, tuple):
        return _list(value, default, where)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise KitError(f"{where}: expected {type(default).__name__}, not {value!r}")
    return value


def _list(value: Any, default: tuple[Any, ...], where: str) -> tuple[Any, ...]:
    """Numbers like those of `default` and as many; a list that is empty by default takes any number of items."""
    if not isinstance(value, list):
        raise KitError(f"{where}: expected a list, not {value!r}")
    if not default:
        kind = int if where.endswith("classes") else str
        return tuple(_value(item, kind(), f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(default):
        raise KitError(f"{where}: expected a list of {len(default)}, not {value!r}")
    return tuple(_value(item, like, where) for item, like in zip(value, default))
