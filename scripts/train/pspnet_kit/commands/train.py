"""`kit train`: trains what a recipe describes, or trains a pruned or factorised network on (--from)."""

from __future__ import annotations

import argparse
import json

from ..training.command import add_arguments, train

HELP = "train a network from a recipe, or train a checkpoint on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_arguments(parser)
    parser.add_argument("--from", dest="start", help="checkpoint to start from (weights)")


def run(args: argparse.Namespace) -> None:
    """Trains."""
    train(args, [f"weights={json.dumps(args.start)}"] if args.start else [], args.start)
