"""The float network as ONNX, by the exporter that PyTorch has had since 1.x; checked through onnxruntime."""

from __future__ import annotations

import importlib.util
import inspect
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import KitError
from ..files import write_whole
from ..model import PSPNet
from ..model.blocks import resize
from ..model.pspnet import PyramidPooling
from .agreement import Inputs, Runner, deployable, example

OPSET = 17
"""The newest that PyTorch 1.13 writes; later ones still do."""


class FixedPyramid(nn.Module):
    """The pyramid for features of one size. The exporter knows no adaptive pooling where it has lost track of the size,
    and here it loses it at the padding; the bins divide the size, so plain average pooling is the same."""

    def __init__(self, pyramid: PyramidPooling, height: int, width: int) -> None:
        super().__init__()
        self.windows = [(height // cells, width // cells) for cells in pyramid.bins]
        self.branches = pyramid.branches

    def forward(self, x: Tensor) -> Tensor:
        pooled = [
            resize(branch(F.avg_pool2d(x, window)), x)
            for window, branch in zip(self.windows, self.branches, strict=True)
        ]
        return torch.cat([x, *pooled], 1)


def export_onnx(model: PSPNet, path: Path, height: int, width: int, dynamic_batch: bool = False) -> None:
    """Writes `path`: input `image` float32 `[1, 3, height, width]`, RGB, (pixel - 127) / 128; output `logits` float32
    `[1, classes, height / s, width / s]`, s = the network's output stride. With `dynamic_batch` the 1 is free.

    Raises:
        KitError: when the size does not suit the network, torch lacks a package, or the file can't be written.
    """
    architecture = model.architecture
    architecture.check_size(height, width)
    network = deployable(model)
    fixed = FixedPyramid(network.pyramid, height // architecture.stride, width // architecture.stride)
    network.add_module("pyramid", fixed)
    # Newer versions have a second exporter, the default there, that needs packages beside torch.
    chosen: dict[str, Any] = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    buffer = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            torch.onnx.export(
                network,
                (example(height, width),),
                buffer,
                input_names=["image"],
                output_names=["logits"],
                opset_version=OPSET,
                dynamic_axes={"image": {0: "batch"}, "logits": {0: "batch"}} if dynamic_batch else None,
                **chosen,
            )
        except (ImportError, RuntimeError) as error:
            # Newer versions go through what they wrote with the onnx package.
            missing = error if isinstance(error, ImportError) else error.__cause__
            if not isinstance(missing, ImportError):
                raise
            name = missing.name or "onnx"
            raise KitError(f"{path}: torch {torch.__version__} needs {name} to write it: pip install {name}") from error
    write_whole(path, buffer.getvalue())


def runner(path: Path) -> Runner | None:
    """Runs an ONNX file on one CPU core; None where onnxruntime is not installed."""
    if importlib.util.find_spec("onnxruntime") is None:
        return None
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def run(inputs: Inputs) -> NDArray[np.float32]:
        return np.asarray(session.run(["logits"], {"image": inputs})[0], np.float32)

    return run
