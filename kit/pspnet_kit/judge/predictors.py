"""One way to ask any model for a class map: a float checkpoint in PyTorch or a .tflite file through ai-edge-litert.

The picture is resized and the logits are decoded as the daemon does it, so that only the network differs. The daemon
itself is asked in daemon.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data import ClassInfo, origin
from ..data.resize import resize
from ..errors import KitError
from ..files import read_toml, real
from .decode import BAND, FRACTION, bands, decode
from .preprocess import PixelMap

SUFFIXES = (".pt", ".tflite")


class Predictor(Protocol):
    """A model that is ready to run on pictures of any size."""

    name: str
    path: Path
    size: tuple[int, int]
    """Height and width of the input."""
    classes: int
    class_names: tuple[str, ...]
    """Empty where the file does not tell."""
    class_infos: tuple[ClassInfo, ...]
    """The same with colour and group; both empty where they are not said."""
    origin: dict[str, Any]
    """Where the weights come from, as a part for origin.join."""

    def predict(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """The class map and the confidence of a picture.

        Args:
            image: uint8 `[h, w, 3]`, RGB.

        Returns:
            uint8 `[h, w]`, and float32 `[h, w]`, the softmax probability of the class; None where it is unknown.
        """
        ...

    def scores(self, image: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        """The logits of a picture's pixels in bands of rows, from top to bottom.

        Yields:
            The rows, and float32 `[rows, w, classes]`, whose first greatest is the class that `predict` tells.
        """
        ...


class TorchPredictor:
    """A checkpoint, in float on the CPU. Input: (pixel - 127) / 128."""

    def __init__(self, path: Path, name: str = "") -> None:
        import torch

        from ..checkpoint import load_model

        self.path, self.name = path, name or default_name(path)
        self.model, meta = load_model(path)
        self.model.eval()
        self.size = (int(meta["input"]["height"]), int(meta["input"]["width"]))
        self.class_infos = _infos(meta["classes"])
        self.class_names = tuple(entry.name for entry in self.class_infos)
        self.classes = len(self.class_names)
        self.origin = origin.of_checkpoint(meta, self.name)
        self._torch = torch

    def logits(self, small: np.ndarray) -> Any:
        """Logits, a float tensor `[1, classes, h / s, w / s]`, for a picture of the input's size."""
        torch = self._torch
        x = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))[None].float()
        with torch.no_grad():
            logits = self.model((x - 127.0) / 128.0)
        if not torch.isfinite(logits).all():
            raise KitError(f"{self.path}: computes infinities or NaN for a picture; train it again")
        return logits

    def predict(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        confidence, mask = self._full(image).softmax(0).max(0)
        return mask.numpy().astype(np.uint8), confidence.numpy()

    def scores(self, image: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        full = self._full(image).numpy()
        for first in range(0, image.shape[0], BAND):
            rows = slice(first, min(first + BAND, image.shape[0]))
            yield rows, full[:, rows].transpose(1, 2, 0)

    def _full(self, image: np.ndarray) -> Any:
        logits = self.logits(resize(image, *self.size))
        functional = self._torch.nn.functional
        return functional.interpolate(logits, size=image.shape[:2], mode="bilinear", align_corners=False)[0]


class TflitePredictor:
    """A full-integer .tflite through ai-edge-litert (XNNPACK), one thread. Logits `[1, h / s, w / s, classes]`.

    Raises:
        KitError: when the file is no such model.
    """

    def __init__(self, path: Path, name: str = "") -> None:
        self.path, self.name = path, name or default_name(path)
        self.interpreter = _interpreter(path)
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise KitError(f"{path}: {len(inputs)} inputs and {len(outputs)} outputs; expected one of each")
        self._input, self._output = inputs[0], outputs[0]
        _check_end(path, "input", self._input, channels=3)
        _check_end(path, "output", self._output, channels=None)
        _, height, width, _ = (int(side) for side in self._input["shape"])
        self.size = (height, width)
        self.classes = int(self._output["shape"][3])
        self.scale = float(self._output["quantization"][0])
        manifest = manifest_beside(path)
        entry = manifest.get("input", {})
        scale, zero_point = self._input["quantization"]
        signed = self._input["dtype"] == np.int8
        self.pixel_map = PixelMap.new(signed, scale, zero_point, entry.get("mean"), entry.get("std"))
        self.class_infos = _infos(manifest.get("classes", ()))
        self.origin = origin.of_manifest(manifest, self.name)
        self.class_names = tuple(entry.name for entry in self.class_infos)

    def run(self, tensor: np.ndarray) -> np.ndarray:
        """Logits `[h / s, w / s, classes]`, int8 or uint8, for an input tensor `[1, h, w, 3]`."""
        self.interpreter.set_tensor(self._input["index"], tensor)
        self.interpreter.invoke()
        return self.interpreter.get_tensor(self._output["index"])[0]

    def predict(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        logits = self.run(self.pixel_map.apply(resize(image, *self.size)))
        return decode(logits, image.shape[0], image.shape[1], self.scale)

    def scores(self, image: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
        logits = self.run(self.pixel_map.apply(resize(image, *self.size)))
        for rows, values in bands(logits, image.shape[0], image.shape[1]):
            # Whole numbers below 2^24: no two of them become one in floating point.
            yield rows, values.astype(np.float32) * np.float32(self.scale / (1 << FRACTION))


def open_predictor(path: Path, name: str = "") -> Predictor:
    """The predictor for a .pt or .tflite file; `name` is what tables call it, else after the file.

    Raises:
        KitError: when the file is missing or no model of these kinds.
    """
    path = Path(path)
    if not path.is_file():
        raise KitError(f"{path}: no such file; expected a checkpoint (.pt) or a model (.tflite)")
    if path.suffix == ".pt":
        return TorchPredictor(path, name)
    if path.suffix == ".tflite":
        return TflitePredictor(path, name)
    raise KitError(f"{path}: expected a checkpoint (.pt) or a model (.tflite)")


def check_classes(predictor: Predictor, classes: Sequence[ClassInfo], root: Path) -> None:
    """Refuses a model whose classes are not those of the data.

    Raises:
        KitError: naming the first difference.
    """
    names = [entry.name for entry in classes]
    if predictor.classes != len(names):
        raise KitError(
            f"{predictor.path}: has {predictor.classes} classes, {root} has {len(names)} ({', '.join(names)})"
        )
    # A model without a manifest names no classes.
    for index, (own, other) in enumerate(zip(predictor.class_names, names, strict=False)):
        if own != other:
            raise KitError(f"{predictor.path}: class {index} is {own!r}, in {root} it is {other!r}")


def manifest_beside(path: Path) -> dict[str, Any]:
    """What pspnetd reads beside a model: `<stem>.toml`, or a manifest.toml that does not name another file; else {}.

    Raises:
        KitError: when it is no TOML, or pspnetd would not take what it says of files, input and classes.
    """
    own, shared = path.with_suffix(".toml"), path.with_name("manifest.toml")
    for candidate in (own, shared):
        if not candidate.is_file():
            continue
        manifest = read_toml(candidate)
        _check_manifest(candidate, manifest)
        other = manifest.get("file", {}).get("path", "")
        return manifest if candidate == own or other in ("", path.name) else {}
    return {}


def _check_manifest(path: Path, manifest: dict[str, Any]) -> None:
    """Holds what is used of a manifest to the types that it must have."""
    for key in ("file", "input", "training"):
        if not isinstance(manifest.get(key, {}), dict):
            raise KitError(f"{path}: {key} is {manifest[key]!r}, expected a table [{key}]")
    training = manifest.get("training", {})
    for table, keys in ((manifest, ("name", "licence")), (training, ("data", "licence", "citation"))):
        for key in keys:
            if not isinstance(table.get(key, ""), str):
                place = "training." if table is training else ""
                raise KitError(f"{path}: {place}{key} is {table[key]!r}, expected a text")
    for key in ("mean", "std"):
        values = manifest.get("input", {}).get(key, [1, 1, 1])
        numbers = isinstance(values, list) and all(type(value) in (int, float) for value in values)
        if not numbers or len(values) != 3 or (key == "std" and not all(value > 0 for value in values)):
            raise KitError(f"{path}: input.{key} is {values!r}, expected three numbers{' above 0' * (key == 'std')}")
    classes = manifest.get("classes", [])
    if not isinstance(classes, list):
        raise KitError(f"{path}: classes is {classes!r}, expected tables [[classes]]")
    for index, entry in enumerate(classes):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise KitError(f"{path}: classes[{index}] has no name, expected a text")


def _infos(entries: Sequence[Mapping[str, Any]]) -> tuple[ClassInfo, ...]:
    return tuple(ClassInfo(entry["name"], _text(entry, "color"), _text(entry, "group")) for entry in entries)


def _text(entry: Mapping[str, Any], key: str) -> str:
    value = entry.get(key, "")
    return value if isinstance(value, str) else ""


def default_name(path: Path) -> str:
    """What tables call a model: the file's stem, or its folder where the file is called as all of them are."""
    return real(path).parent.name if path.stem in ("model", "best", "last", "checkpoint") else path.stem


def _interpreter(path: Path) -> Any:
    try:
        from ..export.runner import TfliteRunner
    except ImportError:
        raise KitError(f"{path}: running it needs ai-edge-litert: pip install ai-edge-litert") from None
    return TfliteRunner(path, threads=1).interpreter


def _check_end(path: Path, end: str, tensor: dict[str, Any], channels: int | None) -> None:
    shape = [int(side) for side in tensor["shape"]]
    kind = np.dtype(tensor["dtype"]).name
    fits = len(shape) == 4 and shape[0] == 1 and (shape[3] == channels if channels else 2 <= shape[3] <= 255)
    if kind not in ("int8", "uint8") or not fits:
        wanted = f"[1, h, w, {channels or 'classes'}]"
        raise KitError(f"{path}: {end} {kind} {shape}: expected int8 or uint8 {wanted}")
    if not 0 < tensor["quantization"][0] < math.inf:
        raise KitError(f"{path}: {end} has no quantisation scale; expected a full-integer model")
