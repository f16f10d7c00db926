"""`kit labels`: checks every picture and label of a data set before a training run meets them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..data.check import Finding, Report, check
from ..data.dataset import Dataset, Pair
from ..data.layouts import LAYOUTS, open_dataset
from ..errors import KitError, plain
from ..files import check_file, write_whole

HELP = "check the pictures and labels of a data set"
_SHOWN = 50


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kit labels`."""
    parser.add_argument("dataset", type=Path, help="the folder of the data set")
    parser.add_argument("--layout", default="auto", choices=["auto", *LAYOUTS], help="default: what the folder has")
    parser.add_argument("--split", nargs="+", default=[], metavar="S", help="only these splits (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything that was found there too")


def run(args: argparse.Namespace) -> None:
    """Prints the report.

    Raises:
        KitError: when the data set has errors, or the JSON can't be written.
    """
    dataset = open_dataset(args.dataset, args.layout)
    if args.json is not None:
        check_file(args.json)
    report = check(dataset, args.split, _progress)
    if args.json is not None:
        write_whole(args.json, (json.dumps(as_json(dataset, report), indent=2) + "\n").encode("utf-8"))
    print(plain(as_text(dataset, report)))
    if report.errors:
        errors = "1 error" if len(report.errors) == 1 else f"{len(report.errors)} errors"
        raise KitError(f"{dataset.root}: {errors} in the data set, see above")


def as_text(dataset: Dataset, report: Report) -> str:
    """The report for eyes."""
    lines = [f"{dataset.name} in {dataset.root}: {len(dataset.classes)} classes"]
    lines += _licences(dataset.origin()["sources"])
    for name, count in report.splits.items():
        sizes = ", ".join(f"{width}x{height} ({number})" for (width, height), number in count.sizes.most_common(8))
        others = f", {len(count.sizes) - 8} other sizes" if len(count.sizes) > 8 else ""
        lines.append(f"{name}: {count.pictures} pictures; sizes {sizes or 'unknown'}{others}")
    if report.splits:
        lines += ["", *_table(dataset, report)]
    lines += ["", *_listed("error", report.errors), *_listed("warning", report.warnings)]
    return "\n".join(lines)


def _licences(sources: Sequence[Mapping[str, str]]) -> list[str]:
    """The licence of the data, or of each of its sources in a line of its own: their names hold any characters."""
    if len(sources) == 1:
        return [f"licence: {sources[0]['licence']}"] if sources[0]["licence"] else []
    told = (f"{each.get('name') or 'unnamed'}: {each.get('licence') or 'not stated'}" for each in sources)
    return ["licences:", *(f"  {' '.join(line.split())}" for line in told)]


def as_json(dataset: Dataset, report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {
        "name": dataset.name,
        "root": str(dataset.root),
        "splits": {
            name: {
                "pictures": count.pictures,
                "sizes": {f"{width}x{height}": number for (width, height), number in count.sizes.items()},
                "void_pixels": count.void,
                "void_share": count.void_share(),
                "classes": [
                    {"name": info.name, "pixels": int(pixels), "share": float(share), "pictures": int(pictures)}
                    for info, pixels, share, pictures in zip(
                        dataset.classes, count.pixels, count.shares(), count.seen_in, strict=True
                    )
                ],
            }
            for name, count in report.splits.items()
        },
        "errors": [{"file": str(found.file), "message": found.message} for found in report.errors],
        "warnings": [{"file": str(found.file), "message": found.message} for found in report.warnings],
    }


def _table(dataset: Dataset, report: Report) -> list[str]:
    """A row per class: its share of the labelled pixels and the pictures that have it, for each split."""
    rows = [["id", "class", *(text for name in report.splits for text in (f"{name}: share", "pictures"))]]
    for index, info in enumerate(dataset.classes):
        row = [str(index), info.name]
        for count in report.splits.values():
            row += [f"{count.shares()[index]:.3%}", str(count.seen_in[index])]
        rows.append(row)
    void = (text for count in report.splits.values() for text in (f"{count.void_share():.3%}", ""))
    rows.append(["", "void (of all)", *void])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 1 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _listed(kind: str, findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return [f"no {kind}s"]
    lines = [f"{kind}: {found.message}" for found in findings[:_SHOWN]]
    if len(findings) > _SHOWN:
        lines.append(f"{len(findings) - _SHOWN} more {kind}s; --json FILE lists them all")
    return lines


def _progress(pairs: Sequence[Pair], split: str) -> Iterable[Pair]:
    """A line on the terminal; none where stderr is a file."""
    bar: Iterable[Pair] = tqdm(pairs, desc=split, unit="picture", disable=None)
    return bar
