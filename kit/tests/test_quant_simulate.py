"""The int8 arithmetic: each operator by hand, then whole networks against TFLite's interpreter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from quant_networks import PLAIN, SIZE, SKIP, inputs, pictures, settle, settled
from torch import Tensor, nn

from pspnet_kit.export.runner import TfliteRunner
from pspnet_kit.export.tflite import export_tflite
from pspnet_kit.model.blocks import ConvBN
from pspnet_kit.model.resnet import Bottleneck
from pspnet_kit.quant.graph import trace
from pspnet_kit.quant.ops import Conv
from pspnet_kit.quant.ptq import quantise
from pspnet_kit.quant.ranges import Affine, QuantisedWeights, RangeError
from pspnet_kit.quant.simulate import add, average_pool, convolution, limits, resize, simulate


def whole(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int32)[None, None, None]


def test_average_pool_rounds_halves_away_from_zero() -> None:
    x = whole(1, 2, -1, -2, 3, 3, -128, -127)
    assert average_pool(x, (1, 2)).flatten().tolist() == [2, -2, 3, -128]


def test_resize_rounds_halves_up() -> None:
    assert resize(whole(0, 1), (1, 3)).flatten().tolist() == [0, 1, 1]
    assert resize(whole(-1, 0), (1, 3)).flatten().tolist() == [-1, 0, 0]


def test_resize_keeps_the_corners_and_spreads_a_single_cell() -> None:
    assert resize(whole(-100, 100), (1, 5)).flatten().tolist() == [-100, -50, 0, 50, 100]
    assert resize(whole(7), (2, 3)).flatten().tolist() == [7] * 6


def test_add_rescales_both_sides() -> None:
    one, two = Affine(1.0, 0), Affine(2.0, 1)
    # (3 + 4) / 2 = 3.5 becomes 4, plus the zero point.
    assert add(whole(3), whole(4), one, one, two, "none").item() == 5
    # 3 + 2 * (4 - 1) = 9
    assert add(whole(3), whole(4), one, two, one, "none").item() == 9
    assert add(whole(-9), whole(4), one, one, one, "relu").item() == 0
    assert add(whole(100), whole(100), one, one, one, "none").item() == 127


@pytest.mark.parametrize("scale", [2.0**20, 1e30, 1e-30])
def test_scales_that_no_addition_has_are_refused(scale: float) -> None:
    source, out = Affine(scale, 0), Affine(1.0, 0)
    with pytest.raises(RangeError, match=r"an addition's larger input has .* times the range of its sum"):
        add(whole(1), whole(2), source, source, out, "none")


def test_convolution_in_whole_numbers() -> None:
    node = Conv(
        "c",
        ("x",),
        (1, 2, 1),
        torch.zeros(1, 2, 1, 1),
        torch.zeros(1),
        False,
        (1, 1),
        (1, 1),
        (0, 0, 0, 0),
        "SAME",
        "none",
        "c",
        None,
    )
    q = QuantisedWeights(np.array([[[[3]], [[-2]]]], np.int8), np.array([0.5], np.float32), np.array([10], np.int32))
    x = torch.tensor([[[[5, -1]], [[2, 127]]]], dtype=torch.int32)
    # (5 - 1) * 3 - 2 * (2 - 1) + 10 = 20 and (-1 - 1) * 3 - 2 * (127 - 1) + 10 = -248, times 0.1 * 0.5 / 0.2 = 0.25.
    out = convolution(node, x, q, Affine(float(np.float32(0.1)), 1), Affine(float(np.float32(0.2)), 4))
    assert out.flatten().tolist() == [9, -58]


def test_limits_of_fused_activations() -> None:
    a = Affine(0.1, -28)
    assert limits(a, "none") == (-128, 127)
    assert limits(a, "relu") == (-28, 127)
    assert limits(a, "relu6") == (-28, 32)


def resnet_like() -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        ConvBN(3, 16, 3, 2, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1), Bottleneck(16, 5, 1, 2), nn.Conv2d(20, 4, 1)
    )
    settle(model)
    return model.eval()


def factorised() -> nn.Module:
    model = settled(PLAIN)
    channels = model.head.conv.in_channels
    model.head.conv = nn.Sequential(
        nn.Conv2d(channels, 5, 1, bias=False), nn.Conv2d(5, 3, 3, padding=1), nn.Conv2d(3, 13, 1)
    )
    return model


@pytest.mark.parametrize(
    "make",
    [lambda: settled(PLAIN), lambda: settled(SKIP), resnet_like, factorised],
    ids=["plain", "skip", "resnet", "factorised"],
)
def test_the_interpreter_computes_the_same(make: Callable[[], nn.Module], tmp_path: Path) -> None:
    ir = quantise(trace(make(), inputs(1)), pictures(3))
    unseen = np.stack([*pictures(5)[3:], np.random.default_rng(3).integers(0, 256, (*SIZE, 3), np.uint8)])
    simulated = simulate(ir, torch.from_numpy(unseen))[ir.graph.output].permute(0, 2, 3, 1).numpy()
    assert len(np.unique(simulated)) > 20
    for kind in ("uint8", "int8"):
        export_tflite(ir, tmp_path / "model.tflite", "test", kind)
        difference = np.abs(TfliteRunner(tmp_path / "model.tflite").raw(unseen).astype(int) - simulated)
        assert difference.max() <= 1
        assert (difference > 0).mean() <= 0.001
