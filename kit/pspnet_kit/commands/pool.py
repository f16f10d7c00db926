"""`kit pool`: puts a pool of training pictures together from a list of files whose licences permit any use."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from ..errors import KitError, WriteError, plain
from ..files import check_folder, sole_writer, write_whole
from ..pool import listing, locate
from ..pool.index import Index
from ..pool.listing import Entry
from ..pool.make import make, outputs
from ..pool.notice import NOTICE, notice

HELP = "put a pool of training pictures together from a list"
_DOWNLOADS = "downloads"


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `kit pool`."""
    parser.add_argument("list", type=Path, help="the list of files, such as kit/scene/pictures.toml")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="the folder of the pool")
    parser.add_argument(
        "--from",
        dest="folders",
        type=Path,
        nargs="+",
        action="extend",
        default=[],
        metavar="DIR",
        help="folders to look for the files in: clones, unpacked packages",
    )
    parser.add_argument("--offline", action="store_true", help="download nothing")
    parser.add_argument("--partial", action="store_true", help="succeed though some files can't be had")


def run(args: argparse.Namespace) -> None:
    """Makes what is missing of the pool, and tells what can't be had.

    Raises:
        KitError: when the list is wrong, the pool can't be written, or files can't be had.
    """
    entries = listing.read(args.list)
    check_folder(args.out)
    with sole_writer(args.out):
        _run(args, entries)


def _run(args: argparse.Namespace, entries: Sequence[Entry]) -> None:
    shelf = locate.Shelf(args.folders)
    downloads = locate.Downloads(args.out / _DOWNLOADS)
    index = Index(args.out)
    index.refuse_strangers(entries)
    problems: list[tuple[Entry, str]] = []
    here: list[Entry] = []
    for entry in _progress(entries):
        if index.has(entry):
            index.add(entry)
            here.append(entry)
            continue
        try:
            made = make(entry, _file(entry, shelf, None if args.offline else downloads))
        except WriteError:
            raise
        except KitError as error:
            former = "; its former pictures stay" if index.entries([entry]) else ""
            problems.append((entry, f"{error}{former}"))
            continue
        # What is named in no notice must not lie in the pool.
        write_whole(args.out / NOTICE, notice([*index.entries(entries), entry]).encode("utf-8"))
        for name, content in zip(outputs(entry), made, strict=True):
            write_whole(args.out / name, content)
        index.add(entry)
        here.append(entry)
    index.keep(entries)
    write_whole(args.out / NOTICE, notice(index.entries(entries)).encode("utf-8"))
    print(plain(_summary(args.out, entries, here, problems)))
    if problems and not here:
        raise KitError(f"{args.out}: none of the {len(entries)} entries of the list can be had; the reasons are above")
    if problems and not args.partial:
        raise KitError(
            f"{args.out}: {len(here)} of {len(entries)} entries of the list are here, the others are named above"
        )


def _file(entry: Entry, shelf: locate.Shelf, downloads: locate.Downloads | None) -> Path:
    """The file that the entry is made of."""
    if file := shelf.find(entry.sha256, entry.path):
        return file
    try:
        if downloads is None:
            raise KitError(f"{entry.where}: is in none of the --from folders")
        return downloads.get(entry)
    except WriteError:
        raise
    except KitError as error:
        raise KitError(f"{error}{shelf.nearly(entry.sha256, entry.path)}") from error


def _summary(
    folder: Path, entries: Sequence[Entry], here: Sequence[Entry], problems: Sequence[tuple[Entry, str]]
) -> str:
    lines = [f"missing: {' '.join(message.split())}" for _, message in problems]
    rows: Counter[tuple[str, str, str]] = Counter()
    for entry in here:
        kind = "panorama" if entry.exposures else "picture"
        split = "held back" if entry.held else "train"
        rows[f"{entry.place} ({kind}s)", entry.source.licence, split] += 1 if entry.exposures else len(outputs(entry))
    width = max((len(place) for place, _, _ in rows), default=0)
    for (place, licence, split), count in sorted(rows.items()):
        lines.append(f"{place.ljust(width)}  {count:5}  {split:9}  {licence}")
    lines.append(f"{len(here)} of {len(entries)} entries of the list are in {folder}")
    return "\n".join(lines)


def _progress(entries: Sequence[Entry]) -> Iterable[Entry]:
    """A line on the terminal; none where stderr is a file."""
    bar: Iterable[Entry] = tqdm(entries, unit="file", disable=None)
    return bar
