"""What `kit train`, `kit distil` and `kit qat` share: their arguments and the run."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ..errors import KitError
from ..files import sole_writer
from ..judge import before_after


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of every kind of training."""
    parser.add_argument("recipe", type=Path, help="TOML file, see kit/recipes")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints and curves")
    parser.add_argument("--data", help="the data set's folder (data.root)")
    parser.add_argument("--resume", action="store_true", help="go on with the run that is in --out")
    parser.add_argument("--set", action="append", default=[], metavar="TABLE.KEY=VALUE", help="override the recipe")
    parser.add_argument(
        "--processes", type=int, default=1, help="on this machine; torchrun starts those of many (default: 1)"
    )
    parser.add_argument("--plain", action="store_true", help="without the fast CPU kernels")
    before_after.add_arguments(parser)


def add_start(parser: argparse.ArgumentParser) -> None:
    """What the network starts from, where the recipe's `weights` should not say it."""
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--from", dest="start", metavar="CHECKPOINT", help="start from all weights of a checkpoint")
    start.add_argument(
        "--backbone", metavar="CHECKPOINT", help="start from the backbone of a checkpoint (the recipe has [model])"
    )


def start_overrides(args: argparse.Namespace) -> list[str]:
    """The overrides of the recipe for what add_start took."""
    from ..recipe import BACKBONE

    start = args.start or (args.backbone and f"{BACKBONE}{args.backbone}")
    return [f"weights={json.dumps(start)}"] if start else []


def train(args: argparse.Namespace, overrides: list[str], before: str | None) -> None:
    """Runs the recipe; under torchrun every process comes here.

    `before`: the checkpoint that --compare sets beside the result.

    Raises:
        KitError: for what is wrong in recipe, data or arguments.
    """
    if args.processes < 1:
        raise KitError(f"--processes {args.processes}: expected at least 1")
    if args.processes > 1 and "WORLD_SIZE" not in os.environ:
        _start_processes(args.processes)
        return
    from .. import recipe
    from .device import join, leave
    from .loop import Trainer

    if args.data:
        overrides = [*overrides, f"data.root={json.dumps(args.data)}"]
    plan = recipe.read(args.recipe, [*args.set, *overrides])
    ranks = join()
    try:
        comparison = before_after.open_comparison(args, Path(before) if before else None) if ranks.first else None
        # Other folders below it may be those of other runs.
        with sole_writer(args.out, below=False) if ranks.first else contextlib.nullcontext():
            Trainer(plan, args.out, ranks, args.resume, not args.plain).run()
    finally:
        leave()
    if comparison:
        print(comparison.table(args.out / "final.pt"))


def _start_processes(count: int) -> None:
    """This same command again, `count` times, told of each other as torchrun does.

    If one fails, the others are ended.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "OMP_NUM_THREADS": str(max((os.cpu_count() or 1) // count, 1)),
        **os.environ,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(count),
    }
    command = [sys.executable, "-m", "pspnet_kit", *sys.argv[1:]]
    processes = [
        subprocess.Popen(command, env={**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}) for rank in range(count)
    ]
    # Ends the others with this one: without it, a service manager's SIGTERM would leave them running.
    former = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        while any(process.poll() is None for process in processes):
            if any(process.poll() for process in processes):
                break
            time.sleep(0.2)
        failed = [process.returncode for process in processes if process.poll()]
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()
        signal.signal(signal.SIGTERM, former)
    if failed:
        raise KitError(f"a training process ended with status {failed[0]}: its message is above")
