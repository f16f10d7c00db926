"""Post-training quantisation: which pictures, what is refused, and that each refinement does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from quant_networks import PLAIN, inputs, pictures, settled
from torch import nn

from pspnet_kit.errors import KitError
from pspnet_kit.quant.graph import trace
from pspnet_kit.quant.ops import Conv, convolve, run
from pspnet_kit.quant.ptq import Settings, choose_pictures, float_ranges, quantise
from pspnet_kit.quant.quantised import quantise_graph
from pspnet_kit.quant.ranges import weight_scales
from pspnet_kit.quant.refine import Refinement, refine
from pspnet_kit.quant.rounding import compensated, covariance
from pspnet_kit.quant.simulate import simulate


def test_pictures_are_spread_over_the_set() -> None:
    assert choose_pictures(10, 2) == [2, 7]
    assert choose_pictures(9, 3) == [1, 4, 7]
    assert choose_pictures(3, 100) == [0, 1, 2]


def test_one_picture_is_refused_unless_forced() -> None:
    with pytest.raises(KitError, match="one picture"):
        choose_pictures(1, 100)
    with pytest.raises(KitError, match="one picture"):
        choose_pictures(100, 1)
    assert choose_pictures(1, 100, force=True) == [0]


@pytest.mark.parametrize("force", [False, True])
def test_an_empty_set_is_refused(force: bool) -> None:
    with pytest.raises(KitError, match="no pictures"):
        choose_pictures(0, 100, force)


def test_pictures_of_another_size_are_refused() -> None:
    graph = trace(nn.Sequential(nn.Conv2d(3, 2, 1)), torch.zeros(1, 3, 8, 8))
    with pytest.raises(KitError, match=r"calibration picture 1 is uint8 \(8, 9, 3\)"):
        quantise(graph, [np.zeros((8, 8, 3), np.uint8), np.zeros((8, 9, 3), np.uint8)])
    with pytest.raises(KitError, match="one picture"):
        quantise(graph, [np.zeros((8, 8, 3), np.uint8)])


def test_int8_is_close_to_float() -> None:
    model = settled(PLAIN)
    graph = trace(model, inputs(1))
    ir = quantise(graph, pictures(4))
    with torch.no_grad():
        exact = model(inputs(6)[4:])
    unseen = torch.from_numpy(np.stack(pictures(6)[4:]))
    rounded = ir.affines[ir.graph.output].dequantise(simulate(ir, unseen)[ir.graph.output])
    noise = (rounded - exact).square().mean() / exact.var()
    assert noise < 0.02


def test_rounding_makes_up_for_what_it_did_to_correlated_inputs() -> None:
    # Both inputs are always equal: only the sum of the weights matters. 1.4 + 1.4 is 3 with one up, 2 with both down.
    spread = torch.tensor([[1.0, 1.0], [1.0, 1.0]]).double()
    rounded = compensated(torch.tensor([[1.4, 1.4]])[:, :, None, None], torch.ones(1), spread)
    assert sorted(rounded.flatten().tolist()) == [1.0, 2.0]


def test_rounding_of_independent_inputs_is_to_nearest() -> None:
    weight = torch.tensor([[1.4, -2.6, 0.2]])[:, :, None, None]
    assert compensated(weight, torch.ones(1), torch.eye(3).double()).flatten().tolist() == [1.0, -3.0, 0.0]


def test_rounding_stays_in_int8() -> None:
    weight = torch.full((1, 4, 1, 1), 127.4)
    assert compensated(weight, torch.ones(1), torch.ones(4, 4).double()).max() == 127


def test_covariance_of_a_pointwise_convolution() -> None:
    conv = nn.Sequential(nn.Conv2d(2, 1, 1))
    x = torch.tensor([[[[1.0, 3.0]], [[2.0, -2.0]]]])
    node = trace(conv, x).convolutions[0]
    # Means 2 and 0; deviations (-1, 1) and (2, -2).
    assert covariance(node, x).tolist() == [[1.0, -2.0], [-2.0, 4.0]]


def test_a_depthwise_convolution_has_one_covariance_per_channel() -> None:
    node = trace(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, groups=3)), torch.zeros(1, 3, 4, 4)).convolutions[0]
    assert covariance(node, torch.randn(2, 3, 4, 4)).shape == (3, 9, 9)


def test_compensated_rounding_changes_outputs_less_than_nearest() -> None:
    torch.manual_seed(0)
    conv = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1, bias=False))
    x = inputs(2)
    node = trace(conv, x[:1]).convolutions[0]
    scales = weight_scales(node.weight, node.bias, 1 / 128) * 16  # coarse, so that the difference shows
    column = scales[:, None, None, None]
    nearest = torch.round(node.weight / column) * column
    better = compensated(node.weight, scales, covariance(node, x))
    exact = convolve(node, x, node.weight, None)
    # Means do not count: the bias takes them back.
    errors = [(convolve(node, x, w, None) - exact).var((0, 2, 3)).sum() for w in (nearest, better)]
    assert errors[1] < 0.7 * errors[0]


def test_corrected_biases_give_the_float_network_s_means() -> None:
    x = inputs(3)
    # By how much the means are off, without and with the correction. Of one network the former may be small by chance.
    off = torch.zeros(2)
    for seed in range(4):
        graph = trace(settled(PLAIN, seed), inputs(1))
        base = quantise(graph, pictures(3), Settings(refinement=Refinement(False, False)))
        corrected = refine(base, x, Refinement(rounding=False, bias=True))
        with torch.no_grad():
            exact = {node.name: value for node, value in run(graph, x)}[graph.output].mean((0, 2, 3))
        step = base.affines[graph.output].scale
        for index, ir in enumerate((base, corrected)):
            out = simulate(ir, torch.from_numpy(np.stack(pictures(3))))[graph.output]
            error = (ir.affines[graph.output].dequantise(out).mean((0, 2, 3)) - exact).abs()
            off[index] += error.sum() / step
            assert index == 0 or error.max() < 0.75 * step
    assert off[1] < 0.5 * off[0], off


def test_groups_of_one_range_have_one_scale() -> None:
    graph = trace(settled(PLAIN), inputs(1))
    ir = quantise(graph, pictures(2), Settings("minmax", refinement=Refinement(False, False)))
    concat = graph.nodes["cat"]
    assert {ir.affines[name] for name in concat.inputs} == {ir.affines["cat"]}
    assert ir.affines["backbone.stem.conv"].zero_point == -128


def test_the_average_of_a_group_is_that_of_all_its_tensors_together() -> None:
    graph = trace(settled(PLAIN), inputs(1))
    group = graph.range_groups()["cat"]
    ends = []
    with torch.no_grad():
        for x in inputs(2).split(1):
            seen = [value for node, value in run(graph, x) if graph.range_groups()[node.name] == group]
            assert len(seen) > 3
            ends.append((min(float(value.min()) for value in seen), max(float(value.max()) for value in seen)))
    ranges = float_ranges(graph, inputs(2).split(1), Settings("average"))
    assert ranges[group] == pytest.approx([0.9 * first + 0.1 * second for first, second in zip(*ends, strict=True)])


def test_quantised_weights_are_those_of_the_graph() -> None:
    graph = trace(settled(PLAIN), inputs(1))
    ir = quantise_graph(graph, dict.fromkeys(set(graph.range_groups().values()) - {graph.input.name}, (-1.0, 1.0)))
    for node in graph:
        if isinstance(node, Conv):
            q = ir.weights[node.name]
            error = np.abs(q.weight * q.scales[:, None, None, None] - node.weight.numpy())
            assert (error <= q.scales[:, None, None, None] * 0.501).all()
