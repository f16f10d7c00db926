"""A training run as data: a TOML file whose every key is a field here. The whole of it is stored with the result."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .data.augment import Augmentation
from .errors import KitError
from .files import read_toml
from .model import Architecture

OPTIMISERS = ("adamw", "sgd")
LEAST_CROP = 32
"""Pixels: what is left of less at the backbone's end can't be trained on."""
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
        if self.epochs < 1:
            raise KitError(f"train.phases: epochs {self.epochs}: expected at least 1")
        if min(self.crop) < LEAST_CROP:
            raise KitError(f"train.phases: crop {list(self.crop)}: expected at least {LEAST_CROP} pixels each way")


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
        for name in ("backbone_rate", "decay", "warmup", "class_power", "auxiliary", "seed"):
            if not 0 <= getattr(self, name) < math.inf:
                raise KitError(f"train.{name} {getattr(self, name)}: expected at least 0")
        if not 0 < self.rate < math.inf:
            raise KitError(f"train.rate {self.rate}: expected more than 0")
        if not 0 <= self.average < 1:
            raise KitError(f"train.average {self.average}: expected 0 to less than 1")
        if self.optimiser not in OPTIMISERS:
            raise KitError(f"train.optimiser {self.optimiser!r}: expected {' or '.join(OPTIMISERS)}")
        if (most := min(min(phase.crop) for phase in self.phases)) < self.label_stride:
            raise KitError(f"train.label_stride {self.label_stride}: expected at most {most}, the least side of a crop")


@dataclass(frozen=True)
class Distil:
    """L = alpha CE + (1 - alpha) T² KL(teacher ‖ student) + weight x structural loss with a teacher's checkpoint;
    L = label_weight CE + soft_weight KL(teacher ‖ student) over groups with the soft targets of a data set."""

    teacher: str = ""
    alpha: float = 0.5
    temperature: float = 2.0
    structural: str = "channel-wise"
    structural_weight: float = 0.0
    teacher_size: tuple[int, int] = (0, 0)
    """Crops are scaled by this over train.size for the teacher; 0 leaves them."""
    soft_weight: float = 0.0
    """Of the data set's soft targets; 0 does not read them."""
    soft_confidence: float = 1.0
    """A cell of them counts by its greatest probability to this power."""
    label_weight: float = 1.0
    """Of the labels' loss."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha <= 1:
            raise KitError(f"distil.alpha {self.alpha}: expected 0 to 1")
        if not 0 < self.temperature < math.inf:
            raise KitError(f"distil.temperature {self.temperature}: expected more than 0")
        for name in ("structural_weight", "soft_weight", "soft_confidence", "label_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise KitError(f"distil.{name} {getattr(self, name)}: expected at least 0")
        height, width = self.teacher_size
        if min(height, width) < 0 or (height == 0) != (width == 0):
            raise KitError(f"distil.teacher_size {[height, width]}: expected a height and a width, or [0, 0]")


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
    """What the network starts from: imagenet, none, a checkpoint of this kit, or backbone:CHECKPOINT, its backbone."""

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
    values = read_toml(path)
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
    except (ValueError, RecursionError):
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
            default = fields[name].default_factory()  # type: ignore[operator]
        built[name] = _value(value, default, f"{where}{name}")
    return kind(**built)


def _value(value: Any, default: Any, where: str) -> Any:
    if where == "model":
        return _model(value)
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


def _model(values: Any) -> dict[str, Any]:
    """The table as it is, with every key and type checked; what fits together is for Architecture to say."""
    if not isinstance(values, dict):
        raise KitError("model: expected a table")
    if "classes" in values:
        raise KitError("model.classes: is no key; the data set says what classes there are")
    defaults = {field.name: field.default for field in dataclasses.fields(Architecture) if field.name != "classes"}
    if unknown := sorted(set(values) - set(defaults)):
        raise KitError(f"unknown key model.{unknown[0]}; known are {', '.join(sorted(defaults))}")
    for name, value in values.items():
        if name == "bins":
            _list(value, (), "model.bins", int)
        else:
            _value(value, defaults[name], f"model.{name}")
    return values


def _list(value: Any, default: tuple[Any, ...], where: str, kind: type | None = None) -> tuple[Any, ...]:
    """Values like those of `default` and as many; a list that is empty by default takes any number of items."""
    if not isinstance(value, list):
        raise KitError(f"{where}: expected a list, not {value!r}")
    if not default:
        kind = kind or (int if where.endswith("classes") else str)
        return tuple(_value(item, kind(), f"{where}[{index}]") for index, item in enumerate(value))
    if len(value) != len(default):
        raise KitError(f"{where}: expected a list of {len(default)}, not {value!r}")
    return tuple(_value(item, like, where) for item, like in zip(value, default, strict=True))
