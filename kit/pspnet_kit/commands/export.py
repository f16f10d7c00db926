"""Writes the float network of a checkpoint for other runtimes, each file checked against PyTorch.

TFLite, which pspnetd runs, is `kit quantise`'s business.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import check_file

if TYPE_CHECKING:
    from ..export.agreement import Inputs, Runner
    from ..model import PSPNet

HELP = "write the float network as ONNX, TorchScript or torch.export, checked against PyTorch"
FORMATS = {"onnx": ".onnx", "torchscript": ".ts", "torch-export": ".pt2"}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    parser.add_argument("--to", nargs="+", choices=FORMATS, required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument(
        "--pictures", type=Path, metavar="DIR", help="pictures to check with, up to 8 of them; generated ones otherwise"
    )
    parser.add_argument(
        "--dynamic-batch",
        action="store_true",
        help="leave the batch free in ONNX and torch.export (TorchScript: always)",
    )


def run(args: argparse.Namespace) -> None:
    from ..checkpoint import load_model
    from ..data.pictures import read_pictures
    from ..export.agreement import network_inputs

    files = {form: args.output / (args.checkpoint.stem + FORMATS[form]) for form in args.to}
    for path in files.values():
        check_file(path)
    model, meta = load_model(args.checkpoint)
    height, width = int(meta["input"]["height"]), int(meta["input"]["width"])
    pictures = read_pictures(args.pictures) if args.pictures else generated(height, width)
    inputs = network_inputs(pictures, height, width)
    for form, path in files.items():
        print(f"{path}: {export(model, form, path, inputs, args.dynamic_batch)}")


def export(model: PSPNet, form: str, path: Path, inputs: Inputs, dynamic_batch: bool) -> str:
    """Writes and checks one file; the result is what there is to say of it.

    Raises:
        KitError: when the file is not the network; it is removed then.
    """
    from ..export import onnx, torchscript
    from ..export.agreement import check_export

    height, width = inputs.shape[2:]
    checked: Runner | None
    if form == "onnx":
        onnx.export_onnx(model, path, height, width, dynamic_batch)
        checked = onnx.runner(path)
        if checked is None:
            return "written, NOT checked: onnxruntime is not installed (pip install onnxruntime)"
    elif form == "torchscript":
        torchscript.export_torchscript(model, path, height, width)
        checked = torchscript.torchscript_runner(path)
    else:
        torchscript.export_program(model, path, height, width, dynamic_batch)
        checked = torchscript.program_runner(path)
    try:
        return str(check_export(model, checked, inputs, path))
    except KitError:
        path.unlink(missing_ok=True)
        raise


def generated(height: int, width: int) -> list[NDArray[np.uint8]]:
    """Three pictures with smooth parts, edges and noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    smooth = np.stack([255 * y / height, 255 * x / width, 127 + 0 * x], -1)
    squares = np.repeat(255 * ((y // 16 + x // 16) % 2)[..., None], 3, -1)
    noise = random.integers(0, 256, (height, width, 3))
    return [picture.astype(np.uint8) for picture in (smooth, squares, noise)]
