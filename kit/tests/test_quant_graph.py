"""The trace: the same function as the network, in TFLite's operators; what they cannot say is refused by name."""

from __future__ import annotations

import pytest
import torch
from quant_networks import PLAIN, SIZE, SKIP, inputs, settle, settled
from torch import Tensor, nn

from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture
from pspnet_kit.model.blocks import ConvBN, SamePad
from pspnet_kit.model.resnet import Bottleneck
from pspnet_kit.quant.graph import fold, same_pads, trace
from pspnet_kit.quant.ops import Add, AveragePool, Concat, Conv, MaxPool, OpGraph, Pad, Resize, run


def last(graph: OpGraph, x: Tensor) -> Tensor:
    with torch.no_grad():
        for node, value in run(graph, x):
            if node.name == graph.output:
                result = value
    return result


def assert_same(model: nn.Module, x: Tensor) -> OpGraph:
    model, x = model.double(), x.double()
    graph = trace(model, x[:1])
    with torch.no_grad():
        torch.testing.assert_close(last(graph, x), model.eval()(x), rtol=1e-9, atol=1e-9)
    return graph


@pytest.mark.parametrize("architecture", [PLAIN, SKIP], ids=["plain", "skip"])
def test_a_pspnet_computes_the_same_as_its_trace(architecture: Architecture) -> None:
    graph = assert_same(settled(architecture), inputs(2))
    kinds = {type(node) for node in graph}
    assert {Conv, Add, AveragePool, Resize, Concat} <= kinds
    assert Pad not in kinds
    assert not [name for name in graph.nodes if "auxiliary" in name or "dropout" in name]


def test_a_training_network_keeps_the_mode_of_each_module() -> None:
    model = settled(PLAIN).train()
    model.backbone.stem.bn.eval()
    trace(model, inputs(1))
    assert model.training and model.head.training and not model.backbone.stem.bn.training


def test_strided_convolutions_are_padded_as_tensorflow_does() -> None:
    graph = trace(settled(PLAIN), inputs(1))
    stem = graph.nodes["backbone.stem.conv"]
    assert isinstance(stem, Conv)
    assert (stem.padding, stem.pads, stem.stride, stem.activation) == ("SAME", (0, 1, 0, 1), (2, 2), "relu6")
    assert stem.shape == (24, 32, 32)
    wide = [
        node for node in graph.convolutions if node.depthwise and node.weight.shape[2] == 5 and node.stride == (2, 2)
    ]
    assert [node.pads for node in wide] == [(1, 2, 1, 2)]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "pads"),
    [
        (6, 3, 1, 1, (1, 1)),
        (6, 3, 2, 1, (0, 1)),
        (7, 3, 2, 1, (1, 1)),
        (6, 5, 2, 1, (1, 2)),
        (6, 3, 1, 2, (2, 2)),
        (6, 1, 2, 1, (0, 0)),
    ],
)
def test_same_pads(size: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int]) -> None:
    assert same_pads(size, kernel, stride, dilation) == pads


def test_what_is_concatenated_shares_its_range_back_to_the_convolutions() -> None:
    graph = trace(settled(PLAIN), inputs(1))
    groups = graph.range_groups()
    pyramid = [name for name, group in groups.items() if group == groups["cat"]]
    features = next(node for node in graph if isinstance(node, AveragePool)).inputs[0]
    assert features in pyramid
    assert {"pyramid.branches.0.conv", "pyramid.branches.1.conv", "cat"} <= set(pyramid)
    kinds = sorted(type(graph.nodes[name]).__name__ for name in pyramid if name != features)
    assert kinds == ["AveragePool", "AveragePool", "Concat", "Conv", "Conv", "Resize", "Resize"]
    others = [name for name in graph.nodes if name not in pyramid]
    assert all(groups[name] == name for name in others)


