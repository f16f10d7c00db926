"""What post-training quantisation does after the ranges are chosen: weights rounded for the least change of the
outputs, and biases that take back the shift of their mean (Nagel et al. 2019, section 4.2), layer by layer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .ops import Conv, Node, OpGraph, activate, compute, convolve
from .quantised import QuantisedGraph
from .ranges import quantise_weights, weight_scales
from .rounding import compensated, covariance


@dataclass(frozen=True)
class Refinement:
    rounding: bool = True
    """Round weights by rounding.compensated instead of to nearest."""
    bias: bool = True
    """Correct the biases."""
    kept: frozenset[str] = frozenset()
    """Paths of convolutions whose weights take few values and shall keep them: rounded to nearest in any case."""


def refine(ir: QuantisedGraph, inputs: Tensor, wanted: Refinement) -> QuantisedGraph:
    """Better weights and biases for the same ranges.

    Args:
        ir: what quantise_graph made.
        inputs: calibration pictures, float `[n, 3, h, w]`; all n are held in memory, as float and as int8 would have
            them.
        wanted: which parts.
    """
    graph = ir.graph
    nodes: dict[str, Node] = dict(graph.nodes)
    weights = dict(ir.weights)
    exact = {graph.input.name: inputs}
    rounded = {graph.input.name: inputs}
    ends = graph.last_uses()
    with torch.no_grad():
        for node in list(graph)[1:]:
            ours, theirs = ([values[name] for name in node.inputs] for values in (rounded, exact))
            if isinstance(node, Conv):
                input_scale = ir.affines[node.inputs[0]].scale
                scales = weight_scales(node.weight, node.bias, input_scale)
                weight = node.weight
                if wanted.rounding and node.module not in wanted.kept:
                    weight = compensated(node.weight, scales, covariance(node, ours[0]))
                steps = torch.round(weight / scales[:, None, None, None]) * scales[:, None, None, None]
                aim = convolve(node, theirs[0], node.weight, node.bias)
                got = convolve(node, ours[0], steps, node.bias)
                shift = (aim - got).mean((0, 2, 3)) if wanted.bias else torch.zeros_like(node.bias)
                nodes[node.name] = replace(node, bias=node.bias + shift)
                weights[node.name] = quantise_weights(weight, node.bias + shift, input_scale, scales)
                exact[node.name] = activate(aim, node.activation)
                value = activate(got + shift[None, :, None, None], node.activation)
            else:
                exact[node.name] = compute(node, theirs)
                value = compute(node, ours)
            affine = ir.affines[node.name]
            rounded[node.name] = affine.dequantise(affine.quantise(value))
            for name in ends.get(node.name, []):
                del exact[name], rounded[name]
    return QuantisedGraph(OpGraph(nodes, graph.output), ir.affines, weights)
