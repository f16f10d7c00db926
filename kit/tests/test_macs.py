"""Counts against sums done by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pspnet_kit.compress.macs import comparison, count, table, totals
from pspnet_kit.model import Architecture, build


class Tiny(nn.Module):
    """3 > 4 with stride 2, depthwise on 4, 4 > 2 with bias; a second classifier while training."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(4)
        self.depthwise = nn.Conv2d(4, 4, 3, 1, 1, groups=4, bias=False)
        self.last = nn.Conv2d(4, 2, 1)
        self.auxiliary = nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        x = self.depthwise(self.bn(self.first(x)))
        return (self.last(x), self.auxiliary(x)) if self.training else self.last(x)


def test_each_layer_by_hand() -> None:
    first, depthwise, last = count(Tiny(), 8, 12)
    assert (first.name, first.input_area, first.output_area) == ("first", 96, 24)
    assert first.macs == 24 * 3 * 4 * 9
    assert depthwise.macs == 24 * 4 * 9
    assert last.macs == 24 * 4 * 2
    assert (first.parameters, depthwise.parameters, last.parameters) == (108, 36, 10)
    assert (first.int8_bytes, depthwise.int8_bytes, last.int8_bytes) == (108 + 16, 36 + 16, 8 + 8)


def test_totals_leave_the_auxiliary_classifier_out() -> None:
    sums = totals(Tiny(), 8, 12)
    assert sums.macs == 24 * (108 + 36 + 8)
    assert sums.parameters == 108 + 8 + 36 + 10
    assert sums.int8_bytes == 124 + 52 + 16


def test_a_layer_that_runs_twice_counts_twice() -> None:
    shared = nn.Conv2d(3, 3, 1, bias=False)
    (layer,) = count(nn.Sequential(shared, shared), 2, 2)
    assert layer.macs == 2 * 4 * 9
    assert layer.parameters == 9


def test_counting_changes_nothing() -> None:
    model = Tiny().train()
    model.last.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    count(model, 8, 8)
    assert model.training and model.bn.training and not model.last.training
    assert not model.first._forward_hooks
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_the_bootstrap_costs_what_was_measured() -> None:
    """EfficientNet-Lite0 cut at stride 8, bins of 32, head of 96: 1.70 GMACs and 0.92 M parameters at 288x384."""
    architecture = Architecture(classes=11, stages=5, bin_channels=32, head_channels=96)
    sums = totals(build(architecture), 288, 384)
    assert round(sums.macs / 1e9, 2) == 1.70
    assert round(sums.parameters / 1e6, 2) == 0.92


def test_tables() -> None:
    before = totals(Tiny(), 8, 12)
    lines = comparison(before, before).splitlines()
    assert len(lines) == 4 and all(line.endswith("100.0%") for line in lines[1:])
    assert table([["a", "bb"], ["ccc", "d"]]).splitlines() == ["a    bb", "ccc   d"]
