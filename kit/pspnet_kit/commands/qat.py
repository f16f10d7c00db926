"""`kit qat`: trains a checkpoint on with an int8 file's roundings.

`kit quantise` then writes the file with its ranges.
"""

from __future__ import annotations

import argparse
import json

from ..training.command import add_arguments, train

HELP = "quantisation-aware training of a checkpoint"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_arguments(parser)
    parser.add_argument("--from", dest="start", required=True, help="trained checkpoint to start from")
    parser.add_argument("--teacher", help="checkpoint to follow while training")


def run(args: argparse.Namespace) -> None:
    """Trains with roundings."""
    teacher = [f"distil.teacher={json.dumps(args.teacher)}"] if args.teacher else []
    train(args, ["train.qat=true", f"weights={json.dumps(args.start)}", *teacher], args.start)
