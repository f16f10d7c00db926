"""`kit label`: makes a data set of unlabelled pictures and panoramas, labelled by a teacher with other classes.

Hard labels where the teacher is sure, and the probabilities of the groups of classes everywhere, for a recipe's
distil.soft_weight.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ..labelling.mapping import Mapping
    from ..labelling.pool import Place
    from ..labelling.store import Store
    from ..labelling.teacher import Teacher

HELP = "label pictures and panoramas by a teacher, as a data set"
SCENE = Path(__file__).parents[2] / "scene"
STRIDE = 4
"""Pixels of a written picture for one cell of its soft targets."""
METHOD = 1
"""Counts up when the same arguments give other labels."""
VIEW = (256, 384)
"""Height and width of the views that are cut from panoramas."""


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
    parser.add_argument("--views", type=int, default=48, metavar="N", help="of each panorama (default: 48)")
    parser.add_argument("--threshold", type=float, default=0.6, help="of a sure label, 0 to 1 (default: 0.6)")
    parser.add_argument("--side", type=int, default=512, help="longer side of written pictures, at most (default: 512)")
    parser.add_argument("--seed", type=int, default=0, help="of the views' directions (default: 0)")
    parser.add_argument("--name", default="scenes", help="of the data set (default: scenes)")
    parser.add_argument("--licence", default="", help="of the pictures, for dataset.toml and what is trained on it")
    parser.add_argument("--citation", default="", help="whom the pictures' licence wants named")
    parser.add_argument("--skip-broken", action="store_true", help="leave out what can't be used, and name it")


def run(args: argparse.Namespace) -> None:
    """Labels the pool.

    Raises:
        KitError: for broken pictures, a teacher that does not suit, or a place that can't be written.
    """
    from ..labelling import classes, mapping, pool
    from ..labelling.store import Store
    from ..labelling.teacher import Ensemble, digest

    _check(args)
    infos = classes.read(args.classes)
    teacher = Ensemble(args.teacher)
    same = list(teacher.names) == [info.name for info in infos]
    meaning = mapping.identity(infos) if same else mapping.read(args.mapping, teacher.names, infos, args.teacher[0])
    settings = _settings(args, [digest(path) for path in args.teacher], meaning, [info.name for info in infos])
    store = Store(args.out, settings, infos)
    places = pool.find(args.pool)
    faults = pool.broken([place for place in places if not _done(store, place, args.views)], _bar("reading"))
    if args.skip_broken:
        for fault in faults.values():
            print(f"left out: {fault}")
    else:
        pool.refuse(args.pool, faults)
    for place in _bar("labelling")([place for place in places if place.name not in faults]):
        if not _done(store, place, args.views):
            _label(place, store, teacher, meaning, args)
    store.finish(args.name, args.licence, args.citation)
    print(_told(args.out))
    wanted = {name for place in places for name in _names(place, args.views)}
    if gone := sorted(store.names() - wanted):
        files = ", ".join(gone[:3]) + (" …" if len(gone) > 3 else "")
        print(f"warning: no longer in {args.pool}, but still in {args.out}: {len(gone)} of its pictures: {files}")


def _check(args: argparse.Namespace) -> None:
    if args.views < 1:
        raise KitError(f"--views {args.views}: expected at least 1")
    if not 0 <= args.threshold < 1:
        raise KitError(f"--threshold {args.threshold}: expected 0 to less than 1")
    if args.side < 64:
        raise KitError(f"--side {args.side}: expected at least 64")
    if args.seed < 0:
        raise KitError(f"--seed {args.seed}: expected at least 0")


def _settings(args: argparse.Namespace, teachers: list[str], meaning: Mapping, classes: list[str]) -> dict[str, object]:
    """All that the labels depend on; colours are not among it."""
    numbers = {name: getattr(args, name) for name in ("views", "threshold", "side", "seed")}
    return {"method": METHOD, "teachers": teachers, "classes": classes, "mapping": meaning.as_dict(), **numbers}


def _done(store: Store, place: Place, views: int) -> bool:
    """A panorama's views are written in order, so the last one tells."""
    return store.has(_names(place, views)[-1])


def _names(place: Place, views: int) -> list[str]:
    """Of what is written for a picture or panorama."""
    return [f"{place.name}_view{index:03d}" for index in range(views)] if place.panorama else [place.name]


def _label(place: Place, store: Store, teacher: Teacher, meaning: Mapping, args: argparse.Namespace) -> None:
    import numpy as np

    from ..data.pictures import read_image
    from ..labelling import sphere

    images = [read_image(file) for file in place.files]
    if not place.panorama:
        image = _limited(images[0], args.side)
        cells = (-(-image.shape[0] // STRIDE), -(-image.shape[1] // STRIDE))
        _put(store, place.name, image, teacher.probabilities(image, cells), meaning, args.threshold)
        return
    random = np.random.default_rng((args.seed, zlib.crc32(place.name.encode("utf-8", "surrogateescape"))))
    votes = sphere.vote(images, teacher)
    views = sphere.cut(images, votes, args.views, VIEW, random)
    for name, view in zip(_names(place, args.views), views, strict=True):
        _put(store, name, view.image, view.probabilities, meaning, args.threshold)


def _limited(image: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """The picture, shrunk where its longer side is longer than that."""
    from ..data.resize import resize

    height, width, _ = image.shape
    factor = side / max(height, width)
    return image if factor >= 1 else resize(image, max(round(height * factor), 1), max(round(width * factor), 1))


def _put(
    store: Store,
    name: str,
    image: NDArray[np.uint8],
    probabilities: NDArray[np.float32],
    meaning: Mapping,
    threshold: float,
) -> None:
    from ..labelling.mapping import hard_labels
    from ..labelling.teacher import scaled

    classes, groups = meaning.split(probabilities)
    size = (image.shape[0], image.shape[1])
    label = hard_labels(scaled(classes, size), scaled(groups, size), meaning.group_of, threshold)
    store.put(name, image, label, groups)


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
