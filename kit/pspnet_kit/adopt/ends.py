"""Finds where a foreign network is to be cut: the integer picture that goes in, the integer logits that come out.

Behind the logits a file may have resizes, softmax, argmax, conversions of type and changes of the layout; before its
picture a QUANTIZE and a TRANSPOSE. None of them is needed: pspnetd does that itself. docs/models.md says what it takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

from ..errors import KitError
from ..export.edgetpu import COMPILED
from ..export.tflite_reader import CUSTOM, OPERATORS, Graph, Operator, Tensor

BUILTIN = set(OPERATORS.values()) - {CUSTOM}
RESIZES = ("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
POINTWISE = ("CAST", "DEQUANTIZE", "QUANTIZE", "SOFTMAX", "LOG_SOFTMAX", "LOGISTIC")
"""Operators that leave the order of a pixel's classes as it is."""
CALLS = (
    "IF", "WHILE", "CALL", "CALL_ONCE", "STABLEHLO_CASE", "STABLEHLO_COMPOSITE", "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE", "STABLEHLO_REDUCE_WINDOW", "STABLEHLO_SCATTER", "STABLEHLO_SORT", "STABLEHLO_WHILE",
)  # fmt: skip
"""Operators that run other subgraphs of the file."""
LAYOUTS = ("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
EIGHT_BITS = ("INT8", "UINT8")
TO_NCHW, TO_NHWC = [0, 3, 1, 2], [0, 2, 3, 1]
MOST_CLASSES = 255
LARGEST_SIDE = 8192


@dataclass(frozen=True)
class Ends:
    """Where to cut. Operators are in the order in which they run."""

    input: Tensor
    """NHWC `[1, height, width, 3]` of int8 or uint8."""
    output: Tensor
    """NHWC `[1, h, w, classes]` of int8 or uint8, with one scale."""
    before: tuple[Operator, ...]
    """What is cut in front of `input`."""
    after: tuple[Operator, ...]
    """What is cut behind `output`."""
    answer: Tensor
    """What the original says of a picture: class ids, or scores in NHWC. Its output, or what that is made of."""

    @property
    def classes(self) -> int:
        return self.output.shape[3]

    @property
    def are_ids(self) -> bool:
        """Whether `answer` holds class ids."""
        return not _holds_scores(self.answer, self.classes)


def find_ends(graph: Graph, path: Path, wanted: str = "", keep_resize: bool = False) -> Ends:
    """Where to cut the network; `wanted` is the name of the output, where there are several.

    Raises:
        KitError: when pspnetd can't have the network, with the reason.
    """
    _refuse_compiled(graph, path)
    if len(graph.inputs) != 1:
        raise KitError(f"{path}: {len(graph.inputs)} inputs ({_told(graph.inputs)}); expected one, a picture")
    source, before = _input(graph, path)
    chosen = _chosen(graph, path, wanted)
    made_by = {tensor.index: operator for operator in graph.operators for tensor in operator.outputs}
    chain, place, cut = [chosen], 0, list[Operator]()
    while (operator := made_by.get(chain[-1].index)) and _can_go(operator, made_by, keep_resize):
        cut.append(operator)
        chain.append(next(tensor for tensor in operator.inputs if tensor is not None))
    fitting = [number for number, tensor in enumerate(chain) if _fits(tensor)]
    if not fitting:
        raise KitError(f"{path}: {_why_not(chain, graph, made_by.get(chain[-1].index))}")
    place = fitting[-1]
    classes = chain[place].shape[3]
    answer = next(each for each in chain if _holds_scores(each, classes) or _holds_ids(each))
    ends = Ends(source, chain[place], tuple(before), tuple(reversed(cut[:place])), answer)
    refuse_operators(kept(graph, ends.input.index, ends.output.index), path)
    if ends.input.index not in {t.index for o in kept(graph, -1, ends.output.index) for t in o.variables}:
        raise KitError(f"{path}: the output '{chosen.name}' does not depend on the picture")
    refuse_shape(ends.input.shape, ends.output.shape, path)
    return ends


def kept(graph: Graph, source: int, output: int) -> list[Operator]:
    """The operators that `output` needs, in order; what makes the tensor `source` is not among them."""
    needed, operators = {output}, list[Operator]()
    for operator in reversed(graph.operators):
        made = {tensor.index for tensor in operator.outputs}
        if made & (needed - {source}):
            needed.update(tensor.index for tensor in operator.inputs if tensor is not None)
            operators.append(operator)
    return operators[::-1]


def refuse_shape(source: Sequence[int], output: Sequence[int], path: Path) -> None:
    """Holds both ends' shapes to what pspnetd takes: its crates/model/src/contract.rs has the same rules."""
    (height, width), (down, across) = source[1:3], output[1:3]
    if min(height, width) < 2 or max(height, width, down, across) > LARGEST_SIDE:
        raise KitError(f"{path}: a picture of {height}x{width}; expected sides of 2 to {LARGEST_SIDE}")
    if min(down, across) < 1 or (down == across == 1):
        raise KitError(f"{path}: one answer for the whole picture, {list(output)}; no segmentation network")
    if down > 2 * height or across > 2 * width:
        raise KitError(f"{path}: its output {list(output)} is larger than its picture: no segmentation network")
    ratio = (width / across) / (height / down)
    if max(ratio, 1 / ratio) > 1 + 1.5 / min(down, across):
        raise KitError(f"{path}: its output {list(output)} has another aspect than its picture {list(source)}")


def refuse_operators(operators: Sequence[Operator], path: Path) -> None:
    """Refuses what neither TensorFlow Lite has nor a cut can save."""
    for operator in operators:
        if operator.name in CALLS:
            raise KitError(
                f"{path}: operator {operator.index}, {operator.name}, runs another subgraph; it can't be adopted"
            )
        if operator.name not in BUILTIN:
            flex = operator.name.startswith("Flex")
            told = "an operator of TensorFlow that TensorFlow Lite lacks" if flex else "a custom operator"
            raise KitError(
                f"{path}: operator {operator.index}, {operator.name}, is {told}: pspnetd can't run it; "
                "export the network with TensorFlow Lite's own operators"
            )


def _refuse_compiled(graph: Graph, path: Path) -> None:
    if any(operator.name == COMPILED for operator in graph.operators):
        raise KitError(
            f"{path}: compiled for the Edge TPU, where the network can't be seen or changed any more; "
            "take the file that it was compiled from, mostly the name without _edgetpu"
        )


def _input(graph: Graph, path: Path) -> tuple[Tensor, list[Operator]]:
    """The tensor that takes the picture, and what is cut before it."""
    tensor, cut = graph.inputs[0], list[Operator]()
    while not (tensor.dtype in EIGHT_BITS and _is_picture(tensor)):
        readers = [operator for operator in graph.operators if tensor in operator.variables]
        if len(readers) != 1 or not _leads_in(readers[0]):
            raise KitError(f"{path}: {_why_no_picture(graph.inputs[0])}")
        cut.append(readers[0])
        tensor = readers[0].outputs[0]
    if graph.inputs[0].dynamic and any(extent < 2 for extent in graph.inputs[0].shape[1:3]):
        raise KitError(f"{path}: its input {graph.inputs[0]} has no fixed size; export it with a static shape")
    if tensor.data is not None:
        raise KitError(f"{path}: its input '{tensor.name}' is a constant of the file; export it without values")
    return tensor, cut


def _is_picture(tensor: Tensor) -> bool:
    return len(tensor.shape) == 4 and tensor.shape[0] == 1 and tensor.shape[3] == 3 and tensor.scales <= 1


def _leads_in(operator: Operator) -> bool:
    return operator.name == "QUANTIZE" or (operator.name == "TRANSPOSE" and _order(operator) == TO_NHWC)


def _why_no_picture(tensor: Tensor) -> str:
    found = f"its input '{tensor.name}' is {tensor}"
    if tensor.dynamic:
        return f"{found}, of no fixed size; export it with a static shape and batch 1"
    if len(tensor.shape) != 4 or 3 not in (tensor.shape[1], tensor.shape[3]):
        return f"{found}; expected a picture, [1, height, width, 3]"
    if tensor.shape[0] != 1:
        return f"{found}; expected batch 1"
    if tensor.dtype in EIGHT_BITS:
        return f"{found}; expected [1, height, width, 3], or a TRANSPOSE to it as the first operator"
    return (
        f"{found} and no QUANTIZE follows it: a network in {tensor.dtype.lower()}. pspnetd runs whole-integer ones; "
        "convert it from its source with full-integer quantisation and pictures to calibrate on"
    )


def _chosen(graph: Graph, path: Path, wanted: str) -> Tensor:
    names = [tensor.name for tensor in graph.outputs]
    if wanted:
        if names.count(wanted) != 1:
            raise KitError(f"{path}: no output {wanted!r}; it has {_told(graph.outputs)}")
        return graph.outputs[names.index(wanted)]
    if len(graph.outputs) != 1:
        told = _told(graph.outputs)
        raise KitError(f"{path}: {len(graph.outputs)} outputs ({told}); --output NAME says which has the classes")
    return graph.outputs[0]


def _told(tensors: Sequence[Tensor]) -> str:
    return ", ".join(f"'{tensor.name}' {tensor}" for tensor in tensors) or "none"


def _order(operator: Operator) -> list[int]:
    """A TRANSPOSE's order of the axes; empty where it is computed."""
    order = operator.inputs[1] if len(operator.inputs) > 1 else None
    return [] if order is None else order.integers()


def _can_go(operator: Operator, made_by: dict[int, Operator], keep_resize: bool) -> bool:
    """Whether the class of a pixel is known without the operator, up to where its pixels lie."""
    if not operator.variables or operator.variables[0] is not operator.inputs[0]:
        return False
    before, after = operator.variables[0], operator.outputs[0]
    if operator.name in POINTWISE:
        return True
    if operator.name in RESIZES:
        grows = len(before.shape) == len(after.shape) == 4 and all(
            new >= old for new, old in zip(after.shape[1:3], before.shape[1:3], strict=True)
        )
        return grows and not keep_resize
    if operator.name in LAYOUTS:
        old, new = ([extent for extent in tensor.shape if extent != 1] for tensor in (before, after))
        return old == new or (bool(old and new) and old[-1] == new[-1] and prod(old) == prod(new))
    if operator.name == "TRANSPOSE":
        return _order(operator) == TO_NCHW
    if operator.name == "ARG_MAX":
        axis = operator.inputs[1].integers() if len(operator.inputs) > 1 and operator.inputs[1] is not None else []
        rank = len(before.shape)
        maker = made_by.get(before.index)
        first = maker is not None and maker.name == "TRANSPOSE" and _order(maker) == TO_NCHW
        return [each % rank for each in axis if rank] == [1 if first else rank - 1]
    return False


def _fits(tensor: Tensor) -> bool:
    shape = tensor.shape
    fits = len(shape) == 4 and shape[0] == 1 and 2 <= shape[3] <= MOST_CLASSES
    return fits and tensor.dtype in EIGHT_BITS and tensor.scales == 1


def _holds_scores(tensor: Tensor, classes: int) -> bool:
    is_map = len(tensor.shape) == 4 and tensor.shape[0] == 1 and tensor.shape[3] == classes
    return is_map and tensor.dtype in (*EIGHT_BITS, "FLOAT32")


def _holds_ids(tensor: Tensor) -> bool:
    whole = tensor.dtype in ("INT32", "INT64") or (tensor.dtype == "UINT8" and tensor.scales == 0)
    return whole and len([extent for extent in tensor.shape if extent != 1]) <= 2 and len(tensor.shape) >= 2


def _why_not(chain: Sequence[Tensor], graph: Graph, last: Operator | None) -> str:
    """Why none of the tensors of the chain is a map of integer logits."""
    maps = [t for t in chain if len(t.shape) == 4 and t.shape[0] == 1 and min(t.shape[1:3]) >= 1]
    tensor = maps[-1] if maps else chain[-1]
    found = f"its output '{chain[0].name}' is {chain[0]}"
    if tensor is not chain[0]:
        found += f", made of '{tensor.name}' {tensor}"
    if not maps or tensor.shape[1:3] == (1, 1):
        return f"{found}: no score for each class and pixel, [1, h, w, classes]; no segmentation network"
    if tensor.shape[3] == 1:
        behind = f" (behind {last.name})" if last is not None and last.name not in POINTWISE else ""
        return f"{found}{behind}: a single score per pixel; pspnetd needs 2 to {MOST_CLASSES} classes"
    if tensor.shape[3] > MOST_CLASSES:
        return f"{found}: {tensor.shape[3]} classes; pspnetd takes 2 to {MOST_CLASSES}"
    if tensor.dtype not in EIGHT_BITS:
        return (
            f"{found}, and its logits are computed in {tensor.dtype.lower()}; pspnetd runs whole-integer networks: "
            "convert it from its source with full-integer quantisation"
        )
    return f"{found}: expected int8 or uint8 [1, h, w, classes] with one scale"