def test_batch_norm_folds_by_hand() -> None:
    norm = nn.BatchNorm2d(1, eps=1.0)
    norm.running_mean.fill_(1.0)
    norm.running_var.fill_(3.0)
    nn.init.constant_(norm.weight, 4.0)
    nn.init.constant_(norm.bias, 5.0)
    weight, bias = fold(torch.full((1, 1, 1, 1), 3.0), torch.tensor([2.0]), norm)
    # Factor 4 / sqrt(3 + 1) = 2: weight 3 * 2, bias (2 - 1) * 2 + 5.
    assert weight.item() == 6.0 and bias.item() == 7.0


def test_a_convolution_split_into_three_is_a_chain_of_convolutions() -> None:
    model = settled(PLAIN)
    channels = model.head.conv.in_channels
    model.head.conv = nn.Sequential(
        nn.Conv2d(channels, 5, 1, bias=False), nn.Conv2d(5, 3, 3, padding=1), nn.Conv2d(3, 13, 1)
    )
    graph = assert_same(model, inputs(2))
    chain = [node for node in graph.convolutions if node.module.startswith("head")]
    assert [node.activation for node in chain] == ["none", "none", "relu6"]
    assert [node.norm for node in chain] == [None, None, "head.bn"]


def test_padding_moves_past_the_first_factor_of_a_strided_convolution() -> None:
    model = nn.Sequential(SamePad(3, 2), nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 4, 3, 2))
    graph = assert_same(model, inputs(2))
    assert [type(node).__name__ for node in graph] == ["Input", "Conv", "Conv"]
    assert [(node.padding, node.shape) for node in graph.convolutions] == [("SAME", (48, 64, 2)), ("SAME", (24, 32, 4))]


def test_padding_stays_before_a_factor_with_bias() -> None:
    model = nn.Sequential(SamePad(3, 2), nn.Conv2d(3, 2, 1), nn.Conv2d(2, 4, 3, 2))
    graph = assert_same(model, inputs(2))
    assert [type(node).__name__ for node in graph] == ["Input", "Pad", "Conv", "Conv"]


def test_kernels_of_two_widths() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, (3, 1), padding=(1, 0)), nn.Conv2d(4, 4, (1, 3), padding=(0, 1), groups=4))
    graph = assert_same(model, inputs(1))
    assert [node.padding for node in graph.convolutions] == ["SAME", "SAME"]
    assert [node.depthwise for node in graph.convolutions] == [False, True]


def test_a_dilated_bottleneck_and_the_stem_s_max_pool() -> None:
    stem = nn.Sequential(ConvBN(3, 16, activation=nn.ReLU), nn.MaxPool2d(3, 2, 1))
    model = nn.Sequential(stem, Bottleneck(16, 4, 1, 2))
    settle(model)
    graph = assert_same(model, inputs(1))
    # Padding on both sides of a stride of 2 is not TensorFlow's; zeros before a pool of what ReLU left change nothing.
    assert [type(node).__name__ for node in graph][:4] == ["Input", "Conv", "Pad", "MaxPool"]
    pool = next(node for node in graph if isinstance(node, MaxPool))
    assert pool.padding == "VALID"
    total = next(node for node in graph if isinstance(node, Add))
    assert total.activation == "relu"


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.act = nn.ReLU6()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return self.act(y) + y


class Branches(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid()), "1: Sigmoid"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Hardswish())), "1.0: Hardswish"),
        (nn.Sequential(nn.BatchNorm2d(3)), "0: a BatchNorm that does not directly follow"),
        (nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.BatchNorm2d(3)), "2: a BatchNorm"),
        (nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1, groups=2)), "1: a convolution of 2 groups"),
        (nn.Sequential(nn.AdaptiveAvgPool2d(5)), "0: 5x5 cells do not divide 48x64"),
        (nn.Sequential(nn.MaxPool2d(3, 2, 1)), "0: pads what can be negative"),
        (nn.Sequential(nn.Upsample(scale_factor=2)), "0: Upsample"),
        (Twice(), "act: relu6 that does not directly follow"),
        (Branches(), "Branches cannot be traced"),
    ],
)
def test_what_tflite_cannot_say_is_refused_by_name(model: nn.Module, message: str) -> None:
    with pytest.raises(KitError, match=message):
        trace(model, torch.zeros(1, 3, *SIZE))
