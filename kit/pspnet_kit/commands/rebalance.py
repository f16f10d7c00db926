"""`kit rebalance`: rare classes more or less readily, without training.

Says mIoU before and after where it can judge.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..files import check_file

HELP = "move a trained network to another class weighting"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    parser.add_argument("--data", type=Path, required=True, help="the data set that it was trained on")
    parser.add_argument("--layout", default="auto")
    parser.add_argument("--split", default="train", help="that it was trained on (default: train)")
    parser.add_argument("--without", nargs="+", default=(), help="file name patterns that were held out")
    parser.add_argument("--from-power", type=float, default=0.5, help="train.class_power of the run (default: 0.5)")
    parser.add_argument(
        "--to-power", type=float, default=0.1, help="what it shall be like (default: 0.1; 0 is no weighting)"
    )
    parser.add_argument("--judge", help="split to judge on, before and after")
    parser.add_argument("--judge-only", nargs="+", default=(), help="file name patterns")


def run(args: argparse.Namespace) -> None:
    """Rebalances and writes."""
    import torch

    from .. import checkpoint
    from ..compress.rebalance import moved_ranges, rebalance
    from ..data import class_frequencies, open_dataset
    from ..training.device import Ranks
    from ..training.evaluate import mean_iou

    check_file(args.out)
    model, meta = checkpoint.load_model(args.checkpoint)
    dataset = open_dataset(args.data, args.layout)
    checkpoint.check_classes(args.checkpoint, meta, [c.name for c in dataset.classes])
    counts = torch.from_numpy(class_frequencies(dataset, dataset.pairs(args.split, without=args.without)))
    samples = [dataset.read(p) for p in dataset.pairs(args.judge, only=args.judge_only)] if args.judge else []
    size, here = (meta["input"]["height"], meta["input"]["width"]), Ranks(torch.device("cpu"))
    before = mean_iou(model, samples, size, here) if samples else None
    move = rebalance(model, counts, args.from_power, args.to_power)
    step = {"command": "rebalance", "from": args.from_power, "to": args.to_power}
    content = checkpoint.after_step(meta, model, step)
    if ranges := meta.get("ranges"):
        content["ranges"] = moved_ranges(model, size, ranges, move)
    if before is not None:
        after = mean_iou(model, samples, size, here)
        content["metrics"] = {"miou": after}
        print(f"mIoU {before:.2f} before, {after:.2f} after, on {len(samples)} pictures")
    checkpoint.save(args.out, content)
    for info, value in zip(dataset.classes, move.tolist(), strict=True):
        print(f"{info.name:20} {value:+.2f}")
    print(f"{args.out}: written")
