"""`kit codebook`: gives the weights of a trained network few values, and says what that saves.

The result stays a float checkpoint; `kit quantise` makes an int8 file of it whose weights keep those values.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import lzma
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import KitError
from ..files import check_file
from ..judge.before_after import add_arguments, open_comparison
from .quantise import read_pictures

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from ..compress.codebook import Report, Settings

HELP = "give weights few values by k-means (non-uniform quantisation)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--bits", type=int, required=True, help="of an index: codebooks have 2^bits values, 1 to 7")
    parser.add_argument(
        "--scope", choices=("layer", "channel"), default="layer",
        help="one codebook for a convolution, or for each of its output channels (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--only", nargs="+", default=("*",), metavar="PATTERN", help="layers, such as 'head.*'")
    parser.add_argument(
        "--data", type=Path, nargs="+", default=[], metavar="ROOT",
        help="data sets, or else folders of pictures: errors then count by what they do to the outputs",
    )  # fmt: skip
    parser.add_argument("--split", default="train", help="of the data sets (default: %(default)s)")
    parser.add_argument(
        "--pictures", type=int, default=16, help="how many are taken, evenly spread (default: %(default)s)"
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Reads, codes, writes, and prints sizes."""
    import torch

    from .. import checkpoint
    from ..compress.codebook import Settings, codebook
    from ..data.augment import to_input

    settings = Settings(args.bits, args.scope)
    if args.pictures < 1:
        raise KitError(f"--pictures {args.pictures}: expected at least 1")
    check_file(args.out)
    comparison = open_comparison(args, args.checkpoint)
    model, meta = checkpoint.load_model(args.checkpoint)
    size = (int(meta["input"]["height"]), int(meta["input"]["width"]))
    pictures = read_pictures(args.data, args.split, args.pictures, size, force=True)
    inputs = torch.stack([to_input(picture) for picture in pictures]) if pictures else None
    coded, report = codebook(model, size, settings, inputs, args.only)
    step = {
        "command": "codebook",
        "from": str(args.checkpoint),
        "settings": dataclasses.asdict(settings),
        "only": list(args.only),
        "data": [str(place) for place in args.data],
        "split": args.split,
        "pictures": len(pictures),
        "layers": [dataclasses.asdict(layer) for layer in report.layers],
        "left": report.left,
    }
    sizes = files(model, coded, size, pictures)
    # Last: a network that can't be quantised leaves no checkpoint.
    checkpoint.save(args.out, checkpoint.after_step(meta, coded, step))
    print(describe(report, settings))
    print(f"\n{sizes}")
    print(f"{args.out}: written; next: kit quantise {args.out}, which keeps the values")
    if comparison:
        print(f"\n{comparison.table(args.out)}")


def describe(report: Report, settings: Settings) -> str:
    """The largest layers and the sum as a table."""
    from ..compress.macs import table

    heads = ["layer", "weights", "int8", f"{settings.bits} bits", "Huffman", "error"]
    rows = [heads]
    for layer in sorted(report.layers, key=lambda layer: -layer.weights)[:10]:
        sizes = (layer.weights, layer.weights, layer.bytes, layer.huffman_bytes)
        rows.append([layer.name, *(f"{size:,}" for size in sizes), f"{layer.error:.3f}"])
    if len(report.layers) > 10:
        others = report.layers
        rest = sorted(others, key=lambda layer: -layer.weights)[10:]
        sums = [sum(getattr(layer, key) for layer in rest) for key in ("weights", "weights", "bytes", "huffman_bytes")]
        rows.append([f"{len(rest)} others", *(f"{size:,}" for size in sums), ""])
    if report.left:
        rows.append(["left plain", *[f"{report.left:,}"] * 4, ""])
    keys = ("weights", "weights", "bytes", "huffman_bytes")
    whole = [sum(getattr(layer, key) for layer in report.layers) + report.left for key in keys]
    rows.append(["all, bytes", *(f"{size:,}" for size in whole), ""])
    return table(rows)


def files(before: nn.Module, after: nn.Module, size: tuple[int, int], pictures: list[NDArray[np.uint8]]) -> str:
    """What the int8 files of both networks take, as they are and compressed for shipping, as a table."""
    from ..compress.macs import table

    # Ranges of activations don't change the weights, so that noise will do where there are no pictures.
    noise = np.random.default_rng(0).integers(0, 256, (2, *size, 3), dtype=np.uint8)
    shown = pictures[:2] if len(pictures) > 1 else list(noise)
    rows = [["int8 .tflite, bytes", "as it is", "gzip", "xz"]]
    for name, model in (("before", before), ("after", after)):
        data = int8_file(model, size, shown)
        packed = (data, gzip.compress(data, 9), lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))
        rows.append([name, *(f"{len(form):,}" for form in packed)])
    return table(rows)


def int8_file(model: nn.Module, size: tuple[int, int], pictures: list[NDArray[np.uint8]]) -> bytes:
    """The file that `kit quantise --nearest` would write, but for the ranges of activations, and for biases."""
    import torch

    from ..export.tflite import to_bytes
    from ..quant.graph import trace
    from ..quant.ptq import Settings, quantise
    from ..quant.refine import Refinement

    graph = trace(model, torch.zeros(1, 3, *size))
    return to_bytes(quantise(graph, pictures, Settings("minmax", refinement=Refinement(False, False))), "sizes")
