"""Judgements as JSON and as text tables, several models side by side."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_whole
from .judgement import Judgement


def as_dict(judgement: Judgement) -> dict[str, Any]:
    """Everything about one model; figures that don't exist are None. Shares are 0 to 1."""
    confusion = judgement.confusion
    names = [entry.name for entry in judgement.classes]
    found: dict[str, Any] = {
        "name": judgement.name,
        "model": judgement.path,
        "pictures": len(judgement.picture_accuracy),
        "pixels": confusion.pixels,
        "miou": _plain(confusion.mean_iou()),
        "pixel_accuracy": _plain(confusion.pixel_accuracy()),
        "mean_accuracy": _plain(confusion.mean_accuracy()),
        "frequency_weighted_iou": _plain(confusion.frequency_weighted_iou()),
        "iou": dict(zip(names, map(_plain, confusion.iou()), strict=True)),
        "boundary_f": _plain(judgement.boundary.mean()),
        "boundary_f_by_class": dict(zip(names, map(_plain, judgement.boundary.scores()), strict=True)),
        "calibration_error": _plain(judgement.calibration.expected_error()),
        "brier": _plain(judgement.calibration.brier()),
        "reliability": [
            {
                "low": b.low,
                "high": b.high,
                "pixels": b.pixels,
                "confidence": _plain(b.confidence),
                "accuracy": _plain(b.accuracy),
            }
            for b in judgement.calibration.reliability()
        ],
        "pixel_accuracy_by_picture": judgement.picture_accuracy,
        "confusion": confusion.counts.tolist(),
    }
    if groups := _groups(judgement):
        found["groups"] = {"miou": _plain(groups[1]), "iou": {name: _plain(iou) for name, iou in groups[0].items()}}
    if judgement.cost:
        found |= {"parameters": judgement.cost.parameters, "macs": judgement.cost.macs, "bytes": judgement.cost.bytes}
    if judgement.speed:
        found["speed"] = judgement.speed.as_dict()
    if judgement.agreement:
        told = judgement.agreement
        found["agreement"] = {
            "pictures": told.pictures,
            "pixels": told.pixels,
            "differing": told.differing,
            "share": told.share,
            "daemon_miou": _plain(told.daemon_mean_iou),
            "miou": _plain(told.mean_iou),
        }
    return found


def write_json(path: Path, judgements: Sequence[Judgement], about: dict[str, Any]) -> None:
    """Writes `about` (what was asked) and one object per model.

    Raises:
        KitError: when it can't be written.
    """
    text = json.dumps({**about, "models": [as_dict(judgement) for judgement in judgements]}, indent=1)
    write_whole(path, (text + "\n").encode("utf-8"))


def tables(judgements: Sequence[Judgement]) -> str:
    """What a terminal shows: IoU and boundary F-score by class, then the sums, cost and speed; a column per model."""
    heads = [judgement.name for judgement in judgements]
    parts = [align([["IoU %", *heads], *_by_class(judgements)])]
    grouped = [_groups(judgement) for judgement in judgements]
    if grouped[0]:
        rows = [[group, *(_percent(g[0][group]) for g in grouped if g)] for group in grouped[0][0]]
        rows.append(["mean of groups", *(_percent(g[1]) for g in grouped if g)])
        parts.append(align([["groups, IoU %", *heads], *rows]))
    parts.append(align([["", *heads], *_sums(judgements)]))
    return "\n\n".join(parts)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Text in columns: the first to the left, the others to the right."""
    rows = [[" ".join(cell.splitlines()) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = (
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )
    return "\n".join(line.rstrip() for line in lines)


def _by_class(judgements: Sequence[Judgement]) -> list[list[str]]:
    ious = [judgement.confusion.iou() for judgement in judgements]
    rows = [[entry.name, *(_percent(iou[index]) for iou in ious)] for index, entry in enumerate(judgements[0].classes)]
    rows.append(["mIoU", *(_percent(judgement.confusion.mean_iou()) for judgement in judgements)])
    return rows


def _sums(judgements: Sequence[Judgement]) -> list[list[str]]:
    rows = [
        ["pixel accuracy %", *(_percent(j.confusion.pixel_accuracy()) for j in judgements)],
        ["mean accuracy %", *(_percent(j.confusion.mean_accuracy()) for j in judgements)],
        ["frequency-weighted IoU %", *(_percent(j.confusion.frequency_weighted_iou()) for j in judgements)],
        ["boundary F %", *(_percent(j.boundary.mean()) for j in judgements)],
        ["calibration error %", *(_percent(j.calibration.expected_error()) for j in judgements)],
    ]
    if any(j.cost for j in judgements):
        rows += [
            ["parameters, M", *(f"{j.cost.parameters / 1e6:.3f}" if j.cost else "-" for j in judgements)],
            ["GMAC", *(f"{j.cost.macs / 1e9:.3f}" if j.cost else "-" for j in judgements)],
            ["MB", *(f"{j.cost.bytes / 1e6:.3f}" if j.cost else "-" for j in judgements)],
        ]
    if any(j.speed for j in judgements):
        rows += [
            ["ms, one thread", *(f"{j.speed.milliseconds:.2f}" if j.speed else "-" for j in judgements)],
            ["times as fast", *(f"{j.speed.ratio:.2f}" if j.speed else "-" for j in judgements)],
            [
                "  quartiles",
                *("{:.2f}-{:.2f}".format(*j.speed.ratio_quartiles) if j.speed else "-" for j in judgements),
            ],
            ["measured in", *(j.speed.engine if j.speed else "-" for j in judgements)],
        ]
    if any(j.agreement for j in judgements):
        rows.append(
            ["differs from pspnetd, %", *(f"{100 * j.agreement.share:.4f}" if j.agreement else "-" for j in judgements)]
        )
    return rows


def _groups(judgement: Judgement) -> tuple[dict[str, float], float] | None:
    """IoU by group and their mean; None where groups say no more than classes."""
    groups = [entry.group or entry.name for entry in judgement.classes]
    if len(set(groups)) == len(groups):
        return None
    names, merged = judgement.confusion.grouped(groups)
    return dict(zip(names, map(float, merged.iou()), strict=True)), merged.mean_iou()


def _percent(value: float | np.floating[Any]) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.2f}"


def _plain(value: float | np.floating[Any]) -> float | None:
    return None if math.isnan(value) else float(value)
