"""The ablation table of docs/models.md: every model of a list judged, costed and timed in one run.

The list is a TOML file with one `[[row]]` per model: `name`, `model` (a .pt or .tflite, relative to the list), and if
wanted `note` and `command`. `reference` names the row that speed refers to, `plot = false` keeps a row out of the plot.
`mark` names the markers that the table goes between, of several tables in one document.
`reference_published` is the reference's mIoU in percent where the published networks of the plot were judged, if the
pictures here are others: the plot then shows differences to the reference.
"""

from __future__ import annotations

import lzma
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import KitError
from ..files import read_bytes, read_toml
from ..page import code, line
from .judgement import Judgement
from .plots import Anchor, Point
from .predictors import SUFFIXES

MARK = "ablation"


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    model: Path
    note: str = ""
    command: str = ""
    plot: bool = True


@dataclass(frozen=True)
class Plan:
    """What is to be compared."""

    rows: tuple[Row, ...]
    reference: int
    """Index of the row that speed refers to."""
    reference_published: float | None = None
    """Its mIoU in percent on the pictures of the published networks."""
    mark: str = MARK
    """Name of the table's place in the document."""


def read_plan(path: Path) -> Plan:
    """Reads and checks the list.

    Raises:
        KitError: when it is no TOML, a key is unknown, a name is there twice, or a model's file is missing.
    """
    values = read_toml(path)
    _refuse_unknown(path, "", values, ("reference", "reference_published", "mark", "row"))
    entries = values.get("row")
    if not isinstance(entries, list) or not entries:
        raise KitError(f"{path}: has no [[row]]; expected one for each model")
    rows = tuple(_row(path, number, entry) for number, entry in enumerate(entries, 1))
    names = [row.name for row in rows]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise KitError(f"{path}: the name {name!r} is there twice")
    reference = values.get("reference", names[0])
    if reference not in names:
        raise KitError(f"{path}: reference {reference!r}: expected the name of a row ({', '.join(names)})")
    published = values.get("reference_published")
    if published is not None and (isinstance(published, bool) or not isinstance(published, (int, float))):
        raise KitError(f"{path}: reference_published {published!r}: expected a number in percent")
    if published is not None and not 0 < published < 100:
        raise KitError(f"{path}: reference_published {published}: expected more than 0 and less than 100 percent")
    mark = values.get("mark", MARK)
    if not isinstance(mark, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", mark):
        raise KitError(f"{path}: mark {mark!r}: expected words of small letters and digits with hyphens between them")
    return Plan(rows, names.index(reference), published, mark)


def _row(path: Path, number: int, entry: Any) -> Row:
    where = f"row {number}: "
    if not isinstance(entry, dict):
        raise KitError(f"{path}: {where}expected a table, [[row]]")
    _refuse_unknown(path, where, entry, ("name", "model", "note", "command", "plot"))
    for key in ("name", "model", "note", "command"):
        if not isinstance(entry.get(key, ""), str):
            raise KitError(f"{path}: {where}{key}: expected text")
        if key in ("name", "model") and not entry.get(key):
            raise KitError(f"{path}: {where}has no {key}")
    plot = entry.get("plot", True)
    if not isinstance(plot, bool):
        raise KitError(f"{path}: {where}plot: expected true or false")
    model = path.parent / entry["model"]
    if model.suffix not in SUFFIXES or not model.is_file():
        raise KitError(f"{path}: {where}{model}: no such file; expected a .pt or .tflite, named from the list's folder")
    return Row(entry["name"], model, entry.get("note", ""), entry.get("command", ""), plot)


def _refuse_unknown(path: Path, where: str, found: dict[str, Any], known: Sequence[str]) -> None:
    if unknown := sorted(set(found) - set(known)):
        raise KitError(f"{path}: {where}unknown {', '.join(unknown)}; known are {', '.join(known)}")


def markdown(plan: Plan, judgements: Sequence[Judgement], command: str, data: str) -> str:
    """The table, with what it was measured on; then the commands of the rows that have one.

    Raises:
        KitError: when a row was not costed or timed.
    """
    heads = [
        "model",
        "mIoU %",
        "boundary F %",
        "parameters",
        "GMAC",
        "MB",
        "MB in xz",
        "ms",
        f"times as fast as {plan.rows[plan.reference].name}",
        "",
    ]
    body = [_cells(row, judgement) for row, judgement in zip(plan.rows, judgements, strict=True)]
    lines = [
        f"Measured in one run by {code(command)}: {' '.join(data.split())}.",
        "",
        line(heads),
        line(["---", *["---:"] * 8, "---"]),
        *(line(cells) for cells in body),
        "",
        _legend(judgements),
    ]
    commands = [row for row in plan.rows if row.command]
    if commands:
        lines += ["", "| model | made by |", "| --- | --- |"]
        lines += [line([row.name, code(row.command)]) for row in commands]
    return "\n".join(lines)


def _cells(row: Row, judgement: Judgement) -> list[str]:
    cost, speed = judgement.cost, judgement.speed
    if cost is None or speed is None:
        raise KitError(f"{row.model}: was not costed and timed")
    ms = f"{speed.milliseconds:.1f}" if speed.milliseconds >= 10 else f"{speed.milliseconds:.2f}"
    return [
        row.name,
        f"{100 * judgement.confusion.mean_iou():.2f}",
        f"{100 * judgement.boundary.mean():.2f}",
        f"{cost.parameters / 1e6:.3f} M",
        f"{cost.macs / 1e9:.3f}",
        f"{cost.bytes / 1e6:.2f}",
        f"{shipped(row.model) / 1e6:.2f}" if is_tflite(judgement) else "",
        ms if is_tflite(judgement) else f"{ms} *",
        speed.ratio_told,
        row.note,
    ]


def shipped(path: Path) -> int:
    """Bytes of the file as a package ships it, compressed by xz."""
    return len(lzma.compress(read_bytes(path), preset=9))


def is_tflite(judgement: Judgement) -> bool:
    """Whether it ran in an engine that devices run, not in PyTorch."""
    return judgement.path.endswith(".tflite")


def _legend(judgements: Sequence[Judgement]) -> str:
    engines = {is_tflite(j): j.speed.engine for j in judgements if j.speed}
    told = [f"ms: the network alone, one thread, {engines[True]}"] if True in engines else []
    if False in engines:
        told.append(f"with *: {engines[False]}, no measure of what int8 saves on its own")
    rounds = {len(j.speed.rounds) for j in judgements if j.speed}
    told.append(f"medians of {max(rounds)} rounds in which the models took turns, in brackets the quartiles")
    return "; ".join(told) + "."


def points(plan: Plan, judgements: Sequence[Judgement]) -> list[Point]:
    """The rows that the plot shows."""
    return [point_of(judgement) for row, judgement in zip(plan.rows, judgements, strict=True) if row.plot]


def anchor(plan: Plan, judgements: Sequence[Judgement]) -> Anchor | None:
    """What the plot's heights are told from; None where the list says nothing of the published networks' pictures."""
    if plan.reference_published is None:
        return None
    ours = 100 * judgements[plan.reference].confusion.mean_iou()
    return Anchor(plan.rows[plan.reference].name, ours, plan.reference_published)


def point_of(judgement: Judgement) -> Point:
    """A judged model as the plot takes it.

    Raises:
        KitError: when it was not timed.
    """
    if judgement.speed is None:
        raise KitError(f"{judgement.path}: was not timed")
    low, high = judgement.speed.quartiles
    mean_iou = 100 * judgement.confusion.mean_iou()
    return Point(judgement.name, judgement.speed.milliseconds, mean_iou, low, high)
