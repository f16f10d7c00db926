"""`kit adopt`: makes a model for pspnetd of somebody else's TFLite segmentation file.

Cuts argmax, softmax and the last resize, can change the size of the input, and compares the result with the original.
"""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError, plain

if TYPE_CHECKING:
    from ..adopt.adoption import Adoption
    from ..export.manifest import Pixels

HELP = "make a model for pspnetd of somebody else's TFLite segmentation file"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("file", type=Path, metavar="FILE.tflite", help="a whole-integer segmentation network")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the folder to make")
    parser.add_argument("--name", default="", help="stands in every JSON line of pspnetd")
    parser.add_argument("--size", metavar="HxW", help="height and width of the input, instead of the file's")
    parser.add_argument(
        "--classes", metavar="FILE", default="",
        help="names of the classes: TOML with [[classes]], a text with a name on each line, or camvid, cityscapes or "
        "voc; otherwise those in the file's own metadata",
    )  # fmt: skip
    parser.add_argument(
        "--pictures",
        type=Path,
        metavar="DIR",
        help="to compare with the original on, up to 16 of them",
    )
    parser.add_argument("--licence", default="", metavar="TEXT", help="of the original")
    parser.add_argument("--source", default="", metavar="TEXT", help="where the original is from, for the card")
    parser.add_argument("--output", default="", metavar="NAME", help="the output with the classes, of several")
    parser.add_argument("--mean", type=float, nargs=3, metavar=("R", "G", "B"), help="of the input, in pixels")
    parser.add_argument("--std", type=float, nargs=3, metavar=("R", "G", "B"), help="deviation of the input, in pixels")
    parser.add_argument(
        "--keep-resize",
        action="store_true",
        help="leave the last resize in: slower, edges as in the original",
    )
    parser.add_argument("--check-only", action="store_true", help="write nothing")


def run(args: argparse.Namespace) -> None:
    """Adopts, checks, writes."""
    from ..adopt.adoption import adopt
    from ..adopt.card import check_place, write_folder
    from ..data.pictures import read_pictures

    size = parse_size(args.size) if args.size else None
    pixels = parse_pixels(args.mean, args.std)
    if not args.check_only:
        if args.out is None or not args.name:
            raise KitError("--out DIR and --name NAME are missing; with --check-only neither is needed")
        check_place(args.out)
    pictures = read_pictures(args.pictures, 16) if args.pictures else []
    adoption = adopt(
        args.file, size=size, classes=args.classes, pictures=pictures, pixels=pixels, output=args.output,
        keep_resize=args.keep_resize, name=args.name, licence=args.licence, source=args.source,
    )  # fmt: skip
    told(adoption)
    if not args.check_only:
        write_folder(args.out, adoption.content, adoption.card)
        print(f"{args.out}: written ({len(adoption.content):,} bytes); pspnetd predict --model {args.out}/model.tflite")


def told(adoption: Adoption) -> None:
    """Prints what was found, changed and checked."""
    card = adoption.card
    print(plain(f"{card.original}: SHA-256 {card.sha256}"))
    print(plain(f"  {card.ends}"))
    parts = {"changed": card.changes, "checked": card.checks, "note": card.notes, "warning": adoption.warnings}
    for title, entries in parts.items():
        for entry in entries:
            print(plain(f"  {title}: {entry}"))


def parse_size(text: str) -> tuple[int, int]:
    """Height and width of `HxW`.

    Raises:
        KitError: when it is none.
    """
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    size = (int(match[1]), int(match[2])) if match else (0, 0)
    if not all(2 <= side <= 8192 for side in size):
        raise KitError(f"--size {text}: expected HEIGHTxWIDTH, each from 2 to 8192, such as 256x384")
    return size


def parse_pixels(mean: list[float] | None, std: list[float] | None) -> Pixels | None:
    """What --mean and --std say together.

    Raises:
        KitError: when one is missing, or a number can't be.
    """
    from ..export.manifest import Pixels

    if mean is None and std is None:
        return None
    if mean is None or std is None:
        raise KitError("--mean and --std: expected both or neither")
    if not all(map(math.isfinite, (*mean, *std))) or min(std) <= 0:
        raise KitError("--mean, --std: expected finite numbers, and deviations above 0")
    return Pixels((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]))
