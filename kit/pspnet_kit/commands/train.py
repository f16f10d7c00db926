"""`kit train`: trains what a recipe describes, or trains a pruned or factorised network on (--from)."""

from __future__ import annotations

import argparse

from ..training.command import add_arguments, add_start, start_overrides, train

HELP = "train a network from a recipe, or train a checkpoint on"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    add_arguments(parser)
    add_start(parser)


def run(args: argparse.Namespace) -> None:
    """Trains."""
    train(args, start_overrides(args), args.start)
