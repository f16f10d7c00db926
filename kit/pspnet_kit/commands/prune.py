"""`kit prune`: cuts the channels of a trained network that matter least. Train it on afterwards: `kit train --from`."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import check_file
from ..judge.before_after import add_arguments, open_comparison

if TYPE_CHECKING:
    from torch import Tensor

    from ..compress.importance import Importance
    from ..compress.prune import Report
    from ..data import Dataset, Pair

HELP = "cut the channels that matter least, to a share of the MACs"
FREE_OF_DATA = ("scale", "l1", "l2")
WITH_DATA = ("taylor", "taylor-weights")


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="the checkpoint to write")
    target = parser.add_mutually_exclusive_group(required=True)
    target.add_argument("--ratio", type=float, help="share of the MACs to take away, such as 0.5")
    target.add_argument("--macs", type=float, help="MACs (millions) to come down to")
    parser.add_argument(
        "--importance",
        choices=(*FREE_OF_DATA, *WITH_DATA),
        default="taylor",
        help="scale: BatchNorm's; l1, l2: norms of the weights; taylor: first-order change of the loss when a channel "
        "of the activations, or of the weights, goes (needs --data). Default: %(default)s",
    )
    parser.add_argument(
        "--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"), help="of the input from now on (default: as it was)"
    )
    parser.add_argument("--uniform", action="store_true", help="the same share of every layer")
    parser.add_argument("--multiple", type=int, default=8, help="of every width (default: %(default)s)")
    parser.add_argument("--minimum", type=int, default=8, help="channels of a layer (default: %(default)s)")
    parser.add_argument("--keep", type=float, default=0.2, help="share of a layer that stays (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=1, help="rounds of judging and cutting (default: %(default)s)")
    parser.add_argument(
        "--traffic", type=float, default=0.0,
        help="MACs that moving one activation is worth: --ratio is then of the whole cost (default: 0, MACs alone)",
    )  # fmt: skip
    data = parser.add_argument_group("for Taylor importance")
    data.add_argument("--data", type=Path, help="the data set's folder")
    data.add_argument("--layout", default="auto")
    data.add_argument("--split", default="train", help="default: %(default)s")
    data.add_argument("--only", nargs="+", default=(), help="file name patterns")
    data.add_argument("--without", nargs="+", default=(), help="file name patterns")
    data.add_argument("--pictures", type=int, default=64, help="how many, evenly over the split (default: %(default)s)")
    data.add_argument("--batch", type=int, default=4, help="default: %(default)s")
    data.add_argument("--class-power", type=float, default=0.5, help="class weights: frequency ** -power (%(default)s)")
    add_arguments(parser)


def run(args: argparse.Namespace) -> None:
    """Reads, prunes, writes, and prints what has become of the layers."""
    from .. import checkpoint
    from ..compress.macs import totals
    from ..compress.prune import Settings, prune
    from ..errors import KitError

    settings = Settings(args.uniform, args.multiple, args.minimum, args.keep, args.steps, args.traffic)
    if args.ratio is not None and not 0 < args.ratio < 1:
        raise KitError(f"--ratio {args.ratio}: expected a share between 0 and 1")
    if args.macs is not None and not args.macs > 0:
        raise KitError(f"--macs {args.macs}: expected millions above 0")
    check_file(args.out)
    comparison = open_comparison(args, args.checkpoint)
    model, meta = checkpoint.load_model(args.checkpoint)
    height, width = args.size or (meta["input"]["height"], meta["input"]["width"])
    size = int(height), int(width)
    model.architecture.check_size(*size)
    target = round(args.macs * 1e6) if args.ratio is None else round(totals(model, *size).macs * (1 - args.ratio))
    thin, report = prune(model, size, _importance(args, meta, size), target, settings)
    done = {
        "command": "prune",
        "from": str(args.checkpoint),
        "importance": args.importance,
        "macs": report.after.macs,
        "settings": dataclasses.asdict(settings),
        "data": _data(args) if args.importance in WITH_DATA else {},
        "before": dataclasses.asdict(report.before),
        "after": dataclasses.asdict(report.after),
    }
    content = checkpoint.after_step(meta, thin, done)
    checkpoint.save(args.out, {**content, "input": {"height": size[0], "width": size[1]}})
    print(describe(report))
    print(f"{args.out}: written; win back what was lost with: kit train RECIPE --from {args.out}")
    if comparison:
        print(f"\n{comparison.table(args.out)}")


def describe(report: Report) -> str:
    """Layers, groups and sums as tables."""
    from ..compress.macs import comparison, table

    rows = [["layer", "channels", "left", "M MACs", "left"]]
    for old, new in report.layers:
        rows.append(
            [
                old.name,
                f"{old.inputs}>{old.outputs}",
                f"{new.inputs}>{new.outputs}",
                f"{old.macs / 1e6:.2f}",
                f"{new.macs / 1e6:.2f}",
            ]
        )
    return f"{table(rows)}\n\n{comparison(report.before, report.after)}"


def _data(args: argparse.Namespace) -> dict[str, Any]:
    keys = ("layout", "split", "only", "without", "pictures", "batch", "class_power")
    return {"root": str(args.data), **{key: getattr(args, key) for key in keys}}


def _importance(args: argparse.Namespace, meta: dict[str, Any], size: tuple[int, int]) -> Importance:
    from ..compress import importance
    from ..errors import KitError

    if args.importance in FREE_OF_DATA:
        if args.data is not None:
            raise KitError(f"--importance {args.importance} looks at no pictures: leave --data out, or take taylor")
        return importance.scale() if args.importance == "scale" else importance.magnitude(int(args.importance[1]))
    if args.data is None:
        raise KitError(f"--importance {args.importance} needs labelled pictures: name their folder with --data")
    if args.pictures < 1 or args.batch < 1:
        raise KitError("--pictures and --batch: expected at least 1")

    import torch

    from ..checkpoint import check_classes
    from ..data import class_frequencies, open_dataset
    from ..quant.ptq import choose_pictures
    from ..training import losses

    dataset = open_dataset(args.data, args.layout)
    check_classes(args.checkpoint, meta, [c.name for c in dataset.classes])
    pairs = dataset.pairs(args.split, args.only, args.without)
    pairs = [pairs[i] for i in choose_pictures(len(pairs), args.pictures, force=True)]
    weights = losses.class_weights(torch.from_numpy(class_frequencies(dataset, pairs)), args.class_power)

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return losses.segmentation(logits, labels, weights.to(logits.device))

    return importance.taylor(_Pictures(dataset, pairs, size, args.batch), loss, args.importance == "taylor")


@dataclasses.dataclass(frozen=True)
class _Pictures:
    """Whole pictures at the network's size, not augmented, as batches; can be gone through again."""

    dataset: Dataset
    pairs: Sequence[Pair]
    size: tuple[int, int]
    batch: int

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        import torch
        import torch.nn.functional as F

        from ..data.augment import resize_input

        for first in range(0, len(self.pairs), self.batch):
            images, labels = [], []
            for pair in self.pairs[first : first + self.batch]:
                image, label = self.dataset.read(pair)
                images.append(resize_input(image, *self.size))
                labels.append(F.interpolate(torch.from_numpy(label)[None, None], self.size, mode="nearest-exact")[0])
            yield torch.stack(images), torch.cat(labels).long()
