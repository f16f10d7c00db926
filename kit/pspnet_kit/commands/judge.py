"""`kit judge`: models on labelled pictures, side by side: agreement by class, outlines, calibration, cost, speed."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import KitError
from ..files import check_file

if TYPE_CHECKING:
    from ..data import Dataset, Pair
    from ..judge.daemon import Daemon
    from ..judge.judgement import Judgement
    from ..judge.plots import Anchor, Point
    from ..judge.predictors import Predictor

HELP = "judge models on labelled pictures: IoU, outlines, calibration, size, speed, agreement with pspnetd"


@dataclass(frozen=True)
class Bench:
    """What judging needs besides the models."""

    dataset: Dataset
    pairs: list[Pair]
    daemon: Daemon | None


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="checkpoints (.pt) and .tflite files; NAME=FILE gives it a name"
    )
    configure_pictures(parser)
    parser.add_argument("--speed", action="store_true", help="measure the latency too, all models in turn")
    parser.add_argument(
        "--gallery", type=Path, metavar="FILE", help="write a PNG of pictures, truth, predictions and errors"
    )
    parser.add_argument(
        "--gallery-pictures", type=int, default=6, metavar="N", help="from the worst to the best (default 6)"
    )
    parser.add_argument("--reliability", type=Path, metavar="FILE", help="write the reliability curves as PNG")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write mIoU against latency as PNG; needs --speed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")


def configure_pictures(parser: argparse.ArgumentParser) -> None:
    """The options that judging has wherever it is done."""
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="folder of the data set")
    parser.add_argument("--layout", default="auto", help="how the folder is laid out (default: what it looks like)")
    parser.add_argument("--split", default="val", help='which pictures, several joined by "+" (default val)')
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="only pictures of such names")
    parser.add_argument("--without", action="append", default=[], metavar="PATTERN", help="no pictures of such names")
    parser.add_argument("--limit", type=int, metavar="N", help="at most N pictures, evenly spread")
    parser.add_argument(
        "--pspnetd", type=Path, metavar="BIN", help="also run every .tflite in the daemon; masks must agree"
    )
    parser.add_argument(
        "--engine",
        choices=("litert", "pspnetd"),
        default="litert",
        help="what a .tflite is timed in: litert by CPU time (default), or pspnetd by wall time, on an idle machine",
    )
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="of timing all models in turn (default 9)")
    parser.add_argument("--seconds", type=float, default=1.0, metavar="S", help="per model and round (default 1)")


def run(args: argparse.Namespace) -> None:
    from ..judge import gallery, plots, report
    from ..judge.ablation import point_of

    named = [split_model(text) for text in args.models]
    if args.plot and not args.speed:
        raise KitError("--plot needs --speed: it shows mIoU against latency")
    if args.gallery_pictures < 1:
        raise KitError(f"--gallery-pictures {args.gallery_pictures}: expected at least 1")
    check_places(plots=(args.reliability, args.plot), files=(args.gallery, args.json))
    bench = prepare(args)
    predictors = open_all([path for _, path in named], [name for name, _ in named], bench.dataset)
    judgements = judge_all(predictors, bench)
    if args.speed:
        time_all(predictors, judgements, bench, args, reference=0)
    print(report.tables(judgements))
    for judgement in judgements:
        if judgement.agreement:
            print(f"{judgement.name}: {judgement.agreement.sentence()}")
    if args.gallery:
        chosen = gallery.choose(bench.pairs, judgements[0].picture_accuracy, args.gallery_pictures)
        rows = gallery.rows(bench.dataset, chosen, predictors)
        gallery.save(gallery.draw(rows, [p.name for p in predictors], bench.dataset.classes), args.gallery)
    if args.reliability:
        plots.reliability([(j.name, j.calibration) for j in judgements], args.reliability)
    if args.plot:
        draw_plot([point_of(judgement) for judgement in judgements], judgements, bench, args.plot)
    if args.json:
        report.write_json(args.json, judgements, about(args, bench))
    refuse_disagreement(judgements)


def prepare(args: argparse.Namespace) -> Bench:
    """Opens data and daemon and reads all pictures once, before the time for models is spent.

    Raises:
        KitError: at the first that is missing or broken.
    """
    from ..data import open_dataset
    from ..data.check import require_sound
    from ..judge.daemon import Daemon

    if args.engine == "pspnetd" and args.pspnetd is None:
        raise KitError("--engine pspnetd needs --pspnetd BIN")
    if args.rounds < 1 or not args.seconds > 0:
        raise KitError(f"--rounds {args.rounds} --seconds {args.seconds:g}: expected at least 1 and more than 0")
    daemon = Daemon(args.pspnetd) if args.pspnetd else None
    dataset = open_dataset(args.data, args.layout)
    pairs = dataset.pairs(args.split, only=tuple(args.only), without=tuple(args.without))
    if args.limit is not None:
        if args.limit < 1:
            raise KitError(f"--limit {args.limit}: expected at least 1")
        step = max(len(pairs) / args.limit, 1.0)
        pairs = [pairs[int(index * step)] for index in range(min(args.limit, len(pairs)))]
    require_sound(dataset, bar("reading pictures", len(pairs))(pairs))
    return Bench(dataset, pairs, daemon)


def open_all(paths: Sequence[Path], names: Sequence[str], dataset: Dataset) -> list[Predictor]:
    """Opens all models and checks their classes, so that the last can't fail after an hour of the others."""
    from ..judge.predictors import check_classes

    predictors = open_named(paths, names)
    for predictor in predictors:
        check_classes(predictor, dataset.classes, dataset.root)
    return predictors


