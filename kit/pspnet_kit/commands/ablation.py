"""`kit ablation`: the table that shows what each step of compression does, and its plot, measured in one run.

The table is printed and the other files are written before a disagreement with the daemon is an error; the page gets no
table then.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

from ..errors import plain
from ..page import check_table, put_table
from .judge import (
    about,
    check_places,
    configure_pictures,
    draw_plot,
    judge_all,
    open_all,
    prepare,
    refuse_disagreement,
    time_all,
)

HELP = "judge and time all models of a list and write the table of docs/models.md"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "list", type=Path, metavar="LIST", help="TOML file with a [[row]] for each model: name, model, note, command"
    )
    configure_pictures(parser)
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the table between this file's <!-- ablation --> markers"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write mIoU against latency as PNG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")


def run(args: argparse.Namespace) -> None:
    from ..judge import report
    from ..judge.ablation import anchor, markdown, points, read_plan

    plan = read_plan(args.list)
    if args.docs:
        check_table(args.docs, plan.mark)
    check_places(plots=(args.plot,), files=(args.json,))
    bench = prepare(args)
    predictors = open_all([row.model for row in plan.rows], [row.name for row in plan.rows], bench.dataset)
    judgements = judge_all(predictors, bench)
    time_all(predictors, judgements, bench, args, plan.reference)
    data = f"{bench.dataset.name} {args.split}, {len(bench.pairs)} pictures"
    table = markdown(plan, judgements, command_line(), data)
    print(plain(table))
    if args.plot:
        shown = [judgement for row, judgement in zip(plan.rows, judgements, strict=True) if row.plot]
        draw_plot(points(plan, judgements), shown, bench, args.plot, anchor(plan, judgements))
    if args.json:
        report.write_json(args.json, judgements, about(args, bench))
    refuse_disagreement(judgements)
    if args.docs:
        put_table(args.docs, plan.mark, table)


def command_line() -> str:
    """The command that is running, as a shell would take it."""
    return shlex.join(["kit/kit", *sys.argv[1:]])
