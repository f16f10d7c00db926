"""`kit label`: makes a data set of unlabelled pictures and panoramas, labelled by a teacher with other classes.

Hard labels where the teacher is sure, and the probabilities of the groups of classes everywhere, for a recipe's
distil.soft_weight.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError, plain, shown

if TYPE_CHECKING:
    from ..labelling.labeller import Labeller, Settings
    from ..labelling.places import Places
    from ..labelling.pool import Place

HELP = "label pictures and panoramas by a teacher, as a data set"
MOST_VIEWS = 10_000
LARGEST_SIDE = 65_500
"""Pixels of a JPEG file."""
SCENE = Path(__file__).parents[2] / "scene"


def configure(parser: argparse.ArgumentParser) -> None:
    """Arguments."""
    parser.add_argument("pool", type=Path, help="folder with pictures/ and panoramas/<place>_<bright|mid|dark>.jpg")
    parser.add_argument(
        "--teacher", type=Path, action="append", required=True, metavar="FILE", help="model; several are averaged"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the data set; a run that was killed goes on")
    parser.add_argument("--classes", type=Path, default=SCENE / "classes.toml", help="default: the scene models'")
    parser.add_argument(
        "--mapping", type=Path, default=SCENE / "teacher-ade20k31.toml", help="default: ADE20K's 31 classes of MOSAIC"
    )
    parser.add_argument(
        "--places",
        type=Path,
        help="what is never at a kind of place of the pool's list (default: the scene models', with their classes)",
    )
    parser.add_argument("--no-mirror", action="store_true", help="ask for no mirror images: twice as fast")
    parser.add_argument("--views", type=int, default=48, metavar="N", help="of each panorama (default: 48)")
    parser.add_argument("--threshold", type=float, default=0.6, help="of a sure label, 0 to 1 (default: 0.6)")
    parser.add_argument("--side", type=int, default=512, help="longer side of written pictures, at most (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="of the views' directions (default: 0)")
    parser.add_argument("--name", default="scenes", help="of the data set (default: scenes)")
    parser.add_argument("--licence", default="", help="of the pictures, besides those that the pool's list says")
    parser.add_argument("--citation", default="", help="whom the pictures' licence wants named")
    parser.add_argument("--skip-broken", action="store_true", help="leave out what can't be used, and name it")


def run(args: argparse.Namespace) -> None:
    """Labels the pool.

    Raises:
        KitError: for broken pictures, a teacher that does not suit, or a place that can't be written.
    """
    from ..files import check_folder, sole_writer

    _check(args)
    check_folder(args.out)
    with sole_writer(args.out):
        _run(args)


def _run(args: argparse.Namespace) -> None:
    from ..labelling import places, pool, provenance
    from ..labelling.labeller import Settings

    settings = Settings(args.views, args.threshold, args.side, args.seed)
    labeller = _labeller(args, settings)
    found = pool.find(args.pool)
    pool.refuse_doubles(found, labeller.names)
    for note in _unused(args, labeller.places, {place.kind for place in found} - {""}):
        print(plain(f"note: {note}"))
    if (index := places.index_of(args.pool)) and (unlisted := [file for place in found for file in place.unlisted]):
        licence = "only --licence says it" if args.licence else "--licence says it where you know it"
        names = _few([str(file.relative_to(args.pool)) for file in unlisted])
        print(plain(f"warning: {index[0]} says no licence of {len(unlisted)} pictures: {names}; {licence}"))
    faults = pool.broken([place for place in found if not labeller.done(place)], _bar("reading"))
    if args.skip_broken:
        for fault in faults.values():
            print(plain(f"left out: {fault}"))
    else:
        pool.refuse(args.pool, faults)
    labeller.store.begin(args.pool, {place.name: labeller.record(place) for place in found})
    for place in _bar("labelling")([place for place in found if place.name not in faults]):
        if not labeller.done(place):
            labeller.label(place)
    licence = provenance.licence(labeller.store.licences(), args.licence)
    citation = provenance.citation(args.out, args.citation)
    labeller.store.finish(args.name, licence, citation)
    print(plain(_told(args.out)))
    if gone := sorted(labeller.store.names() - {name for place in found for name in labeller.names(place)}):
        told = f"no longer in {args.pool}, but still in {args.out}: {len(gone)} of its pictures: {_few(gone)}"
        print(plain(f"warning: {told}"))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


def _labeller(args: argparse.Namespace, settings: Settings) -> Labeller:
    from ..data.dataset import group_names
    from ..files import digest
    from ..labelling import classes, mapping, places
    from ..labelling.labeller import METHOD, Labeller
    from ..labelling.store import Store
    from ..labelling.teacher import Ensemble

    infos = classes.read(args.classes)
    teacher = Ensemble(args.teacher, mirror=not args.no_mirror)
    same = list(teacher.names) == [info.name for info in infos]
    meaning = mapping.identity(infos) if same else mapping.read(args.mapping, teacher.names, infos, args.teacher[0])
    known = args.places or (SCENE / "places.toml" if args.classes == SCENE / "classes.toml" else None)
    told = places.read(known, group_names(infos)) if known else places.Places()
    # All that the labels depend on; colours are not among it.
    stored = {
        "method": METHOD,
        "teachers": [digest(path) for path in args.teacher],
        "classes": [info.name for info in infos],
        "mapping": meaning.as_dict(),
        "places": told.as_dict(),
        **dataclasses.asdict(settings),
        # Data sets that older versions made have no such entry.
        **({} if teacher.mirror else {"mirror": False}),
    }
    return Labeller(Store(args.out, stored, infos, teacher.sources), teacher, meaning, told, settings)


def _unused(args: argparse.Namespace, told: Places, kinds: set[str]) -> list[str]:
    """What of the places' list changes nothing, as where a kind is mistyped."""
    if not kinds:
        return [f"{args.pool} names no kind of place, so {args.places} changes only [ground]"] if args.places else []
    unknown = sorted((set(told.never) | told.no_up) - kinds)
    return [f"no picture of {args.pool} is of the kinds {', '.join(unknown)}, which the places name"] if unknown else []


