"""`kit exam`: models of different class lists on sets of pictures from many places, judged in ten coarse groups.

The tables are printed and the JSON is written before a disagreement with the daemon is an error; the page gets no table
then. The page's table is printed too where it can't be put there.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError, plain
from ..files import check_file, real
from ..page import check_table, put_table
from .ablation import command_line
from .judge import bar, open_named, split_model

if TYPE_CHECKING:
    from ..exam.candidate import Candidate
    from ..exam.gather import Gathered
    from ..exam.sets import Exam
    from ..exam.shelf import Shelf

ROUNDS = 15
HELP = "judge models of different classes in coarse groups: IoU, impossible groups, persons, flips, calibration"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "models", nargs="+", metavar="MODEL", help="checkpoints (.pt) and .tflite files; NAME=FILE gives it a name"
    )
    parser.add_argument(
        "--sets", type=Path, required=True, metavar="FILE", help="TOML file with a [[set]] for each set"
    )
    parser.add_argument(
        "--pictures",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder in which pictures are looked for that do not lie beside the file; as often as needed",
    )
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="only sets of such names")
    parser.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="CLASS=GROUP",
        help="the group of a class that the kit does not know",
    )
    parser.add_argument(
        "--teacher", type=Path, metavar="FILE", help="the teacher of all sets that name one, instead of theirs"
    )
    parser.add_argument(
        "--pspnetd", type=Path, metavar="BIN", help="the same figures from the daemon too; class maps must agree"
    )
    parser.add_argument(
        "--speed", action="store_true", help="also how many times as fast as the last of them the models are"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything as JSON")
    parser.add_argument(
        "--docs", type=Path, metavar="FILE", help="put the table between this file's <!-- exam --> markers"
    )


def run(args: argparse.Namespace) -> None:
    from ..exam import report, sets
    from ..exam.hold import check, hold, prepare
    from ..exam.shelf import Shelf
    from ..judge.daemon import Daemon

    named = [split_model(text) for text in args.models]
    if args.docs:
        check_table(args.docs, report.MARK)
    if args.json:
        check_file(args.json)
    daemon = Daemon(args.pspnetd) if args.pspnetd else None
    exam = sets.read(args.sets)
    shelf = Shelf(args.pictures)
    gathered = _gather(exam, args.only, shelf)
    mapped = _mapped(args.map)
    extra = {**exam.classes, **mapped}
    candidates = _candidates([path for _, path in named], [name for name, _ in named], extra)
    _refuse_unused(mapped, candidates)
    teachers = _teachers(gathered, args.teacher, extra, shelf)
    items = [item for each in gathered for item in each.items]
    check(bar("reading pictures", len(items))(items))
    papers = [prepare(each, teachers.get(each.of.name), bar) for each in gathered if each.items]
    results = [hold(candidate, papers, daemon, bar) for candidate in candidates]
    print(plain(report.tables(papers, results)))
    for sentence in report.absences(gathered):
        print(plain(f"\n{sentence}"))
    if args.speed:
        print(plain(f"\n{_speeds(candidates)}"))
    table = report.markdown(papers, results, command_line()) if args.docs else ""
    try:
        if args.json:
            about = {"exam": str(args.sets), "pspnetd": daemon.version if daemon else None}
            report.write_json(args.json, about | report.as_dict(gathered, papers, results))
        for result in results:
            result.refuse_disagreement()
        if args.docs:
            put_table(args.docs, report.MARK, table)
    except KitError:
        if table:
            print(plain(f"\n{table}"))
        raise


def _gather(exam: Exam, only: Sequence[str], shelf: Shelf) -> list[Gathered]:
    """The sets that were asked for, with what this machine has of them.

    Raises:
        KitError: when that is nothing.
    """
    from ..exam.gather import gather

    for pattern in only:
        if not any(fnmatchcase(each.name, pattern) for each in exam.sets):
            names = ", ".join(each.name for each in exam.sets)
            raise KitError(f"--only {pattern}: no set in {exam.path} is called so; there are {names}")
    chosen = [each for each in exam.sets if not only or any(fnmatchcase(each.name, pattern) for pattern in only)]
    gathered = [gather(each, shelf) for each in chosen]
    if not any(each.items for each in gathered):
        raise KitError(f"{exam.path}: no picture of these sets is here; name folders with them by --pictures DIR")
    return gathered


def _candidates(paths: Sequence[Path], names: Sequence[str], extra: Mapping[str, str]) -> list[Candidate]:
    from ..exam.candidate import Candidate

    return [Candidate(predictor, extra) for predictor in open_named(paths, names)]


def _speeds(candidates: Sequence[Candidate]) -> str:
    """A line for each model: CPU time of the network, all in turns, against the last."""
    from ..judge.speed import measure

    speeds = measure(
        [each.predictor for each in candidates], ROUNDS, len(candidates) - 1, progress=bar("timing", ROUNDS)
    )
    width = max(len(speed.name) for speed in speeds)
    lines = [f"times as fast as {speeds[-1].name} (quartiles), one thread, CPU time, {ROUNDS} rounds in turns"]
    lines += [f"{each.name.ljust(width)}  {each.ratio_told.rjust(22)}  {each.milliseconds:6.2f} ms" for each in speeds]
    return "\n".join(lines)


def _mapped(texts: Sequence[str]) -> dict[str, str]:
    """The groups of --map by class.

    Raises:
        KitError: for a text of another form, or an unknown group.
    """
    from ..exam.groups import group_id

    found = {}
    for text in texts:
        name, separator, group = text.rpartition("=")
        if not separator or not name:
            raise KitError(f"--map {text}: expected CLASS=GROUP")
        group_id(group, f"--map {text}")
        found[name] = group
    return found


def _refuse_unused(mapped: Mapping[str, str], candidates: Sequence[Candidate]) -> None:
    """A mistyped class would leave the right one as it is."""
    known = {entry.name for candidate in candidates for entry in candidate.predictor.class_infos}
    if unused := [name for name in mapped if name not in known]:
        raise KitError(f"--map {unused[0]}={mapped[unused[0]]}: no model has a class {unused[0]!r}")


def _teachers(
    gathered: Sequence[Gathered], named: Path | None, extra: Mapping[str, str], shelf: Shelf
) -> dict[str, Candidate]:
    """The teacher of each set that has one which is here, by the set's name. The others are noted as absent."""
    asked = [each for each in gathered if each.of.teacher and each.items]
    if named and not asked:
        raise KitError(f"--teacher {named}: no set that is here names a teacher")
    found: dict[str, Candidate] = {}
    opened: dict[Path, Candidate] = {}
    for each in asked:
        path = named or next(iter(shelf.below(each.of.root, each.of.teacher)), None)
        if path is None:
            each.notes.append(f"its teacher {each.of.teacher} is not here, name it by --teacher FILE")
            continue
        if path not in opened:
            # With the folder above it: a student may be called as its teacher.
            name = "/".join(real(path).parent.parts[-2:]) if path.stem == "model" else path.stem
            (opened[path],) = _candidates([path], [name], extra)
        found[each.of.name] = opened[path]
    return found
