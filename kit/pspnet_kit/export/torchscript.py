"""The float network for PyTorch's own runtimes: TorchScript (a trace), and torch.export where torch has it."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import KitError
from ..files import write_whole
from ..model import PSPNet
from .agreement import Inputs, Runner, deployable, example


def export_torchscript(model: PSPNet, path: Path, height: int, width: int) -> None:
    """Writes a trace that `torch.jit.load` and libtorch read; input and output as ONNX's, any batch.

    Raises:
        KitError: when the size does not suit the network, or the file can't be written.
    """
    model.architecture.check_size(height, width)
    # Into memory first: PyTorch ends the process when the file that it writes to fails.
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        # What check_trace would repeat is compared on pictures afterwards, by check_export.
        torch.jit.save(torch.jit.trace(deployable(model), example(height, width), check_trace=False), buffer)
    write_whole(path, buffer.getvalue())


def export_program(model: PSPNet, path: Path, height: int, width: int, dynamic_batch: bool = False) -> None:
    """Writes what `torch.export.load` reads (`.pt2`); input and output as ONNX's.

    Raises:
        KitError: when this torch has no torch.export, the size does not suit the network, or the file can't be written.
    """
    model.architecture.check_size(height, width)
    export = _torch_export()
    network, dimensions = deployable(model), None
    # A batch of 1 would be taken for a constant.
    image = example(height, width).repeat(2 if dynamic_batch else 1, 1, 1, 1)
    if dynamic_batch:
        dimensions = ({0: export.Dim("batch", min=1, max=1024)},)
    buffer = io.BytesIO()
    with torch.no_grad():
        export.save(export.export(network, (image,), dynamic_shapes=dimensions), buffer)
    write_whole(path, buffer.getvalue())


def torchscript_runner(path: Path) -> Runner:
    """Runs a TorchScript file on the CPU."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return _runner(torch.jit.load(str(path), map_location="cpu"))


def program_runner(path: Path) -> Runner:
    """Runs a `.pt2` file on the CPU."""
    return _runner(_torch_export().load(str(path)).module())


def _torch_export() -> Any:
    if not hasattr(getattr(torch, "export", None), "save"):
        raise KitError(f"torch {torch.__version__} has no torch.export (2.1 has): export to TorchScript or ONNX")
    return torch.export


def _runner(module: Any) -> Runner:
    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.no_grad():
            return np.asarray(module(torch.from_numpy(inputs)).numpy(), np.float32)

    return run
