"""Holds an adopted network to its original: runs both on the same pictures, compares classes and logits."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.resize import resize
from ..errors import KitError
from ..judge.decode import decode, positions
from ..judge.preprocess import PixelMap
from . import child
from .cut import pack, show
from .ends import TO_NCHW, Ends
from .original import Original

WARN_BELOW = 0.8
"""A share of pixels with the same class at another input size that deserves a warning."""


@dataclass(frozen=True)
class Agreement:
    """Over all pictures."""

    pictures: int
    pixels: float
    """Share of the pixels of the original's picture with the same class, 0 to 1."""
    worst: float
    """The smallest share of one picture."""
    equal_logits: bool | None
    """Whether the logits are those of the original, bit for bit; None where they have another size."""

    def __str__(self) -> str:
        most = f"{100 * self.pixels:.2f} % of the pixels have the original's class"
        return f"{most}, {100 * self.worst:.2f} % in the worst of {self.pictures} pictures"


@dataclass(frozen=True)
class Run:
    """A network's file with what is needed to feed it and to read its answer."""

    content: bytes
    size: tuple[int, int]
    pixel_map: PixelMap


@dataclass(frozen=True)
class Answers:
    """Of the original, for each picture."""

    size: tuple[int, int]
    classes: list[np.ndarray]
    """uint8 maps of `size`."""
    logits: list[np.ndarray]

    def compare(self, run: Run, pictures: Sequence[np.ndarray], scale: float, path: Path) -> Agreement:
        """How far the network of `run` agrees with them on the same pictures; its logits have `scale`.

        Raises:
            KitError: when TensorFlow Lite can't run it.
        """
        tensors = [run.pixel_map.apply(resize(picture, *run.size)) for picture in pictures]
        shares, equal = [], True
        for number, (logits,) in enumerate(run_all(run.content, tensors, path, 1)):
            found, _ = decode(logits[0], *self.size, scale)
            shares.append(float((found == self.classes[number]).mean()))
            equal = equal and np.array_equal(logits, self.logits[number])
        is_same = run.size == self.size
        return Agreement(len(pictures), float(np.mean(shares)), min(shares), equal if is_same else None)


def generated(count: int = 2) -> list[np.ndarray]:
    """Pictures of gradients and noise, always the same: enough to compare logits, not to compare classes."""
    noise = np.random.default_rng(0)
    rows, columns = np.mgrid[0:240, 0:320]
    ramp = np.stack([rows, columns, rows + columns], axis=-1) * 255 // 560
    return [np.clip(ramp + noise.normal(0, 40, ramp.shape), 0, 255).astype(np.uint8) for _ in range(count)]


def answers(original: Original, ends: Ends, pixel_map: PixelMap, pictures: Sequence[np.ndarray]) -> Answers:
    """What the original says of the pictures.

    Raises:
        KitError: when TensorFlow Lite can't run it.
    """
    model = original.model()
    source = model.subgraphs[0].tensors[ends.input.index]
    first = model.subgraphs[0].tensors[int(model.subgraphs[0].inputs[0])]
    graph = original.graph()
    is_float = graph.inputs[0].dtype == "FLOAT32"
    turned = [operator for operator in ends.before if operator.name == "TRANSPOSE"]
    scale_of = [quantisation(tensor)[0] for tensor in model.subgraphs[0].tensors]
    show(model, graph, ends)
    size = (ends.input.shape[1], ends.input.shape[2])
    tensors = []
    for picture in pictures:
        tensor = pixel_map.apply(resize(picture, *size))
        if is_float:
            scale, zero_point = quantisation(source)
            tensor = ((tensor.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)).astype(np.float32)
        elif first.type != source.type:
            raise KitError(f"{original.path}: its input has another type than the tensor behind it; expected float32")
        tensors.append(np.ascontiguousarray(tensor.transpose(TO_NCHW)) if turned else tensor)
    classes, logits = [], []
    for answer, cut in run_all(pack(model, original.path), tensors, original.path, 2):
        classes.append(class_map(answer, ends, size, scale_of[ends.answer.index]))
        logits.append(cut)
    return Answers(size, classes, logits)


def class_map(answer: np.ndarray, ends: Ends, size: tuple[int, int], scale: float) -> np.ndarray:
    """Class ids of `size`, from ids `[…, h, w, …]` or scores `[1, h, w, classes]` of `scale`."""
    if ends.are_ids:
        shape = [extent for extent in answer.shape if extent != 1]
        ids = answer.reshape(shape if len(shape) == 2 else answer.shape[1:3])
        rows, columns = ((2 * np.arange(to) + 1) * of // (2 * to) for to, of in zip(size, ids.shape, strict=True))
        return ids[rows[:, None], columns[None, :]].astype(np.uint8)
    if answer.dtype != np.float32:
        return decode(answer[0], *size, scale)[0]
    scores = answer[0]
    for axis, side in enumerate(size):
        cells, distance = positions(side, scores.shape[axis])
        weight = np.expand_dims(distance.astype(np.float32) / (1 << 15), tuple(a for a in range(3) if a != axis))
        after = np.minimum(cells + 1, scores.shape[axis] - 1)
        scores = scores.take(cells, axis=axis) * (1 - weight) + scores.take(after, axis=axis) * weight
    return scores.argmax(axis=2).astype(np.uint8)


def quantisation(tensor: Any) -> tuple[float, int]:
    """Scale and zero point of the schema's tensor; 0 where it has no scale."""
    found = tensor.quantization
    if found is None or found.scale is None or not len(found.scale):
        return 0.0, 0
    zero_points = found.zeroPoint
    return float(found.scale[0]), 0 if zero_points is None or not len(zero_points) else int(zero_points[0])


def run_all(content: bytes, tensors: Sequence[np.ndarray], path: Path, outputs: int) -> Iterator[list[np.ndarray]]:
    """The outputs for each input tensor, computed by TensorFlow Lite in another process."""
    with scratch() as folder:
        try:
            model = folder / "model.tflite"
            model.write_bytes(content)
            for number, tensor in enumerate(tensors):
                np.save(folder / f"input_{number}.npy", tensor)
        except OSError as error:
            raise KitError(f"{folder}: can't be written: {error.strerror or error}") from error
        child.run(model, folder, len(tensors), path)
        for number in range(len(tensors)):
            yield [np.load(folder / f"output_{number}_{place}.npy") for place in range(outputs)]


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder for a while.

    Raises:
        KitError: when there is no place for one.
    """
    try:
        holder = tempfile.TemporaryDirectory(prefix="pspnet-kit-")
    except OSError as error:
        raise KitError(f"{tempfile.gettempdir()}: can't be written: {error.strerror or error}") from error
    with holder as folder:
        yield Path(folder)