def open_named(paths: Sequence[Path], names: Sequence[str]) -> list[Predictor]:
    """Opens all models under names that differ; an empty one is called after its file."""
    from ..data.pictures import printable
    from ..judge.predictors import default_name, open_predictor

    names = [printable(name or default_name(path)) for name, path in zip(names, paths, strict=True)]
    if len(set(names)) < len(names):
        # Files of one name in several folders.
        names = [
            printable(str(path)) if names.count(name) > 1 else name for name, path in zip(names, paths, strict=True)
        ]
    return [open_predictor(path, name) for path, name in zip(paths, names, strict=True)]


def judge_all(predictors: Sequence[Predictor], bench: Bench) -> list[Judgement]:
    """Every figure but speed, with a progress bar for each model."""
    from ..judge.cost import cost
    from ..judge.judgement import agreement, judge

    judgements = []
    for predictor in predictors:
        found = judge(predictor, bench.dataset, bench.pairs, progress=bar(predictor.name, len(bench.pairs)))
        found.cost = cost(predictor.path)
        if bench.daemon and predictor.path.suffix == ".tflite":
            steps = bar(f"{predictor.name} in pspnetd", len(bench.pairs))
            found.agreement = agreement(predictor, bench.daemon, bench.dataset, bench.pairs, steps)
        judgements.append(found)
    return judgements


def time_all(
    predictors: Sequence[Predictor],
    judgements: Sequence[Judgement],
    bench: Bench,
    args: argparse.Namespace,
    reference: int,
) -> None:
    """Fills in the speed of all models."""
    from ..judge.speed import measure

    daemon = bench.daemon if args.engine == "pspnetd" else None
    rounds = bar("timing", args.rounds)
    for judgement, speed in zip(
        judgements, measure(predictors, args.rounds, reference, daemon, args.seconds, rounds), strict=True
    ):
        judgement.speed = speed


def draw_plot(
    points: Sequence[Point], judgements: Sequence[Judgement], bench: Bench, path: Path, anchor: Anchor | None = None
) -> None:
    """mIoU against latency; published networks beside it where the data are CamVid."""
    from ..judge import plots
    from ..judge.published import CAMVID_TEST

    published = CAMVID_TEST if bench.dataset.name == "CamVid" else ()
    engines = "; ".join(dict.fromkeys(j.speed.engine for j in judgements if j.speed))
    title = f"{bench.dataset.name}, {len(bench.pairs)} pictures: mIoU against latency"
    plots.against_latency(points, published, path, title, engines, anchor)


def about(args: argparse.Namespace, bench: Bench) -> dict[str, Any]:
    """What was asked, for the JSON."""
    return {
        "data": bench.dataset.name,
        "split": args.split,
        "only": args.only,
        "without": args.without,
        "pictures": len(bench.pairs),
        "pspnetd": bench.daemon.version if bench.daemon else None,
    }


def refuse_disagreement(judgements: Sequence[Judgement]) -> None:
    """Raises KitError for the first model that the daemon runs otherwise."""
    for judgement in judgements:
        if judgement.agreement and not judgement.agreement.holds:
            raise KitError(f"{judgement.path}: {judgement.agreement.sentence()}")


def split_model(text: str) -> tuple[str, Path]:
    """NAME=FILE as name and file; the name of a file alone is empty.

    Raises:
        KitError: for a file that is no model by its ending.
    """
    from ..judge.predictors import SUFFIXES

    name, separator, path = text.partition("=")
    if separator and not Path(text).exists():
        return name, Path(path)
    if Path(text).suffix not in SUFFIXES:
        raise KitError(f"{text}: expected a checkpoint (.pt) or a model (.tflite)")
    return "", Path(text)


def check_places(plots: Iterable[Path | None], files: Iterable[Path | None]) -> None:
    """Tries, before any time is spent, whether all that was asked for can be drawn and written.

    Raises:
        KitError: for the first that can't be.
    """
    from ..judge.plots import check_plot

    for path in filter(None, plots):
        check_plot(path)
    for path in filter(None, files):
        check_file(path)


def bar(what: str, total: int) -> Any:
    """Wraps steps into a progress bar, where there is tqdm."""

    def wrap(items: Iterable[Any]) -> Iterable[Any]:
        try:
            from tqdm import tqdm
        except ImportError:
            return items
        return tqdm(items, desc=what, total=total, leave=False, dynamic_ncols=True, disable=None)

    return wrap
