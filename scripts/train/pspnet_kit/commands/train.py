"""`kit train`: trains what a recipe describes."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "train a network from a recipe; fine-tune or distil with the recipe's keys"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("recipe", type=Path, help="TOML file, see scripts/train/recipes")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and curves")
    parser.add_argument("--data", help="the data set's folder (data.root)")
    parser.add_argument("--from", dest="start", help="checkpoint to start from (weights)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that is in --out")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="override the recipe")
    parser.add_argument("--plain", action="store_true", help="without the fast CPU kernels")


def run(args: argparse.Namespace) -> None:
    """Trains; under torchrun every process runs this."""
    from .. import recipe
    from ..training.device import join, leave
    from ..training.loop import Trainer

    overrides = list(args.set)
    if args.data:
        overrides.append(f'data.root="{args.data}"')
    if args.start:
        overrides.append(f'weights="{args.start}"')
    ranks = join()
    try:
        Trainer(recipe.read(args.recipe, overrides), args.out, ranks, args.resume, not args.plain).run()
    finally:
        leave()
