"""Runs a .tflite file on pictures, as TFLite on a CPU does (XNNPACK)."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray

from ..errors import KitError


class TfliteRunner:
    """One interpreter of a file with one picture as input.

    Raises:
        KitError: where TFLite refuses the file, or its input is not `[1, h, w, 3]` of uint8, int8 or float32.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        if not path.is_file():
            raise KitError(f"{path}: no such file")
        try:
            # As bytes: the name need not be UTF-8.
            self.interpreter = Interpreter(model_path=os.fsencode(path), num_threads=threads)
            self.interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise KitError(f"{path}: TFLite refuses it: {str(error).splitlines()[0]}") from error
        self.input, self.output = self.interpreter.get_input_details()[0], self.interpreter.get_output_details()[0]
        shape = [int(size) for size in self.input["shape"]]
        if len(shape) != 4 or shape[0] != 1 or shape[3] != 3:
            raise KitError(f"{path}: its input is {shape}; [1, height, width, 3] was expected")
        if self.input["dtype"] not in (np.uint8, np.int8, np.float32):
            raise KitError(f"{path}: its input is {np.dtype(self.input['dtype'])}; uint8, int8 or float32 was expected")
        self.height, self.width = shape[1], shape[2]

    def __call__(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Logits `[n, h / s, w / s, classes]` of uint8 pictures `[n, h, w, 3]`, of the input's size."""
        raw = self.raw(pictures)
        scale, zero_point = self.output["quantization"]
        if raw.dtype == np.float32 or not scale:
            return raw.astype(np.float32)
        logits: NDArray[np.float32] = (raw.astype(np.float32) - zero_point) * np.float32(scale)
        return logits

    def raw(self, pictures: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The output tensor's own numbers."""
        if pictures.dtype != np.uint8 or pictures.shape[1:] != (self.height, self.width, 3):
            raise KitError(
                f"pictures {pictures.dtype} {pictures.shape}; uint8 [n, {self.height}, {self.width}, 3] was expected"
            )
        outputs = []
        for picture in pictures:
            self.interpreter.set_tensor(self.input["index"], self.prepare(picture)[None])
            self.interpreter.invoke()
            outputs.append(self.interpreter.get_tensor(self.output["index"])[0])
        return np.stack(outputs)

    def prepare(self, picture: NDArray[np.uint8]) -> NDArray[np.generic]:
        """The picture as the input's own numbers: (pixel - 127) / 128 by its scale and zero point."""
        dtype = self.input["dtype"]
        value: NDArray[np.float32] = (picture.astype(np.float32) - np.float32(127)) / np.float32(128)
        if dtype == np.float32:
            return value
        scale, zero_point = self.input["quantization"]
        if not scale:
            raise KitError(f"the input has no scale, so what a pixel is in {np.dtype(dtype)} is unknown")
        limits = np.iinfo(dtype)
        steps: NDArray[np.generic] = np.clip(np.rint(value / scale) + zero_point, limits.min, limits.max).astype(dtype)
        return steps
