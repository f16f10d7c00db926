"""A network with every number that its int8 file holds."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import KitError
from .ops import Conv, OpGraph
from .ranges import PICTURE, Affine, QuantisedWeights, affine, quantise_weights


@dataclass(frozen=True)
class QuantisedGraph:
    graph: OpGraph
    affines: dict[str, Affine]
    """Of every tensor; those of one range group are equal."""
    weights: dict[str, QuantisedWeights]
    """Of every convolution, by its name."""


def quantise_graph(graph: OpGraph, ranges: dict[str, tuple[float, float]]) -> QuantisedGraph:
    """Weights and biases of `graph` in int8 and int32, given low and high of every range group but the input's.

    Raises:
        KitError: when the range of a group is missing.
    """
    groups = graph.range_groups()
    by_group = {group: affine(*ends) for group, ends in ranges.items()}
    by_group[groups[graph.input.name]] = PICTURE
    if missing := sorted(set(groups.values()) - set(by_group)):
        raise KitError(f"quantise: the checkpoint has no range of {missing[0]}; train it again with kit qat")
    affines = {name: by_group[group] for name, group in groups.items()}
    weights = {
        node.name: quantise_weights(node.weight, node.bias, affines[node.inputs[0]].scale)
        for node in graph
        if isinstance(node, Conv)
    }
    return QuantisedGraph(graph, affines, weights)
