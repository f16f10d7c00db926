"""`kit quantise`: writes the int8 .tflite of a checkpoint and says what rounding costs.

A checkpoint that was trained with quantisation brings its own ranges; any other is calibrated on pictures.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import check_file
from ..judge.before_after import add_arguments, open_comparison

if TYPE_CHECKING:
    from ..export.runner import TfliteRunner

HELP = "post-training int8: calibrate on pictures, write a .tflite for the daemon"
MEASURED = 8
"""Pictures that int8 and float are compared and timed on."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the .tflite file to write")
    parser.add_argument(
        "--calibration", type=Path, nargs="+", default=[], metavar="DIR",
        help="data sets, or else folders of pictures, like those the model will see",
    )  # fmt: skip
    parser.add_argument("--split", default="train", help="of the data sets (default: train)")
    parser.add_argument("--pictures", type=int, default=100, help="how many are taken, evenly spread (default: 100)")
    parser.add_argument("--input", choices=("uint8", "int8"), default="uint8", help="the file's input (default: uint8)")
    parser.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="instead of the checkpoint's")
    parser.add_argument(
        "--method", choices=("minmax", "average", "percentile", "mse"), default="mse",
        help="how the range of a tensor is chosen (default: mse)",
    )  # fmt: skip
    parser.add_argument("--percentile", type=float, default=99.99, help="for --method percentile (default: 99.99)")
    parser.add_argument(
        "--nearest", action="store_true", help="round weights plainly, not for the least change of outputs"
    )
    parser.add_argument("--keep-biases", action="store_true", help="without the correction of biases")
    parser.add_argument("--force", action="store_true", help="calibrate on a single picture")
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Quantises, writes, compares."""
    import torch

    from ..checkpoint import load_model
    from ..compress.codebook import coded_layers
    from ..export.runner import TfliteRunner
    from ..export.tflite import export_tflite
    from ..quant.graph import trace
    from ..quant.ptq import Settings, choose_pictures, quantise
    from ..quant.quantised import quantise_graph
    from ..quant.refine import Refinement

    if not 50 < args.percentile <= 100:
        raise KitError(f"--percentile {args.percentile}: expected more than 50 and at most 100")
    if args.pictures < 1:
        raise KitError(f"--pictures {args.pictures}: expected at least 1")
    if args.out.suffix != ".tflite":
        raise KitError(f"{args.out}: expected the name of a .tflite file")
    check_file(args.out)
    comparison = open_comparison(args, args.checkpoint)
    model, meta = load_model(args.checkpoint)
    height, width = args.size or (meta["input"]["height"], meta["input"]["width"])
    model.architecture.check_size(height, width)
    trained = meta.get("ranges")
    pictures = read_pictures(args.calibration, args.split, args.pictures, (height, width), args.force or bool(trained))
    if not pictures and not trained:
        raise KitError(
            f"{args.checkpoint}: was not trained with quantisation, so it needs pictures to calibrate on: --calibration"
        )
    graph = trace(model, torch.zeros(1, 3, height, width))
    if trained:
        ir = quantise_graph(graph, trained)
    else:
        kept = coded_layers(meta.get("history", []))
        if kept:
            print(f"{len(kept)} convolutions keep the values of their codebooks")
        refinement = Refinement(rounding=not args.nearest, bias=not args.keep_biases, kept=kept)
        ir = quantise(graph, pictures, Settings(args.method, args.percentile, refinement), args.force)
    export_tflite(ir, args.out, f"PSPNet {model.architecture.backbone}, int8", args.input)
    print(f"{args.out}: {args.out.stat().st_size:,} bytes; the checkpoint {args.checkpoint.stat().st_size:,}")
    if pictures:
        shown = np.stack([pictures[i] for i in choose_pictures(len(pictures), MEASURED, force=True)])
        float_file = args.out.with_name(args.out.name + ".float")
        try:
            export_tflite(graph, float_file, "float32, to compare with")
            print(compare(TfliteRunner(float_file), TfliteRunner(args.out), shown))
        finally:
            float_file.unlink(missing_ok=True)
    if comparison:
        print(f"\n{comparison.table(args.out)}")


def read_pictures(
    places: list[Path], split: str, wanted: int, size: tuple[int, int], force: bool
) -> list[NDArray[np.uint8]]:
    """Up to `wanted` pictures, uint8 `[h, w, 3]` of `size`, evenly spread over all places. Says how many of which.

    Raises:
        KitError: where a place has no pictures, one cannot be read, or there is one alone and no `force`.
    """
    from ..data.pictures import read_image
    from ..data.resize import resize
    from ..quant.ptq import choose_pictures

    if not places:
        return []
    found = [find_pictures(place, split) for place in dict.fromkeys(places)]
    files = [(name, file) for name, pictures in found for file in pictures]
    chosen = [files[i] for i in choose_pictures(len(files), wanted, force)]
    taken = Counter(name for name, _ in chosen)
    told = (f"{taken[name]} of the {len(pictures)} pictures of {name}" for name, pictures in found)
    print(f"calibration: {', '.join(told)}")
    return [resize(read_image(file), *size) for _, file in chosen]


def find_pictures(place: Path, split: str) -> tuple[str, list[Path]]:
    """The pictures of a data set's split, or of a folder that is no data set, and in words which those are.

    Raises:
        KitError: where there are none.
    """
    from ..data.layouts import LAYOUTS
    from ..data.pictures import SUFFIXES, list_pictures

    plain = list_pictures(place)
    for open_layout, _ in LAYOUTS.values():
        if dataset := open_layout(place):
            return f"{place} ({split})", [pair.image for pair in dataset.pairs(split)]
    if not plain:
        raise KitError(f"{place}: no data set that is known here, and no picture ({', '.join(SUFFIXES)})")
    return str(place), plain


def compare(reference: TfliteRunner, quantised: TfliteRunner, pictures: NDArray[np.uint8]) -> str:
    """How far int8 is from float32 on `pictures` `[n, h, w, 3]`, and how long each takes."""
    results, milliseconds = [], []
    for runner in (reference, quantised):
        started = time.perf_counter()
        results.append(runner(pictures))
        milliseconds.append((time.perf_counter() - started) / len(pictures) * 1e3)
    exact, rounded = results
    same = float((exact.argmax(-1) == rounded.argmax(-1)).mean()) * 100
    return (
        f"int8 against float32 on {len(pictures)} pictures: logits {signal_to_noise(exact, rounded):.1f} dB, "
        f"{same:.2f} % of the classes alike; {milliseconds[1]:.1f} ms against {milliseconds[0]:.1f} ms (one thread)"
    )


def signal_to_noise(exact: NDArray[np.float32], rounded: NDArray[np.float32]) -> float:
    """Decibels; the signal is what varies around each class's mean."""
    signal = ((exact - exact.mean((0, 1, 2))) ** 2).sum()
    noise = ((exact - rounded) ** 2).sum()
    return float(10 * np.log10(signal / noise)) if noise > 0 else float("inf")
