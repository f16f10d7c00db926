"""Reads a foreign TFLite file without trusting it: what the other modules get has indices that lead somewhere.

What the network is, and whether pspnetd can use it, is ends.py's concern.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KitError
from ..export.tflite_reader import BYTES, TYPES, Graph, graph_of, unpack
from ..files import read_bytes
from . import child

LARGEST = 512 << 20
"""Bytes of a file, as pspnetd has it."""
LARGEST_TENSOR = 1 << 31
"""Elements."""


@dataclass(frozen=True)
class Original:
    """A file that was read once; `path` is what messages name."""

    path: Path
    content: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    def model(self) -> Any:
        """A ModelT of one's own, to change."""
        return parse(self.content, self.path)

    def graph(self) -> Graph:
        return graph_of(self.model(), self.path)


def read(path: Path) -> Original:
    """Reads and checks the file.

    Raises:
        KitError: when it can't be read, is too large or no TFLite model, or is damaged.
    """
    try:
        content = read_bytes(path, LARGEST)
    except KitError as error:
        raise KitError(f"{error}; expected a .tflite file") from error
    if content[4:8] != b"TFL3":
        pointer = content.startswith(b"version https://git-lfs")
        found = "a Git LFS pointer, not the model itself" if pointer else f"bytes 4 to 8 are {content[4:8]!r}"
        raise KitError(f"{path}: no TFLite model ({found}; expected b'TFL3')")
    child.parse(path, path)
    return Original(path, content)


def parse(content: bytes, path: Path) -> Any:
    """A checked ModelT of a file's bytes.

    Raises:
        KitError: naming what doesn't fit.
    """
    model = unpack(content, path)
    graph_of(model, path)
    for problem in _problems(model):
        raise KitError(f"{path}: a damaged TFLite model ({problem})")
    return model


def _problems(model: Any) -> Iterable[str]:
    main = model.subgraphs[0]
    tensors, buffers = main.tensors, model.buffers
    if any(buffer.offset > 1 for buffer in buffers):
        yield "its parameters lie behind the flatbuffer, the form of files over 2 GB, which is not read here"
    if any(getattr(tensor, "externalBuffer", 0) for tensor in tensors):
        yield "its parameters lie in another file, which is not read here"
    for entry in model.metadata or []:
        if not entry.buffer < len(buffers):
            yield f"its metadata {entry.name!r} is in buffer {entry.buffer}, of {len(buffers)}"
    for index, tensor in enumerate(tensors):
        yield from _tensor(index, tensor, buffers[tensor.buffer])
    given = {index for index, tensor in enumerate(tensors) if _constant(tensor, buffers) or tensor.isVariable}
    ends = [*_list(main.inputs), *_list(main.outputs)]
    if any(not 0 <= index < len(tensors) for index in ends):
        yield f"an input or output is tensor {ends}, of {len(tensors)}"
    made = given | set(_list(main.inputs))
    for number, operator in enumerate(main.operators):
        reads = [index for index in _list(operator.inputs) if index != -1]
        writes = _list(operator.outputs)
        if not writes or any(not 0 <= index < len(tensors) for index in (*reads, *writes)):
            yield f"operator {number} reads tensors {reads} and writes {writes}, of {len(tensors)}"
        elif lost := [index for index in reads if index not in made]:
            yield f"operator {number} reads tensor {lost[0]} before any operator has written it"
        elif twice := [index for index in writes if index in made]:
            yield f"operator {number} writes tensor {twice[0]}, which has its values already"
        made.update(writes)
    if lost := [index for index in _list(main.outputs) if index not in made]:
        yield f"no operator writes the output, tensor {lost[0]}"


def _tensor(index: int, tensor: Any, buffer: Any) -> Iterable[str]:
    elements = 1
    for extent in _list(tensor.shape):
        if extent < 0:
            yield f"tensor {index} has the shape {_list(tensor.shape)}"
        elements *= extent
    if elements > LARGEST_TENSOR:
        yield f"tensor {index} has {elements} elements"
    kind = TYPES.get(tensor.type, "")
    held = 0 if buffer.data is None else len(buffer.data)
    if held and kind in BYTES and tensor.sparsity is None and held != elements * BYTES[kind]:
        yield f"tensor {index}, {kind} {_list(tensor.shape)}, has {held} bytes; expected {elements * BYTES[kind]}"


def _constant(tensor: Any, buffers: Any) -> bool:
    data = buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _list(values: Any) -> list[int]:
    return [] if values is None else [int(value) for value in values]
