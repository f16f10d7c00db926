"""`kit distil`: trains a network to follow a teacher: L = alpha CE + (1 - alpha) T² KL(teacher ‖ student), and more.

The recipe's [distil] table has alpha, temperature and the structural loss.
"""

from __future__ import annotations

import argparse
import json

from ..training.command import add_arguments, add_start, start_overrides, train

HELP = "train a network to follow a teacher"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_arguments(parser)
    parser.add_argument("--teacher", required=True, help="checkpoint of the teacher, of the same classes")
    add_start(parser)


def run(args: argparse.Namespace) -> None:
    """Distils."""
    train(args, [f"distil.teacher={json.dumps(args.teacher)}", *start_overrides(args)], args.teacher)
