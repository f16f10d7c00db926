"""`kit factorise`: splits large convolutions into chains of low rank. Train it afterwards: `kit train --from`."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError
from ..files import check_file
from ..judge.before_after import add_arguments, open_comparison

if TYPE_CHECKING:
    from ..compress.lowrank import Report

HELP = "split large convolutions into cheaper ones of low rank (Tucker-2 or CP, SVD)"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    rule = parser.add_mutually_exclusive_group(required=True)
    rule.add_argument("--energy", type=float, help="share of the squared weights to keep, as cheaply as that goes")
    rule.add_argument("--ratio", type=float, help="ranks as a share of the channels (cp: of the larger side's)")
    rule.add_argument("--saving", type=float, help="share of each layer's MACs to save, as exactly as that goes")
    parser.add_argument(
        "--method", choices=("tucker", "cp"), default="tucker",
        help="of what is larger than 1x1: tucker makes 1x1, k x k, 1x1; cp makes 1x1, k x 1 and 1 x k depthwise, 1x1. "
        "Default: %(default)s",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of cp's random starts (default: %(default)s)")
    parser.add_argument("--only", nargs="+", default=("*",), metavar="PATTERN", help="layers, such as 'head.*'")
    parser.add_argument("--multiple", type=int, default=8, help="of every rank (default: %(default)s)")
    parser.add_argument(
        "--minimum-saving", type=float, default=0.1, help="of a layer's MACs, or it stays whole (default: %(default)s)"
    )
    parser.add_argument(
        "--smallest", type=float, default=0.01, help="share of all MACs, or a layer stays whole (default: %(default)s)"
    )
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Reads, splits, writes, and prints what has become of the layers."""
    from .. import checkpoint
    from ..compress.lowrank import Rule, factorise

    if not 0 <= args.seed < 2**31:
        raise KitError(f"--seed {args.seed}: expected 0 to {2**31 - 1}")
    shares = (args.energy, args.ratio, args.saving)
    rule = Rule(*shares, args.multiple, args.minimum_saving, args.smallest, args.method, args.seed)
    check_file(args.out)
    comparison = open_comparison(args, args.checkpoint)
    model, meta = checkpoint.load_model(args.checkpoint)
    size = (int(meta["input"]["height"]), int(meta["input"]["width"]))
    smaller, report = factorise(model, size, rule, args.only)
    done = {
        "command": "factorise",
        "from": str(args.checkpoint),
        "rule": dataclasses.asdict(rule),
        "only": list(args.only),
        "splits": [dataclasses.asdict(split) for split in report.splits],
        "before": dataclasses.asdict(report.before),
        "after": dataclasses.asdict(report.after),
    }
    checkpoint.save(args.out, checkpoint.after_step(meta, smaller, done))
    print(describe(report))
    print(f"{args.out}: written; win back what was lost with: kit train RECIPE --from {args.out}")
    if comparison:
        print(f"\n{comparison.table(args.out)}")


def describe(report: Report) -> str:
    """Layers and sums as tables."""
    from ..compress.macs import comparison, table

    rows = [["layer", "kernel", "channels", "ranks", "M MACs", "left", "error"]]
    for split in report.splits:
        rows.append(
            [
                split.name,
                "x".join(map(str, split.kernel)),
                f"{split.channels[0]}>{split.channels[1]}",
                f"{split.ranks[0]}>{split.ranks[1]}" if split.method == "tucker" else f"{split.ranks[0]}",
                f"{split.macs_before / 1e6:.2f}",
                f"{split.macs_after / 1e6:.2f}",
                f"{split.error:.3f}",
            ]
        )
    return f"{table(rows)}\n\n{comparison(report.before, report.after)}"
