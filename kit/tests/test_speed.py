"""Timing side by side, with stopwatches whose times are known."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from pspnet_kit.errors import KitError
from pspnet_kit.judge.speed import side_by_side, timed, wall_time


def test_models_take_turns_and_ratios_are_taken_within_a_round() -> None:
    asked: list[str] = []
    # The machine is twice as slow in the second round; the first call of each is the warm-up.
    times = {"a": iter([99, 40, 80, 44]), "b": iter([99, 10, 20, 10])}

    def stopwatch(name: str) -> Callable[[], float]:
        def measure() -> float:
            asked.append(name)
            return next(times[name])

        return measure

    a, b = side_by_side(["a", "b"], ["x", "y"], [stopwatch("a"), stopwatch("b")], rounds=3)
    assert asked == ["a", "b", "a", "b", "b", "a", "a", "b"]
    assert (a.milliseconds, a.ratio) == (44, 1)
    assert b.ratios == (4, 4, 4.4)
    assert (b.milliseconds, b.ratio, b.ratio_quartiles[0]) == (10, 4, 4)
    assert b.ratio_quartiles[1] == pytest.approx(4.2)
    assert (b.name, b.engine) == ("b", "y")
    assert b.as_dict()["rounds"] == 3


def test_another_reference() -> None:
    a, b = side_by_side(["a", "b"], ["", ""], [lambda: 30.0, lambda: 10.0], rounds=1, reference=1)
    assert a.ratio == pytest.approx(1 / 3)
    assert b.ratio == 1


def test_no_rounds_are_refused() -> None:
    with pytest.raises(KitError, match="0 rounds"):
        side_by_side(["a"], [""], [lambda: 1.0], rounds=0)


def test_waiting_is_not_counted() -> None:
    calls: list[float] = []

    def work() -> None:
        time.sleep(0.01)
        calls.append(0.01)

    assert timed(work, 0.0) < 5
    assert len(calls) == 3
    assert timed(work, 0.0, wall_time) >= 10
