"""Small graphs whose coupled channels are known."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pspnet_kit.compress.dependency import CHANNELS, INPUTS, NORM, OUTPUTS, Graph, Group, trace
from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, build
from pspnet_kit.model.resnet import Bottleneck


class Net(nn.Module):
    """Modules by name and a forward that uses them."""

    def __init__(self, how: Callable[[nn.Module, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.how = how
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self, x)


def conv(inputs: int, outputs: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 1, 1, groups=groups, bias=False)


def sides(group: Group) -> dict[tuple[str, str], list[int]]:
    """The channels of every member, in the order of the units."""
    result = {}
    for member in group.members:
        assert member.units.tolist() == sorted(member.units.tolist())
        result[member.module, member.side] = member.channels.tolist()
    return result


def made_by(graph: Graph, name: str) -> list[Group]:
    return [group for group in graph.groups if name in group.makers]


def test_residual_of_two_convolutions_is_one_group() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = m.stem(x)
        return m.out(x + m.second(m.first(x)))

    graph = trace(Net(forward, stem=conv(3, 4), first=conv(4, 6), second=conv(6, 4), out=conv(4, 2)))
    (stream,) = made_by(graph, "stem")
    every = [0, 1, 2, 3]
    assert sides(stream) == {
        ("stem", OUTPUTS): every,
        ("second", OUTPUTS): every,
        ("first", INPUTS): every,
        ("out", INPUTS): every,
    }
    (inner,) = made_by(graph, "first")
    assert sides(inner) == {("first", OUTPUTS): list(range(6)), ("second", INPUTS): list(range(6))}
    (outputs,) = made_by(graph, "out")
    assert outputs.fixed and not stream.fixed and not inner.fixed
    assert len(graph.groups) == 3
    assert graph.open_inputs == {"stem"}


def test_concatenation_of_three_shifts_the_channels() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.out(torch.cat([m.a(x), m.b(x), m.c(x)], dim=1))

    graph = trace(Net(forward, a=conv(3, 2), b=conv(3, 3), c=conv(3, 4), out=conv(9, 2)))
    assert sides(made_by(graph, "a")[0]) == {("a", OUTPUTS): [0, 1], ("out", INPUTS): [0, 1]}
    assert sides(made_by(graph, "b")[0]) == {("b", OUTPUTS): [0, 1, 2], ("out", INPUTS): [2, 3, 4]}
    assert sides(made_by(graph, "c")[0]) == {("c", OUTPUTS): [0, 1, 2, 3], ("out", INPUTS): [5, 6, 7, 8]}


def test_a_tensor_concatenated_with_itself_has_two_places_for_each_unit() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = m.a(x)
        return m.out(torch.cat([x, x], 1))

    (group,) = made_by(trace(Net(forward, a=conv(3, 2), out=conv(4, 2))), "a")
    reader = next(member for member in group.members if member.side == INPUTS)
    assert sorted(zip(reader.units.tolist(), reader.channels.tolist(), strict=True)) == [(0, 0), (0, 2), (1, 1), (1, 3)]
    assert reader.per_unit == 2


def test_addition_to_a_concatenation_ties_parts_of_one_convolution() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.out(m.whole(x) + torch.cat([m.a(x), m.b(x)], 1))

    graph = trace(Net(forward, whole=conv(3, 5), a=conv(3, 2), b=conv(3, 3), out=conv(5, 2)))
    low, high = made_by(graph, "whole")
    assert sides(low) == {("whole", OUTPUTS): [0, 1], ("a", OUTPUTS): [0, 1], ("out", INPUTS): [0, 1]}
    assert sides(high) == {("whole", OUTPUTS): [2, 3, 4], ("b", OUTPUTS): [0, 1, 2], ("out", INPUTS): [2, 3, 4]}


def test_depthwise_chain_carries_its_channels() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        return m.out(m.bn2(m.depthwise(F.pad(F.relu6(m.bn1(m.expand(x))), (0, 1, 0, 1)))))

    modules = {"expand": conv(3, 4), "bn1": nn.BatchNorm2d(4), "depthwise": conv(4, 4, 4), "bn2": nn.BatchNorm2d(4)}
    graph = trace(Net(forward, **modules, out=conv(4, 2)))
    (group,) = made_by(graph, "expand")
    every = [0, 1, 2, 3]
    assert sides(group) == {
        ("expand", OUTPUTS): every,
        ("bn1", NORM): every,
        ("depthwise", CHANNELS): every,
        ("bn2", NORM): every,
        ("out", INPUTS): every,
    }
    assert graph.norms == {"expand": "bn1", "depthwise": "bn2"}
    assert graph.last == {"depthwise", "out"}


def test_pooling_and_resizing_carry_channels() -> None:
    def forward(m: Net, x: Tensor) -> Tensor:
        x = m.a(x)
        y = F.interpolate(F.adaptive_avg_pool2d(x, 2), size=x.shape[-2:], mode="bilinear", align_corners=True)
        return m.out(x + y)

    (group,) = made_by(trace(Net(forward, a=conv(3, 4), out=conv(4, 2))), "a")
    assert not group.fixed and ("out", INPUTS) in sides(group)


@pytest.mark.parametrize(
    "how",
    [
        lambda m, x: m.out(m.a(x).flip(1)),
        lambda m, x: m.out(F.pad(m.a(x), (0, 0, 0, 0, 1, -1))),
        lambda m, x: m.out(m.a(x) + x),
        lambda m, x: m.out(m.a(x)) + m.a(x),
        lambda m, x: m.out(m.a(x) * m.a(x)[:, :1]),
    ],
    ids=["unknown operation", "channels padded", "added to the input", "an output", "sliced"],
)
def test_what_is_not_understood_is_never_cut(how: Callable[[Net, Tensor], Tensor]) -> None:
    (group,) = made_by(trace(Net(how, a=conv(3, 3), out=conv(3, 3))), "a")
    assert group.fixed


def test_grouped_convolutions_are_never_cut() -> None:
    graph = trace(nn.Sequential(conv(3, 4), conv(4, 4, 2), conv(4, 2)))
    assert all(group.fixed for group in graph.groups)


def test_a_convolution_that_reads_two_tensors_ties_them() -> None:
    graph = trace(Net(lambda m, x: m.out(m.a(x)) + m.out(m.b(x)), a=conv(3, 4), b=conv(3, 4), out=conv(4, 2)))
    assert made_by(graph, "a") == made_by(graph, "b")


def test_channels_that_do_not_meet_are_refused_by_name() -> None:
    with pytest.raises(KitError, match=r"1\.weight: made for 5 channels, but 0 gives 4"):
        trace(nn.Sequential(conv(3, 4), conv(5, 2)))
    with pytest.raises(KitError, match="a and b: added, but of 4 and 3 channels"):
        trace(Net(lambda m, x: m.a(x) + m.b(x), a=conv(3, 4), b=conv(3, 3)))


def test_bottlenecks_share_their_stream_with_the_shortcut() -> None:
    graph = trace(nn.Sequential(conv(3, 8), Bottleneck(8, 4, 1, 1), Bottleneck(16, 4, 1, 2), conv(16, 2)))
    (stream,) = made_by(graph, "1.shortcut.conv")
    assert stream.size == 16
    assert set(stream.makers) == {"1.expand.conv", "1.shortcut.conv", "2.expand.conv"}
    readers = {member.module for member in stream.members if member.side == INPUTS}
    assert readers == {"2.reduce.conv", "3"}
    assert all(not made_by(graph, name)[0].fixed for name in ("0", "1.reduce.conv", "1.spatial.conv"))


def test_pspnet_head_reads_features_and_bins_at_their_offsets() -> None:
    a = Architecture(11, stride=16, stages=5, bin_channels=32, head_channels=96, skip_stride=8, refine_channels=64)
    model = build(a).eval()
    graph = trace(model)
    assert not model.training
    (stream,) = made_by(graph, "backbone.blocks.10.project.conv")
    assert set(stream.makers) == {f"backbone.blocks.{block}.project.conv" for block in (8, 9, 10)}
    assert sides(stream)["head.conv", INPUTS] == list(range(112))
    for index in range(4):
        (branch,) = made_by(graph, f"pyramid.branches.{index}.conv")
        assert sides(branch)["head.conv", INPUTS] == list(range(112 + 32 * index, 144 + 32 * index))
    (skip,) = made_by(graph, "skip.conv")
    assert sides(skip)["refine.conv", INPUTS] == list(range(96, 128))
    (tapped,) = made_by(graph, "backbone.blocks.3.project.conv")
    assert ("skip.conv", INPUTS) in sides(tapped)
    fixed = {name for group in graph.groups if group.fixed for name in group.makers}
    assert fixed == {"classifier", "auxiliary.2"}
    (auxiliary,) = made_by(graph, "backbone.blocks.7.project.conv")
    assert ("auxiliary.0.conv", INPUTS) in sides(auxiliary)
