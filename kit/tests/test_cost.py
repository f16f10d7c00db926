"""Parameters and multiply-accumulates, counted by hand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tiny_tflite import convolution, identity
from torch import nn

from pspnet_kit.errors import KitError
from pspnet_kit.export.flatbuffer import Graph, Quant
from pspnet_kit.judge.cost import tflite_cost, torch_cost
from pspnet_kit.model import Architecture, build


def test_a_convolution_in_a_flatbuffer(tmp_path: Path) -> None:
    found = tflite_cost(convolution(tmp_path / "m.tflite", 8, 12, classes=5))
    assert found.parameters == 5 * 27 + 5
    assert found.macs == 4 * 6 * 5 * 27
    assert found.bytes == (tmp_path / "m.tflite").stat().st_size


def test_a_depthwise_convolution_in_a_flatbuffer(tmp_path: Path) -> None:
    graph = Graph("depthwise")
    image = graph.input("int8", [1, 8, 8, 3], Quant(1 / 128, -1))
    weights = graph.constant("weights", np.ones((1, 5, 5, 3)), "int8", Quant(0.01))
    bias = graph.constant("bias", np.zeros(3), "int32", Quant(0.01 / 128))
    output = graph.depthwise("logits", image, weights, bias, "int8", Quant(0.1), stride=(2, 2))
    (tmp_path / "m.tflite").write_bytes(graph.build([output]))
    found = tflite_cost(tmp_path / "m.tflite")
    assert (found.parameters, found.macs) == (75 + 3, 4 * 4 * 3 * 25)


def test_pooling_costs_nothing(tmp_path: Path) -> None:
    found = tflite_cost(identity(tmp_path / "m.tflite", 4, 4))
    assert (found.parameters, found.macs) == (0, 0)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.tflite").write_bytes(b"no model at all")
    with pytest.raises(KitError, match="no TFLite model"):
        tflite_cost(tmp_path / "m.tflite")


def test_a_network_in_pytorch() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
    )
    found = torch_cost(network, 8, 8)
    assert found.parameters == (8 * 27 + 8) + (8 * 9 + 8)
    assert found.macs == 16 * 8 * 27 + 16 * 8 * 9
    assert found.bytes == 4 * found.parameters
    assert network.training


def test_the_auxiliary_classifier_costs_nothing() -> None:
    with_one = Architecture(3, stages=4, bins=(1, 2), bin_channels=8, head_channels=8, auxiliary=True)
    without = dataclasses.replace(with_one, auxiliary=False)
    assert torch_cost(build(with_one), 32, 32) == torch_cost(build(without), 32, 32)
