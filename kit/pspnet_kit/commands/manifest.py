"""`kit manifest`: writes the manifest.toml of a .tflite from the checkpoint that it was made of.

Classes, data, licence of the data and the commands come from the checkpoint; name and figures from the command line.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import KitError
from ..files import check_file

HELP = "write manifest.toml beside a .tflite, from its checkpoint"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("model", type=Path, metavar="MODEL", help="the .tflite file")
    parser.add_argument("--checkpoint", type=Path, required=True, help="that the file was made of")
    parser.add_argument("--name", required=True, help="stands in every JSON line of pspnetd")
    parser.add_argument("--version", default="", help="of the model")
    parser.add_argument("--licence", default="", help="of the model")
    parser.add_argument("--description", default="", help="one line for people")
    parser.add_argument(
        "--metric", action="append", default=[], metavar="NAME=VALUE", help="a figure, as often as needed"
    )


def run(args: argparse.Namespace) -> None:
    """Reads the checkpoint, writes the manifest."""
    from .. import checkpoint
    from ..export.manifest import Manifest, Training, manifest_of, write_manifest

    metrics = parse_metrics(args.metric)
    if args.model.suffix != ".tflite" or not args.model.is_file():
        raise KitError(f"{args.model}: no such .tflite file")
    check_file(manifest_of(args.model))
    _, meta = checkpoint.load_model(args.checkpoint)
    classes = meta["classes"]
    check_outputs(args.model, len(classes), args.checkpoint)
    data = meta.get("data", {})
    training = Training(
        data.get("name", ""), data.get("licence", ""), data.get("citation", ""), told(meta.get("history", []))
    )
    manifest = Manifest(args.name, args.version, args.licence, args.description, classes, training, metrics)
    print(f"{write_manifest(manifest, args.model)}: written")


def parse_metrics(texts: Sequence[str]) -> dict[str, float]:
    """Figures by name, from `NAME=VALUE` each.

    Raises:
        KitError: naming the text.
    """
    metrics: dict[str, float] = {}
    for text in texts:
        name, _, number = text.partition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name or not math.isfinite(value):
            raise KitError(f"--metric {text}: expected NAME=VALUE with a finite number")
        if name in metrics:
            raise KitError(f"--metric {text}: {name} is there twice")
        metrics[name] = value
    return metrics


def check_outputs(model: Path, classes: int, checkpoint: Path) -> None:
    """Refuses a .tflite whose logits are of another number of classes: it was made of another checkpoint."""
    from ..export.tflite_reader import read

    shapes = [tensor.shape for tensor in read(model).outputs]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] != classes:
        found = ", ".join(str(list(shape)) for shape in shapes)
        raise KitError(f"{model}: its output is {found}, but {checkpoint} has {classes} classes: [1, h, w, {classes}]")


def told(history: Sequence[Mapping[str, Any]]) -> str:
    """The commands of a checkpoint's history in order, each with what decides its result."""
    return "; ".join(f"kit {_named(step)}" for step in history)


def _named(step: Mapping[str, Any]) -> str:
    try:
        return _step(step)
    except (KeyError, TypeError, AttributeError):
        # A foreign checkpoint, or another version's, may tell less of a step.
        return str(step.get("command", "?"))


def _step(step: Mapping[str, Any]) -> str:
    command = str(step.get("command", "?"))
    if command == "train":
        recipe = step["recipe"]
        kind = "qat" if recipe["train"].get("qat") else "distil" if recipe["distil"]["teacher"] else "train"
        return f"{kind} ({step['epochs']} epochs)"
    if command == "prune":
        return f"prune ({step['importance']}, to {step['macs'] / 1e6:.1f} M MACs)"
    if command == "factorise":
        shares = ("energy", "ratio", "saving")
        return "factorise (" + ", ".join(f"{k} {step['rule'][k]}" for k in shares if step["rule"][k] is not None) + ")"
    if command == "rebalance":
        return f"rebalance (class power {step['from']} to {step['to']})"
    return command