def _check(args: argparse.Namespace) -> None:
    # They go into dataset.toml, which is written last.
    for option in ("name", "licence", "citation"):
        value = getattr(args, option)
        try:
            value.encode("utf-8")
        except UnicodeEncodeError as error:
            raise KitError(f"--{option} {shown(value)}: is not UTF-8") from error
        if not value.strip() and option == "name":
            raise KitError(f"--{option} {shown(value)}: expected a name")
    if not 1 <= args.views <= MOST_VIEWS:
        raise KitError(f"--views {args.views}: expected 1 to {MOST_VIEWS}")
    if not 0 <= args.threshold < 1:
        raise KitError(f"--threshold {args.threshold}: expected 0 to less than 1")
    if not 64 <= args.side <= LARGEST_SIDE:
        raise KitError(f"--side {args.side}: expected 64 to {LARGEST_SIDE}")
    if not 0 <= args.seed < 2**63:
        raise KitError(f"--seed {args.seed}: expected 0 to {2**63 - 1}")


def _told(out: Path) -> str:
    """What was written: the share of each class, which a recipe's train.class_power evens out."""
    from ..data import open_dataset
    from ..data.check import check
    from .labels import as_text

    dataset = open_dataset(out, "toml")
    return as_text(dataset, check(dataset, []))


def _bar(what: str) -> Callable[[Sequence[Place]], Iterable[Place]]:
    from tqdm import tqdm

    def wrapped(items: Sequence[Place]) -> Iterable[Place]:
        bar: Iterator[Place] = tqdm(items, desc=what, unit="picture", disable=None)
        return bar

    return wrapped
