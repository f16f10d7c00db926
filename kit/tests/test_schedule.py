"""The learning rate's course and the average of the weights, step by step."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pspnet_kit.training.schedule import Average, poly


def test_poly() -> None:
    assert [poly(step, 4, 0) for step in range(4)] == pytest.approx([1, 0.75**0.9, 0.5**0.9, 0.25**0.9])
    assert poly(4, 4, 0) == 0 and poly(5, 4, 0) == 0
    assert poly(2, 4, 0, power=2) == pytest.approx(0.25)


def test_warm_up_rises_in_a_line_and_then_poly_takes_over() -> None:
    assert [poly(step, 100, 4) for step in range(4)] == pytest.approx([0.25, 0.5, 0.75, 1])
    assert poly(4, 100, 4) == pytest.approx(0.96**0.9)


def model(value: float) -> nn.Sequential:
    """A layer and a BatchNorm whose every number is `value`."""
    made = nn.Sequential(nn.Linear(1, 1), nn.BatchNorm1d(1))
    with torch.no_grad():
        for tensor in made.state_dict().values():
            tensor.fill_(value)
    return made


def values(of: nn.Module) -> list[float]:
    """Without the counter of batches."""
    return [float(value) for name, value in of.state_dict().items() if "num_batches" not in name]


def test_the_average_moves_by_what_its_decay_leaves() -> None:
    average = Average(model(0.0), decay=0.1)
    average.update(model(1.0))
    # The decay is 0.1 at once, since young averages have at most (1 + 1) / (10 + 1).
    assert values(average.model) == pytest.approx([0.9] * 6)
    average.update(model(1.0))
    assert values(average.model) == pytest.approx([0.99] * 6)


def test_young_averages_forget_faster() -> None:
    average = Average(model(0.0), decay=0.999)
    average.update(model(1.0))
    first = 1 - 2 / 11
    assert values(average.model) == pytest.approx([first] * 6)
    average.update(model(1.0))
    assert values(average.model) == pytest.approx([1 - (1 - first) * 3 / 12] * 6)
    assert average.updates == 2
    average.updates = 10**6
    average.update(model(0.0))
    assert values(average.model) == pytest.approx([0.999 * (1 - (1 - first) * 3 / 12)] * 6)


def test_batch_norm_statistics_are_averaged_and_counters_copied() -> None:
    average = Average(model(0.0), decay=0.5)
    source = model(0.0)
    source[1].running_mean.fill_(4.0)
    source[1].running_var.fill_(8.0)
    source[1].num_batches_tracked.fill_(7)
    average.updates = 100
    average.update(source)
    norm = average.model[1]
    assert (float(norm.running_mean), float(norm.running_var), int(norm.num_batches_tracked)) == (2, 4, 7)
    assert norm.num_batches_tracked.dtype == torch.int64


def test_the_average_is_apart_from_the_model() -> None:
    source = model(1.0)
    average = Average(source.train(), decay=0.5)
    assert source.training and not average.model.training
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    with torch.no_grad():
        source[0].weight.fill_(9.0)
    assert values(average.model) == [1.0] * 6
