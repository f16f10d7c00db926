"""`kit pool`: puts a pool of training pictures together from a list of files whose licences permit any use."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..errors import KitError, WriteError
from ..files import check_folder, write_whole
from ..pool import listing, locate
from ..pool.listing import Entry
from ..pool.make import make, outputs
from ..pool.notice import notice

HELP = "put a pool of training pictures together from a list"
INDEX = "pool.json"
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
    shelf = locate.Shelf(args.folders)
    downloads = locate.Downloads(args.out / _DOWNLOADS)
    index = _Index(args.out)
    problems: list[tuple[Entry, str]] = []
    here: list[Entry] = []
    for entry in _progress(entries):
        if index.has(entry):
            here.append(entry)
            continue
        try:
            made = make(entry, _file(entry, shelf, None if args.offline else downloads))
        except WriteError:
            raise
        except KitError as error:
            problems.append((entry, str(error)))
            continue
        # What is named in no notice must not lie in the pool.
        write_whole(args.out / "NOTICE", notice([*index.entries(entries), entry]).encode("utf-8"))
        for name, content in zip(outputs(entry), made, strict=True):
            write_whole(args.out / name, content)
        index.add(entry)
        here.append(entry)
    index.keep(here)
    write_whole(args.out / "NOTICE", notice(here).encode("utf-8"))
    print(_summary(args.out, entries, here, problems))
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


class _Index:
    """Which entries the pool has, in a file beside the pictures."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._path = folder, folder / INDEX
        self._pictures: dict[str, dict[str, Any]] = {}
        if self._path.exists():
            try:
                self._pictures = {str(row["file"]): row for row in json.loads(self._path.read_bytes())["pictures"]}
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise KitError(
                    f"{self._path}: is no index of a pool ({error}); delete it to make the pool anew"
                ) from error

    def has(self, entry: Entry) -> bool:
        """Whether all that the entry becomes is here, made as the list says now."""
        return all(
            self._pictures.get(row["file"]) == row and (self._folder / row["file"]).is_file() for row in _rows(entry)
        )

    def entries(self, entries: Iterable[Entry]) -> list[Entry]:
        """Those that have a picture here, whichever way it was made."""
        return [entry for entry in entries if any(name in self._pictures for name in outputs(entry))]

    def add(self, entry: Entry) -> None:
        """Notes that all outputs of the entry are written."""
        self._pictures |= {row["file"]: row for row in _rows(entry)}
        self._write()

    def keep(self, entries: Iterable[Entry]) -> None:
        """Deletes the pictures of entries that the list no longer has, since the notice doesn't name them."""
        wanted = {name for entry in entries for name in outputs(entry)}
        for name in [name for name in self._pictures if name not in wanted]:
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise KitError(f"{self._folder / name}: can't be deleted: {error.strerror or error}") from error
            del self._pictures[name]
        self._write()

    def _write(self) -> None:
        rows = sorted(self._pictures.values(), key=lambda row: str(row["file"]))
        write_whole(self._path, (json.dumps({"pictures": rows}, indent=1) + "\n").encode("utf-8"))


def _rows(entry: Entry) -> list[dict[str, Any]]:
    """What the index says of each picture that the entry becomes."""
    common = {
        "source": entry.source.name,
        "path": entry.path,
        "sha256": entry.sha256,
        "place": entry.place,
        "licence": entry.source.licence,
        "held": entry.held,
    }
    made = {
        key: value for key, value in asdict(entry).items() if key in ("frames", "exposures", "crop", "tiles") and value
    }
    # As JSON gives it back.
    rows: list[dict[str, Any]] = json.loads(json.dumps([{"file": name, **common, **made} for name in outputs(entry)]))
    return rows


def _summary(
    folder: Path, entries: Sequence[Entry], here: Sequence[Entry], problems: Sequence[tuple[Entry, str]]
) -> str:
    lines = [f"missing: {message}" for _, message in problems]
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
