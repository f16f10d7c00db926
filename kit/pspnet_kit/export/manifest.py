"""Writes the manifest.toml that pspnetd reads beside a model: names, colours, groups, digest, input, origin, figures.

docs/models.md says what each key means; pspnetd refuses keys that it does not know.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import KitError
from ..files import digest, write_whole

MEAN, STD = 127, 128
"""Of the network's input, per channel: real = (pixel - mean) / std."""
HEAD = """\
# What pspnetd needs to know about {file} and can't read from the file itself. README.md is the model card.

"""
OWN_INPUT = f" The input tensor has scale 1/{STD}: a pixel is its tensor value up to one subtraction."
INPUT = """
# real = (pixel - mean) / std.{told}
[input]
mean = [{mean}]
std = [{std}]
"""
CLASSES = """
# In the order of the output's channels.
"""


@dataclass(frozen=True)
class Pixels:
    """Means and deviations of R, G and B, in pixels: real = (pixel - mean) / std."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]


OWN = Pixels((MEAN,) * 3, (STD,) * 3)
"""Of the networks that this kit trains."""


@dataclass(frozen=True)
class Training:
    """Where the weights come from. What is empty is left out."""

    data: str = ""
    licence: str = ""
    citation: str = ""
    command: str = ""


@dataclass(frozen=True)
class Manifest:
    """What a manifest says of a model."""

    name: str
    version: str
    licence: str
    description: str
    classes: Sequence[Mapping[str, str]]
    """`name`, `color` (#rrggbb) and, where it belongs to one, `group`, in the order of the logits."""
    training: Training = field(default_factory=Training)
    metrics: Mapping[str, float] = field(default_factory=dict)
    pixels: Pixels | None = OWN
    """None: a pixel is its own tensor value."""


def write_manifest(manifest: Manifest, model: Path) -> Path:
    """Writes `manifest.toml` beside `model` with the model's digest, and that of what the Edge TPU's compiler made of
    it where that lies beside it too; returns its path.

    Raises:
        KitError: when the model can't be read, the manifest can't be written, or pspnetd would refuse it.
    """
    path = manifest_of(model)
    check(manifest, path)
    compiled = compiled_of(model)
    edgetpu = {"path": compiled.name, "sha256": digest(compiled)} if compiled.is_file() else {}
    try:
        text = as_toml(manifest, model.name, digest(model), edgetpu).encode("utf-8")
    except UnicodeEncodeError as error:
        raise KitError(f"{path}: a name in it is not UTF-8: {error.object[error.start : error.end]!r}") from error
    write_whole(path, text)
    return path


def manifest_of(model: Path) -> Path:
    """Where the manifest of a model is written."""
    return model.with_name("manifest.toml")


def compiled_of(model: Path) -> Path:
    """Where edgetpu_compiler puts what it makes of a model, if it is told the model's own folder."""
    return model.with_name(f"{model.stem}_edgetpu.tflite")


def check(manifest: Manifest, path: Path) -> None:
    """Holds the manifest to what pspnetd asks.

    Raises:
        KitError: naming `path` and the entry.
    """
    if not manifest.name:
        raise KitError(f"{path}: the name is empty")
    if not 2 <= len(manifest.classes) <= 255:
        raise KitError(f"{path}: {len(manifest.classes)} classes; expected 2 to 255")
    names = [entry.get("name", "") for entry in manifest.classes]
    for index, (name, entry) in enumerate(zip(names, manifest.classes, strict=True)):
        if not name:
            raise KitError(f"{path}: class {index} has no name")
        if name in names[:index]:
            raise KitError(f"{path}: class {name!r} is there twice")
        color = entry.get("color", "")
        if color and not re.fullmatch("#[0-9a-fA-F]{6}", color):
            raise KitError(f"{path}: class {name!r} has color {color!r}; expected #rrggbb")
    for name, value in manifest.metrics.items():
        if not math.isfinite(value):
            raise KitError(f"{path}: metric {name} is {value}; expected a finite number")


def as_toml(manifest: Manifest, file: str, sha256: str, edgetpu: Mapping[str, str] | None = None) -> str:
    """The text of the manifest of the model file `file`; `edgetpu` has path and digest of its compiled form, if any."""
    top = {key: getattr(manifest, key) for key in ("name", "version", "licence", "description")}
    parts = [HEAD.format(file=file), _strings(top), "\n[file]\n", _strings({"path": file, "sha256": sha256})]
    if edgetpu:
        parts += ["\n[edgetpu]\n", _strings(edgetpu)]
    if pixels := manifest.pixels:
        mean, std = (", ".join(map(_number, values)) for values in (pixels.mean, pixels.std))
        parts.append(INPUT.format(told=OWN_INPUT if pixels == OWN else "", mean=mean, std=std))
    parts.append(CLASSES)
    entries = [{key: entry.get(key, "") for key in ("name", "color", "group")} for entry in manifest.classes]
    parts.append("\n".join("[[classes]]\n" + _strings(entry) for entry in entries))
    if training := _strings(vars(manifest.training)):
        parts += ["\n[training]\n", training]
    if manifest.metrics:
        parts.append("\n[metrics]\n")
        parts += [f"{_key(name)} = {_number(value)}\n" for name, value in manifest.metrics.items()]
    return "".join(parts)


def _strings(values: Mapping[str, str]) -> str:
    """Lines `key = "value"`; what is empty is left out."""
    return "".join(f"{key} = {quoted(value)}\n" for key, value in values.items() if value)


def quoted(text: str) -> str:
    """A text as TOML writes it."""
    # JSON's escapes are TOML's, but for DEL, which TOML wants escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if re.fullmatch("[A-Za-z0-9_-]+", name) else quoted(name)


def _number(value: float) -> str:
    return repr(int(value)) if float(value).is_integer() else repr(float(value))
