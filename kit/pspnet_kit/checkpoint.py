"""Checkpoints: a finished network with all that is needed to use it, and the state of a run that may be killed."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoint_content import check
from .errors import KitError
from .files import read_bytes, write_whole
from .model import PSPNet, build
from .model.surgery import fit_to

LARGEST = 1 << 34
"""Bytes: the state of a run has the network four times."""
FOLDER = 0x10
"""MS-DOS's mark of a folder in a zip archive."""


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes the file whole or not at all: a kill or a full disk leaves the former one."""
    # Into memory first: PyTorch 1.13 ends the process when the file that it writes to fails.
    buffer = io.BytesIO()
    torch.save(_pack(content), buffer)
    write_whole(path, buffer.getvalue())


def read(path: Path) -> dict[str, Any]:
    """What save wrote.

    Raises:
        KitError: when there is no such file, or it is damaged or no checkpoint.
    """
    if not path.is_file():
        raise KitError(f"{path}: no such checkpoint")
    stored = read_bytes(path, LARGEST)
    _check_archive(path, stored)
    # At foreign content PyTorch raises whatever it stumbles over, by version: KeyError, OSError and more.
    try:
        packed = torch.load(io.BytesIO(stored), map_location="cpu", weights_only=True)
        content = _unpack(json.loads(packed["structure"]), packed["tensors"])
    except Exception as error:
        raise KitError(f"{path}: not a checkpoint of this kit") from error
    if set(packed) != {"structure", "tensors"} or not isinstance(content, dict):
        raise KitError(f"{path}: not a checkpoint of this kit")
    return content


def load_model(path: Path) -> tuple[PSPNet, dict[str, Any]]:
    """The network of a checkpoint in evaluation mode, in its true shapes, and everything else that the file says.

    Raises:
        KitError: naming the file, and the entry that is wrong or the first tensor that isn't finite or does not fit.
    """
    content = read(path)
    model = build(check(path, content))
    load_weights(model, content["model"], path)
    return model.eval(), {key: value for key, value in content.items() if key != "model"}


def load_backbone(model: PSPNet, path: Path) -> dict[str, Any]:
    """Fills the backbone from another network's, which may be deeper; returns all else that its file says.

    Raises:
        KitError: when that network has another kind of backbone, or a pruned or factorised one.
    """
    source, meta = load_model(path)
    own, theirs = model.backbone.state_dict(), source.backbone.state_dict()
    if (kind := source.architecture.backbone) != model.architecture.backbone:
        raise KitError(f"{path}: its backbone is {kind}, the recipe's is {model.architecture.backbone}")
    for name, tensor in own.items():
        if name not in theirs:
            raise KitError(f"{path}: its backbone has no {name}: it has fewer stages, or is factorised")
        if theirs[name].shape != tensor.shape:
            raise KitError(
                f"{path}: {name} of its backbone is {tuple(theirs[name].shape)}, the recipe's is {tuple(tensor.shape)}"
            )
    model.backbone.load_state_dict({name: theirs[name] for name in own})
    return meta


def after_step(meta: dict[str, Any], model: PSPNet, step: dict[str, Any]) -> dict[str, Any]:
    """The content of a checkpoint whose network a command changed: `step` joins the history.

    What was measured of the former network does not hold for this one, nor do the ranges of its quantisation.
    """
    kept = {key: value for key, value in meta.items() if key != "ranges"}
    return {**kept, "model": model.state_dict(), "history": [*meta.get("history", []), step], "metrics": {}}


def check_classes(path: Path, meta: dict[str, Any], wanted: list[str]) -> None:
    """Refuses a network of other classes than the data set's."""
    if (own := [c["name"] for c in meta["classes"]]) != wanted:
        raise KitError(f"{path}: knows the classes {own}, the data set has {wanted}")


def load_weights(model: PSPNet, weights: dict[str, Any], path: Path) -> None:
    """Puts a state dict into a freshly built network, whose shapes may have been pruned or factorised since."""
    try:
        fit_to(model, weights)
        model.load_state_dict(weights)
    except (KitError, RuntimeError, IndexError) as error:
        text = str(error).strip().splitlines()
        raise KitError(f"{path}: is of another architecture: {text[-1].strip()}") from error


def _check_archive(path: Path, stored: bytes) -> None:
    """Holds the file, a zip archive, to its own check sums, which PyTorch does not look at."""
    if not stored.startswith(b"PK\3\4"):
        kind = "a .tflite model" if stored[4:8] == b"TFL3" else "empty" if not stored else "no archive of PyTorch's"
        raise KitError(f"{path}: not a checkpoint of this kit: it is {kind}")
    try:
        with zipfile.ZipFile(io.BytesIO(stored)) as archive:
            # Of what is marked as a folder PyTorch reads nothing, and gives tensors of whatever the memory held.
            damaged = archive.testzip() or any(entry.external_attr & FOLDER for entry in archive.infolist())
    # A damaged header can say anything: an unknown compression, a password, a place outside of the file.
    except Exception as error:
        raise KitError(f"{path}: not a checkpoint of this kit, or cut off or damaged") from error
    if damaged:
        raise KitError(f"{path}: is damaged: its content is not what was written")


def _pack(content: dict[str, Any]) -> dict[str, Any]:
    """Tensors in a list and everything else as JSON that points into it: a form that loads without running any code,
    also where torch is too old to allow plain numbers there."""
    tensors: list[Tensor] = []

    def walk(value: Any) -> Any:
        if isinstance(value, Tensor):
            tensors.append(value)
            return {"tensor": len(tensors) - 1}
        if isinstance(value, dict):
            return {"items": [[key, walk(item)] for key, item in value.items()]}
        if isinstance(value, (list, tuple)):
            return [walk(item) for item in value]
        return value

    return {"structure": json.dumps(walk(content)), "tensors": tensors}


def _unpack(value: Any, tensors: list[Tensor]) -> Any:
    if isinstance(value, dict):
        if "tensor" in value:
            return tensors[value["tensor"]]
        return {key: _unpack(item, tensors) for key, item in value["items"]}
    if isinstance(value, list):
        return [_unpack(item, tensors) for item in value]
    return value
