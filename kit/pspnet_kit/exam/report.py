"""The exam's results as text tables, as the table of a document, and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..files import digest, write_whole
from ..judge.report import align
from ..page import code, line
from .figures import Sums, plain, together
from .gather import Gathered
from .hold import Paper, Result

MARK = "exam"
"""Name of the table's place in a document."""


@dataclass(frozen=True)
class Figure:
    """One kind of number: its heading, how it comes from sums, and over which sets it makes sense together."""

    title: str
    value: Callable[[Sums], float]
    by_place: bool = True
    over_all: bool = True


def _impossible_confidence(sums: Sums) -> float:
    return sums.impossible.mean_confidence() if sums.confident else math.nan


FIGURES = (
    Figure("mIoU of the labelled groups, %", Sums.mean_iou),
    Figure("impossible groups, % of the pixels", lambda sums: sums.impossible.value(), over_all=False),
    Figure("confidence in impossible groups, %", _impossible_confidence, over_all=False),
    Figure("persons, IoU with the labels, %", Sums.persons),
    Figure("persons, IoU with the teacher where it is sure, %", Sums.persons_of_teacher),
    Figure("flips of still pixels per frame, from group to group, %", Sums.flip_share),
    Figure("flips of still pixels per frame, from class to class, %", Sums.class_flip_share),
    Figure("calibration error (ECE), %", Sums.calibration_error),
    Figure("below confidence 0.6, % of the pixels", lambda sums: sums.unsure.value()),
    Figure("errors that lie there, %", Sums.unsure_error_share),
)


@dataclass(frozen=True)
class Section:
    """A heading, and rows of a name and a number for each column."""

    title: str
    rows: list[tuple[str, list[float]]]
    digits: int = 2
    """Behind the point."""

    def cells(self) -> list[list[str]]:
        """The rows as text, in percent."""
        return [[name, *(_percent(value, self.digits) for value in values)] for name, values in self.rows]


def columns(results: Sequence[Result]) -> list[tuple[str, dict[str, Sums]]]:
    """A column for each model, and one for what the daemon made of it where that was asked."""
    found = []
    for result in results:
        found.append((result.name, result.litert))
        if result.pspnetd:
            found.append((f"{result.name} in pspnetd", result.pspnetd))
    return found


def sections(papers: Sequence[Paper], results: Sequence[Result]) -> list[Section]:
    """Every figure that some set has, by set, by place and over all sets."""
    sides = [sums for _, sums in columns(results)]
    found = [_section(figure, papers, sides) for figure in FIGURES]
    whole = [together(side.values()) for side in sides]
    ious = [sums.iou() for sums in whole]
    by_group = [(group, [iou[group] for iou in ious]) for group in whole[0].labelled()]
    found.insert(1, Section("IoU on all labelled sets, %", by_group))
    if any(result.pspnetd for result in results):
        shares = [share for r in results for share in ([r.share, r.share] if r.pspnetd else [math.nan])]
        found.append(Section("pixels that differ from pspnetd, %", [("all sets", shares)], digits=4))
    return [section for section in found if section.rows]


def _section(figure: Figure, papers: Sequence[Paper], sides: Sequence[dict[str, Sums]]) -> Section:
    rows = []
    having: list[Paper] = []
    for paper in papers:
        values = [figure.value(side[paper.name]) for side in sides]
        if _told(values):
            rows.append((_row_name(figure, paper), values))
            having.append(paper)
    places = list(dict.fromkeys(paper.place for paper in having))
    scopes = [(f"all {place}", [p.name for p in having if p.place == place]) for place in places if figure.by_place]
    if figure.over_all and len(places) > 1:
        scopes.append(("all sets", [p.name for p in having]))
    for name, sets in scopes:
        if len(sets) > 1:
            rows.append((name, [figure.value(together(side[each] for each in sets)) for side in sides]))
    return Section(figure.title, rows)


def _row_name(figure: Figure, paper: Paper) -> str:
    if figure.value is Sums.persons_of_teacher and paper.teacher:
        return f"{paper.name} ({paper.teacher.predictor.name}, sure by {paper.of.of.sure:g})"
    return paper.name


