"""Says of a TFLite model which operators the Edge TPU compiler maps, and whether its parameters fit on the chip.

The rules for one operator are in edgetpu_rules; here is the graph: what one unmapped operator takes with it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KitError
from .edgetpu_rules import Finding, judge, parameters
from .tflite_reader import Graph, Operator, read

COMPILED = "edgetpu-custom-op"
ON_CHIP_BYTES = 8_000_000
"""About 8 MB of SRAM (https://coral.ai/docs/edgetpu/compiler/, "Parameter data caching")."""
USABLE_BYTES = 6_900_000
"""What is left for parameters beside the executable: published compiler reports cache 5.99 to 6.86 MiB when a model
does not fit (github.com/google-coral/edgetpu issues 60, 211, 322)."""


@dataclass(frozen=True)
class Placement:
    """Where one operator runs, and why."""

    operator: Operator
    findings: list[Finding]
    on_edgetpu: bool

    @property
    def refused(self) -> bool:
        return any(finding.refused for finding in self.findings)

    @property
    def status(self) -> str:
        if self.on_edgetpu:
            return "unsure" if self.findings else "maps"
        return "refused" if self.refused else "split off"


@dataclass(frozen=True)
class Verdict:
    """What is known about a model before any compiler has seen it."""

    path: Path
    graph: Graph
    placements: list[Placement]
    compiled: bool
    """Whether the file already is a compiled one."""

    @property
    def left(self) -> list[Placement]:
        """What runs on the CPU."""
        return [placement for placement in self.placements if not placement.on_edgetpu]

    @property
    def unsure(self) -> list[Placement]:
        return [placement for placement in self.placements if placement.status == "unsure"]

    @property
    def first_refused(self) -> Placement | None:
        """Where the graph splits."""
        return next((placement for placement in self.placements if placement.refused), None)

    @property
    def parameter_bytes(self) -> int:
        """Weights and biases of the mapped operators, each constant once. The compiler's layout adds some per cent."""
        mapped = [placement.operator for placement in self.placements if placement.on_edgetpu]
        return sum({tensor.index: tensor.size for operator in mapped for tensor in parameters(operator)}.values())

    @property
    def fits(self) -> bool:
        return self.parameter_bytes <= USABLE_BYTES

    @property
    def passes(self) -> bool:
        return not self.left and self.graph.subgraphs == 1


def check(path: Path) -> Verdict:
    """Applies the rules to the model at `path`.

    Raises:
        KitError: when the file can't be read or is no TFLite model.
    """
    graph = read(path)
    compiled = any(operator.name == COMPILED for operator in graph.operators)
    if compiled:
        placements = [Placement(operator, [], operator.name == COMPILED) for operator in graph.operators]
        return Verdict(path, graph, placements, True)
    findings = [judge(operator) for operator in graph.operators]
    good = [not any(finding.refused for finding in found) for found in findings]
    mapped = first_partition(graph, good)
    placements = [Placement(each, findings[each.index], each.index in mapped) for each in graph.operators]
    return Verdict(path, graph, placements, False)


def first_partition(graph: Graph, good: Sequence[bool]) -> set[int]:
    """The operators that become the one Edge TPU subgraph, of those that the rules let pass.

    TFLite cuts a graph into partitions that alternate between the CPU and a delegate, each as large as its inputs allow
    (tensorflow/lite/graph_info.cc); the compiler keeps the first delegate's one and leaves the others to the CPU as
    "More than one subgraph is not supported" (github.com/google-coral/edgetpu/issues/461).
    """
    made_by = {tensor.index: operator.index for operator in graph.operators for tensor in operator.outputs}
    needs = [{made_by[t.index] for t in operator.variables if t.index in made_by} for operator in graph.operators]
    done: set[int] = set()
    while len(done) < len(graph.operators):
        waiting = [operator.index for operator in graph.operators if operator.index not in done]
        ready = [index for index in waiting if needs[index] <= done]
        if not ready:
            break
        kind = good[ready[0]]
        partition: set[int] = set()
        # Execution order is topological, so one pass takes all that can be taken.
        for index in waiting:
            if good[index] == kind and needs[index] <= done | partition:
                partition.add(index)
        if kind:
            return partition
        done |= partition
    return set()


def as_json(verdict: Verdict) -> dict[str, Any]:
    """The verdict as plain values."""
    first = verdict.first_refused
    return {
        "file": str(verdict.path),
        "compiled": verdict.compiled,
        "passes": verdict.passes,
        "operators_on_edgetpu": len(verdict.placements) - len(verdict.left),
        "operators_on_cpu": len(verdict.left),
        "first_refused": None if first is None else first.operator.index,
        "subgraphs": verdict.graph.subgraphs,
        "parameter_bytes": None if verdict.compiled else verdict.parameter_bytes,
        "parameter_bytes_usable": USABLE_BYTES,
        "parameters_fit": None if verdict.compiled else verdict.fits,
        "inputs": [{"name": t.name, "type": t.dtype.lower(), "shape": list(t.shape)} for t in verdict.graph.inputs],
        "outputs": [{"name": t.name, "type": t.dtype.lower(), "shape": list(t.shape)} for t in verdict.graph.outputs],
        "operators": [
            {
                "index": placement.operator.index,
                "name": placement.operator.name,
                "version": placement.operator.version,
                "output": placement.operator.outputs[0].name if placement.operator.outputs else "",
                "status": placement.status,
                "findings": [
                    {"reason": f.reason, "remedy": f.remedy, "refused": f.refused} for f in placement.findings
                ],
            }
            for placement in verdict.placements
        ],
    }


def as_text(verdict: Verdict) -> str:
    """The verdict for people: what maps, what does not and what to do about it."""
    total, left = len(verdict.placements), len(verdict.left)
    lines = [f"{verdict.path}"]
    lines += [f"  input   {tensor} '{tensor.name}'" for tensor in verdict.graph.inputs]
    lines += [f"  output  {tensor} '{tensor.name}'" for tensor in verdict.graph.outputs]
    if verdict.compiled:
        lines.append(f"  compiled for the Edge TPU already ({COMPILED}); operators beside it: {left}")
        lines += [f"    {placement.operator.name} runs on the CPU" for placement in verdict.left]
        return "\n".join(lines)
    lines.append(f"  operators: {total - left} of {total} on the Edge TPU, {left} on the CPU")
    if verdict.graph.subgraphs > 1:
        lines.append(f"  {verdict.graph.subgraphs} subgraphs: loops and branches do not map; export without them")
    lines.append(
        f"  parameters: {verdict.parameter_bytes / 1e6:.2f} MB, "
        + ("fit on the chip" if verdict.fits else "do not fit on the chip: the rest is streamed on every run")
        + f" (about {USABLE_BYTES / 1e6:.1f} of {ON_CHIP_BYTES / 1e6:.0f} MB are usable)"
    )
    if verdict.left:
        lines += ["", "Does not map:", *_table([p for p in verdict.left if p.refused])]
        behind = [p for p in verdict.left if not p.refused]
        first = verdict.first_refused
        if behind and first:
            names = ", ".join(sorted({p.operator.name for p in behind}))
            lines.append(
                f"  {len(behind)} operators that would map run on the CPU as well ({names}): one subgraph is compiled, "
                f"and the graph splits at operator {first.operator.index}, {first.operator.name}"
            )
    if verdict.unsure:
        lines += ["", "Maps as far as is known; only the compiler can tell:", *_table(verdict.unsure)]
    lines += ["", "Everything maps." if verdict.passes else "Not everything maps."]
    return "\n".join(lines)


def _table(placements: Sequence[Placement]) -> list[str]:
    """Operators by their findings: the same one is said once, for all that have it."""
    groups: dict[tuple[str, str, str], list[Operator]] = {}
    for placement in placements:
        operator = placement.operator
        for finding in placement.findings:
            if finding.refused == placement.refused:
                key = (f"{operator.name} v{operator.version}", finding.reason, finding.remedy)
                groups.setdefault(key, []).append(operator)
    lines = []
    for (name, reason, remedy), operators in groups.items():
        where = ", ".join(str(operator.index) for operator in operators)
        plural = "s" if len(operators) > 1 else ""
        outputs = ", ".join(f"'{operator.outputs[0].name}'" for operator in operators[:8] if operator.outputs)
        more = " …" if len(operators) > 8 else ""
        lines += [f"  {name}, operator{plural} {where} ({outputs}{more})", f"    {reason}", f"    to do: {remedy}"]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line: 0 everything maps, 1 something does not, 2 no readable model."""
    parser = argparse.ArgumentParser(
        prog="check_edgetpu.py",
        description="Says which operators of a TFLite model the Edge TPU compiler maps, by its documented rules.",
        epilog="Exit status: 0 everything maps, 1 something does not, 2 the file is no readable TFLite model.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL.tflite")
    parser.add_argument("--json", action="store_true", help="print the verdict as JSON")
    options = parser.parse_args(arguments)
    try:
        verdict = check(options.model)
    except KitError as error:
        print(f"check_edgetpu.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(as_json(verdict), indent=2) if options.json else as_text(verdict))
    return 0 if verdict.passes else 1
