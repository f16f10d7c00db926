"""Cuts a ModelT down to what lies between two tensors, and writes it as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import KitError
from ..export.flatbuffer import AlignedBuilder
from ..export.tflite_reader import BROKEN, Graph
from .ends import Ends, kept

METADATA = b"TFLITE_METADATA"
"""Describes the ends of the original, and leads into a ZIP archive behind it: neither is there any more."""


def cut(model: Any, graph: Graph, ends: Ends, description: str) -> None:
    """Leaves of `model`, whose graph is `graph`, what leads from `ends.input` to `ends.output`."""
    main = model.subgraphs[0]
    main.operators = [main.operators[each.index] for each in kept(graph, ends.input.index, ends.output.index)]
    main.inputs, main.outputs = [ends.input.index], [ends.output.index]
    model.description, model.signatureDefs = description, None
    model.metadata = [entry for entry in model.metadata or [] if entry.name != METADATA]
    # All sizes are fixed: a batch that was left open is 1.
    for tensor in main.tensors:
        tensor.shapeSignature = None
    compact(model)


def show(model: Any, graph: Graph, ends: Ends) -> None:
    """Lets `model` give two outputs, `ends.answer` and the logits that it is cut at; what neither needs is left out.

    The picture goes in as it does in the original.
    """
    main = model.subgraphs[0]
    needed = {each.index for index in (ends.answer.index, ends.output.index) for each in kept(graph, -1, index)}
    main.operators = [main.operators[index] for index in sorted(needed)]
    main.outputs = [ends.answer.index, ends.output.index]
    model.signatureDefs = None
    compact(model)


def compact(model: Any) -> None:
    """Drops tensors, buffers, operator codes and subgraphs that nothing refers to: no operator that can be adopted runs
    another subgraph."""
    main = model.subgraphs[0]
    model.subgraphs = [main]
    used = {int(index) for index in (*main.inputs, *main.outputs)}
    for operator in main.operators:
        # One that reads nothing may have no list of it.
        operator.inputs = [] if operator.inputs is None else operator.inputs
        used.update(int(index) for index in (*operator.inputs, *operator.outputs) if index >= 0)
    tensors = {old: new for new, old in enumerate(sorted(used))}
    main.tensors = [main.tensors[old] for old in tensors]
    main.inputs, main.outputs = [tensors[int(i)] for i in main.inputs], [tensors[int(i)] for i in main.outputs]
    for operator in main.operators:
        operator.inputs = [tensors[int(index)] if index >= 0 else -1 for index in operator.inputs]
        operator.outputs = [tensors[int(index)] for index in operator.outputs]
        operator.intermediates = None
    # Buffer 0 is empty by convention.
    holders = [*main.tensors, *(model.metadata or [])]
    buffers = {old: new for new, old in enumerate(sorted({0, *(holder.buffer for holder in holders)}))}
    model.buffers = [model.buffers[old] for old in buffers]
    for holder in holders:
        holder.buffer = buffers[holder.buffer]
    model.metadataBuffer = None
    codes = {old: new for new, old in enumerate(sorted({operator.opcodeIndex for operator in main.operators}))}
    model.operatorCodes = [model.operatorCodes[old] for old in codes]
    for operator in main.operators:
        operator.opcodeIndex = codes[operator.opcodeIndex]


def pack(model: Any, path: Path) -> bytes:
    """The file's bytes; `path` is what errors name.

    Raises:
        KitError: when the original has values that no file can have.
    """
    builder = AlignedBuilder(1 << 16)
    try:
        builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    except BROKEN as error:
        raise KitError(f"{path}: a damaged TFLite model ({error})") from error
    return bytes(builder.Output())