def tables(papers: Sequence[Paper], results: Sequence[Result]) -> str:
    """What a terminal shows: a column for each model and engine."""
    heads = [name for name, _ in columns(results)]
    rows: list[list[str]] = []
    for section in sections(papers, results):
        rows += [[section.title, *heads], *section.cells(), [""] * (1 + len(heads))]
    return align(rows[:-1])


def absences(gathered: Sequence[Gathered]) -> list[str]:
    """What was left out because it is not on this machine, a sentence for each set and thing."""
    found = []
    for each in gathered:
        if each.missing:
            what = f"is judged on {len(each.items)} pictures" if each.items else "is left out"
            count = f" ({each.missing_pictures} pictures)" if each.missing_pictures else ""
            found.append(f"set {each.of.name} {what}; not here{count}: {'; '.join(each.missing)}")
        found += [f"set {each.of.name}: {note}" for note in each.notes]
    return found


def markdown(papers: Sequence[Paper], results: Sequence[Result], command: str) -> str:
    """The table of a document."""
    heads = [name for name, _ in columns(results)]
    lines = [f"Measured in one run by {code(command)}.", ""]
    lines += [line(["figure", "sets", *heads]), line(["---", "---", *["---:"] * len(heads)])]
    for section in sections(papers, results):
        lines += [line(["" if index else section.title, *cells]) for index, cells in enumerate(section.cells())]
    counts = ", ".join(f"{paper.name} {len(paper.of.items)}" for paper in papers)
    return "\n".join([*lines, "", f"Pictures: {' '.join(counts.split())}."])


def as_dict(gathered: Sequence[Gathered], papers: Sequence[Paper], results: Sequence[Result]) -> dict[str, Any]:
    """Everything: the sets with what is missing of them, and the figures of each model by set, place and over all."""
    judged = {paper.name: paper for paper in papers}
    return {
        "sets": [_set(each, judged.get(each.of.name)) for each in gathered],
        "models": [
            {
                "name": result.name,
                "model": str(result.path),
                "sha256": digest(result.path),
                "groups": dict(zip(_classes(result), result.candidate.groups, strict=True)),
                "litert": _engine(papers, result.litert),
                "pspnetd": _engine(papers, result.pspnetd) if result.pspnetd else None,
                "differing": {"pixels": result.pixels, "differing": result.differing, "share": plain(result.share)},
            }
            for result in results
        ],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Raises KitError when it can't be written."""
    write_whole(path, (json.dumps(content, indent=1) + "\n").encode("utf-8"))


def _set(each: Gathered, paper: Paper | None) -> dict[str, Any]:
    still = None if paper is None or paper.still is None else float(paper.still.mean())
    return {
        "name": each.of.name,
        "place": each.of.place,
        "source": dict(each.of.source),
        "pictures": [item.picture.name for item in each.items],
        "missing": each.missing,
        "missing_pictures": each.missing_pictures,
        "notes": each.notes,
        "impossible": list(each.of.impossible),
        "teacher": _teacher(each, paper),
        "still_pixels": still,
    }


def _teacher(each: Gathered, paper: Paper | None) -> dict[str, Any] | None:
    if paper is None or paper.teacher is None:
        return None
    path = paper.teacher.predictor.path
    return {"name": paper.teacher.predictor.name, "model": str(path), "sha256": digest(path), "sure": each.of.sure}


def _engine(papers: Sequence[Paper], by_set: dict[str, Sums]) -> dict[str, Any]:
    places = dict.fromkeys(paper.place for paper in papers)
    return {
        "sets": {name: sums.as_dict() for name, sums in by_set.items()},
        "places": {
            place: together(by_set[paper.name] for paper in papers if paper.place == place).as_dict()
            for place in places
        },
        "all": together(by_set.values()).as_dict(),
    }


def _classes(result: Result) -> list[str]:
    return [entry.name for entry in result.candidate.predictor.class_infos]


def _told(values: Sequence[float]) -> bool:
    return not all(math.isnan(value) for value in values)


def _percent(value: float, digits: int) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.{digits}f}"
