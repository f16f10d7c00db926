"""What one step of compression did: mIoU, MACs, parameters, bytes and latency of the model before and after it.

Everything but the mIoU is measured of .tflite files, into which checkpoints are written for the while.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError

if TYPE_CHECKING:
    from ..data import Dataset, Pair
    from .cost import Cost
    from .predictors import Predictor
    from .speed import Speed

ROUNDS = 9
SECONDS = 0.3
CALIBRATION = 4
"""Pictures for the ranges of a file that only tells time and size, which depend on no range."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of every command that makes one model of another."""
    group = parser.add_argument_group("to compare the model before with the one after")
    group.add_argument("--compare", type=Path, metavar="DATASET", help="data set to judge both on; they are timed too")
    group.add_argument("--compare-split", default="val", metavar="SPLIT", help="default: %(default)s")
    group.add_argument("--compare-only", nargs="+", default=(), metavar="PATTERN", help="file name patterns")


def open_comparison(args: argparse.Namespace, before: Path | None) -> Comparison | None:
    """What the options ask for, checked before any time is spent; None where they ask for nothing.

    Raises:
        KitError: when there is no model to compare with, it is of other classes, or the data or a package is missing.
    """
    if args.compare is None:
        return None
    if before is None:
        raise KitError("--compare: there is no model before this one; name the checkpoint to start from with --from")
    for package, name in (("ai_edge_litert", "ai-edge-litert"), ("flatbuffers", "flatbuffers")):
        if importlib.util.find_spec(package) is None:
            raise KitError(f"--compare runs models in ai-edge-litert and needs {name}: pip install {name}")
    from ..data import open_dataset
    from ..data.check import require_sound
    from .predictors import check_classes, open_predictor

    dataset = open_dataset(args.compare)
    pairs = dataset.pairs(args.compare_split, only=tuple(args.compare_only))
    check_classes(open_predictor(before), dataset.classes, dataset.root)
    require_sound(dataset, pairs)
    return Comparison(before, dataset, pairs)


@dataclass(frozen=True)
class Comparison:
    """The model before, and the pictures to judge on."""

    before: Path
    dataset: Dataset
    pairs: Sequence[Pair]

    def table(self, after: Path) -> str:
        """See compare."""
        return compare(self.before, after, self.dataset, self.pairs)


def compare(
    before: Path, after: Path, dataset: Dataset, pairs: Sequence[Pair], rounds: int = ROUNDS, seconds: float = SECONDS
) -> str:
    """A table of two models, each a checkpoint or a .tflite file.

    A checkpoint is judged in float, or with its roundings if it was trained with them. Size and speed are those of int8
    files; a checkpoint beside a .tflite file is taken as float32 there, as rounding is what lies between the two.

    Args:
        seconds: of timing for each model in each of the `rounds`.

    Raises:
        KitError: when a model can't be read, exported, or is of other classes than `dataset`.
    """
    from .cost import cost
    from .speed import cpu_time, side_by_side

    with tempfile.TemporaryDirectory() as folder:
        rounded = not (before.suffix == ".pt" and after.suffix == ".tflite")
        old = _Side.open(before, Path(folder) / "before.tflite", rounded, dataset, pairs)
        new = _Side.open(after, Path(folder) / "after.tflite", True, dataset, pairs)
        scores = [side.mean_iou(dataset, pairs) for side in (old, new)]
        speeds = side_by_side(
            ["before", "after"], [cpu_time.label] * 2, [side.stopwatch(seconds) for side in (old, new)], rounds
        )
        costs = [cost(side.file) for side in (old, new)]
    judged = "mIoU: " + " against ".join(dict.fromkeys(side.judged for side in (old, new)))
    forms = " against ".join(dict.fromkeys(side.form for side in (old, new)))
    return (
        f"{_table(scores, costs, speeds)}\n"
        f"before: {before}; after: {after}; {len(pairs)} pictures of {dataset.name}\n"
        f"{judged}; the rest: {forms} in ai-edge-litert, CPU time of one thread, median of {rounds} rounds in turn"
    )


