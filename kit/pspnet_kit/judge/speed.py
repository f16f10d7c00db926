"""How long models take, side by side in one run: single times mean little on a machine that does other work too.

Every round measures every model once, in turn and then back, so that whatever slows the machine slows all of them;
ratios are taken within a round. One thread each.

In this process the thread's CPU time counts: on an idle core it equals the wall clock, and on a busy machine it stays
within a few per cent where the wall clock doubles. The daemon's bench tells only wall time; then the fastest inference
of a round counts, for all models, and the machine should be idle.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from ..errors import KitError
from .daemon import Daemon
from .predictors import Predictor, TflitePredictor, TorchPredictor

Stopwatch = Callable[[], float]
"""Measures once and gives milliseconds per picture."""


@dataclass(frozen=True)
class Clock:
    """How times of one round become one figure."""

    label: str
    now: Callable[[], float]
    """Seconds."""
    figure: Callable[[Sequence[float]], float]


cpu_time = Clock("CPU time", time.thread_time, median)
wall_time = Clock("wall time", time.perf_counter, min)


@dataclass(frozen=True)
class Speed:
    """Of one model. Times are milliseconds per picture, network only; quartiles tell how much the rounds differ."""

    name: str
    engine: str
    rounds: tuple[float, ...]
    ratios: tuple[float, ...]
    """Reference's time over this one's, round by round: 2 is twice as fast."""

    @property
    def milliseconds(self) -> float:
        return median(self.rounds)

    @property
    def ratio(self) -> float:
        return median(self.ratios)

    @property
    def quartiles(self) -> tuple[float, float]:
        """Of the times."""
        low, high = np.percentile(self.rounds, [25, 75])
        return float(low), float(high)

    @property
    def ratio_quartiles(self) -> tuple[float, float]:
        low, high = np.percentile(self.ratios, [25, 75])
        return float(low), float(high)

    @property
    def ratio_told(self) -> str:
        """Ratio and quartiles, for tables."""
        low, high = self.ratio_quartiles
        return f"{self.ratio:.2f} ({low:.2f} to {high:.2f})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "engine": self.engine,
            "milliseconds": self.milliseconds,
            "milliseconds_quartiles": self.quartiles,
            "ratio": self.ratio,
            "ratio_quartiles": self.ratio_quartiles,
            "rounds": len(self.rounds),
        }


def side_by_side(
    names: Sequence[str],
    engines: Sequence[str],
    stopwatches: Sequence[Stopwatch],
    rounds: int,
    reference: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Speed]:
    """Measures all models in every round; the order turns round by round. One round beforehand is not counted.

    Args:
        reference: the index of the model that ratios refer to.
        progress: wraps the rounds, to show how far they are.
    """
    if rounds < 1:
        raise KitError(f"{rounds} rounds: expected at least 1")
    times = np.zeros((rounds, len(stopwatches)))
    for stopwatch in stopwatches:
        stopwatch()
    for turn in progress(range(rounds)):
        order = range(len(stopwatches)) if turn % 2 == 0 else reversed(range(len(stopwatches)))
        for index in order:
            times[turn, index] = stopwatches[index]()
    ratios = times[:, reference, None] / times
    return [
        Speed(name, engine, tuple(times[:, index].tolist()), tuple(ratios[:, index].tolist()))
        for index, (name, engine) in enumerate(zip(names, engines, strict=True))
    ]


def measure(
    predictors: Sequence[Predictor],
    rounds: int,
    reference: int = 0,
    daemon: Daemon | None = None,
    seconds: float = 1.0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> list[Speed]:
    """The speed of models: .tflite files in ai-edge-litert, or in the daemon if it is given; checkpoints in PyTorch.

    Args:
        daemon: times by its bench, in wall time; without it everything is CPU time.
        seconds: for each model in each round. The daemon takes twice that: its bench has two parts.
    """
    chosen = [_stopwatch(predictor, daemon, seconds) for predictor in predictors]
    names = [predictor.name for predictor in predictors]
    return side_by_side(names, [c[0] for c in chosen], [c[1] for c in chosen], rounds, reference, progress)


def _stopwatch(predictor: Predictor, daemon: Daemon | None, seconds: float) -> tuple[str, Stopwatch]:
    if isinstance(predictor, TorchPredictor):
        clock = wall_time if daemon else cpu_time
        return f"PyTorch float32, {clock.label}", _torch(predictor, clock, seconds)
    if not isinstance(predictor, TflitePredictor):
        raise KitError(f"{predictor.path}: there is no way to time such a model")
    if daemon is None:
        return f"LiteRT, {cpu_time.label}", _litert(predictor, cpu_time, seconds)
    return f"{daemon.version}, {wall_time.label}", lambda: _bench(daemon, predictor.path, seconds)


def _bench(daemon: Daemon, path: Path, seconds: float) -> float:
    found = daemon.bench(path, seconds)
    try:
        return float(found["stages"]["infer"]["min_ms"])
    except (KeyError, TypeError):
        raise KitError(f"{daemon.binary} bench: its JSON has no stages.infer.min_ms") from None


def _litert(predictor: TflitePredictor, clock: Clock, seconds: float) -> Stopwatch:
    predictor.run(predictor.pixel_map.apply(_noise(predictor.size)))
    return lambda: timed(predictor.interpreter.invoke, seconds, clock)


def _torch(predictor: TorchPredictor, clock: Clock, seconds: float) -> Stopwatch:
    import torch

    picture = _noise(predictor.size)

    def measure_once() -> float:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            return timed(lambda: predictor.logits(picture), seconds, clock)
        finally:
            torch.set_num_threads(threads)

    return measure_once


def timed(work: Callable[[], object], seconds: float, clock: Clock = cpu_time) -> float:
    """Milliseconds that `work` takes by `clock`, repeated for `seconds`, at least 3 times."""
    times: list[float] = []
    start = time.perf_counter()
    while len(times) < 3 or time.perf_counter() - start < seconds:
        before = clock.now()
        work()
        times.append((clock.now() - before) * 1e3)
    return clock.figure(times)


def _noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