@dataclass(frozen=True)
class _Side:
    """One of the two models."""

    predictor: Predictor
    file: Path
    """What is measured: the model as .tflite."""
    form: str
    judged: str

    @classmethod
    def open(cls, path: Path, file: Path, rounded: bool, dataset: Dataset, pairs: Sequence[Pair]) -> _Side:
        """Writes `file` unless `path` is a .tflite itself; float32 if it is not to be `rounded`."""
        from .predictors import check_classes, open_predictor

        predictor = open_predictor(path)
        check_classes(predictor, dataset.classes, dataset.root)
        if path.suffix == ".tflite":
            return cls(predictor, path, "int8", "int8")
        trained = _write(path, file, rounded, dataset, pairs)
        if trained and rounded:
            return cls(open_predictor(file), file, "int8", "int8")
        return cls(predictor, file, "int8" if rounded else "float32", "float")

    def mean_iou(self, dataset: Dataset, pairs: Sequence[Pair]) -> float:
        """Per cent."""
        from .metrics import Confusion

        confusion = Confusion(len(dataset.classes))
        for pair in pairs:
            image, label = dataset.read(pair)
            confusion.add(label, self.predictor.predict(image)[0])
        return 100 * confusion.mean_iou()

    def stopwatch(self, seconds: float) -> Callable[[], float]:
        """Milliseconds of CPU time that one picture takes, by the median of `seconds` of repetition."""
        import numpy as np

        from ..export.runner import TfliteRunner
        from .speed import timed

        runner = TfliteRunner(self.file)
        runner.raw(np.random.default_rng(0).integers(0, 256, (1, runner.height, runner.width, 3), dtype=np.uint8))
        return lambda: timed(runner.interpreter.invoke, seconds)


def _write(path: Path, file: Path, rounded: bool, dataset: Dataset, pairs: Sequence[Pair]) -> bool:
    """Writes a checkpoint as .tflite. Gives whether it was trained with quantisation."""
    import torch

    from ..checkpoint import load_model
    from ..data.resize import resize
    from ..export.tflite import export_tflite
    from ..quant.graph import trace
    from ..quant.ptq import Settings, choose_pictures, quantise
    from ..quant.quantised import QuantisedGraph, quantise_graph
    from ..quant.refine import Refinement

    model, meta = load_model(path)
    size = (int(meta["input"]["height"]), int(meta["input"]["width"]))
    graph = trace(model, torch.zeros(1, 3, *size))
    ir: QuantisedGraph | None = None
    if rounded and (ranges := meta.get("ranges")):
        ir = quantise_graph(graph, ranges)
    elif rounded:
        shown = choose_pictures(len(pairs), CALIBRATION, force=True)
        pictures = [resize(dataset.read(pairs[i])[0], *size) for i in shown]
        ir = quantise(graph, pictures, Settings("minmax", refinement=Refinement(False, False)), force=True)
    export_tflite(ir or graph, file, "to be measured")
    return bool(meta.get("ranges"))


def _table(scores: Sequence[float], costs: Sequence[Cost], speeds: Sequence[Speed]) -> str:
    old, new = speeds
    low, high = new.ratio_quartiles
    rows = [
        ("mIoU (%)", *(f"{score:.2f}" for score in scores), f"{scores[1] - scores[0]:+.2f}"),
        _share("MACs (M)", *(cost.macs / 1e6 for cost in costs)),
        _share("parameters (k)", *(cost.parameters / 1e3 for cost in costs)),
        _share("bytes (k)", *(cost.bytes / 1e3 for cost in costs)),
        (
            "latency (ms)",
            *(f"{speed.milliseconds:.2f}" for speed in (old, new)),
            f"{new.ratio:.2f} times as fast ({low:.2f} to {high:.2f})",
        ),
    ]
    lines = [f"{'':16}{'before':>12}{'after':>12}"]
    return "\n".join([*lines, *(f"{name:16}{a:>12}{b:>12}  {change}" for name, a, b, change in rows)])


def _share(name: str, before: float, after: float) -> tuple[str, str, str, str]:
    return name, f"{before:.1f}", f"{after:.1f}", f"{100 * after / before:.1f} % left"
