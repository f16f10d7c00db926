"""The label checker: looks at every pair of a data set and says what would break or mislead a training run.

commands/labels.py prints what is found here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import KitError
from ..files import digest
from .dataset import Dataset, Pair, size_mismatch
from .labels import VOID, hex_color, read_values
from .pictures import open_picture, orientation, read_image

RARE_SHARE = 0.001
"""A class with less of the labelled pixels than this is reported as rare."""
RARE_PICTURES = 5
"""So is one that is in fewer pictures than this."""
MUCH_VOID = 0.5
"""More void than this is reported."""

Progress = Callable[[Sequence[Pair], str], Iterable[Pair]]
"""Passes the pairs of the named split on, and shows how far it is."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or odd, in words that name the file."""

    file: Path
    message: str


@dataclass
class SplitCount:
    """What the labels of a split hold; unreadable ones are left out."""

    pictures: int
    pixels: NDArray[np.int64]
    """Of each class, `[classes]`."""
    void: int
    """Void pixels."""
    seen_in: NDArray[np.int64]
    """The number of pictures in which each class is, `[classes]`."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """How many labels have which width and height."""

    def shares(self) -> NDArray[np.float64]:
        """Each class's share of the labelled pixels, `[classes]`; zeros where there are none."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    def void_share(self) -> float:
        """The share of void in all pixels."""
        return self.void / max(self.void + int(self.pixels.sum()), 1)


@dataclass
class Report:
    """What the checker found."""

    splits: dict[str, SplitCount] = field(default_factory=dict)
    errors: list[Finding] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)


def check(dataset: Dataset, splits: Sequence[str] = (), progress: Progress = lambda pairs, _: pairs) -> Report:
    """Reads every pair of `splits`, or of all of them.

    Raises:
        KitError: when a split does not exist. Everything else goes into the report.
    """
    report = Report()
    palettes = _Palettes(dataset)
    names = list(dict.fromkeys(splits or dataset.splits()))
    if unknown := [name for name in names if name not in dataset.splits()]:
        raise KitError(f"{dataset.root}: there is no split {unknown[0]!r}; it has {', '.join(dataset.splits())}")
    copies: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    lost: dict[str, list[str]] = defaultdict(list)
    for name in names:
        try:
            pairs, problems = dataset.sources[name].find()
        except KitError as error:
            lost[str(error)].append(name)
            continue
        # A split that is a part of another meets the same files, and so the same faults.
        faults = [Finding(dataset.root, problem) for problem in problems]
        report.errors += [fault for fault in faults if fault not in report.errors]
        classes = len(dataset.classes)
        count = SplitCount(len(pairs), np.zeros(classes, np.int64), 0, np.zeros(classes, np.int64))
        report.splits[name] = count
        for pair in progress(pairs, name):
            size = _check_image(pair, report)
            _check_label(dataset, pair, size, count, palettes, report)
            _check_soft(dataset, pair, size, report)
            if size is not None:
                copies[digest(pair.image)].append((name, pair.image))
    report.errors += [Finding(dataset.root, f"split {' and '.join(those)}: {fault}") for fault, those in lost.items()]
    report.warnings += palettes.warnings()
    report.warnings += _copy_warnings(copies)
    report.warnings += _class_warnings(dataset, report.splits)
    return report


def require_sound(dataset: Dataset, pairs: Iterable[Pair]) -> None:
    """Reads every pair once, so that a bad file ends a run at its start and not in its third hour.

    Raises:
        KitError: for the first pair that Dataset.read refuses.
    """
    for pair in pairs:
        dataset.read(pair)


def _check_image(pair: Pair, report: Report) -> tuple[int, int] | None:
    """Width and height of the picture; None where it can't be read."""
    try:
        height, width, _ = read_image(pair.image, turned=False).shape
        with open_picture(pair.image) as picture:
            turn = orientation(picture)
    except KitError as error:
        report.errors.append(Finding(pair.image, str(error)))
        return None
    if turn != 1:
        report.warnings.append(
            Finding(
                pair.image, f"{pair.image}: its EXIF says orientation {turn}, which is ignored; is its label so too?"
            )
        )
    return width, height


def _check_label(
    dataset: Dataset,
    pair: Pair,
    image: tuple[int, int] | None,
    count: SplitCount,
    palettes: _Palettes,
    report: Report,
) -> None:
    try:
        values = read_values(pair.label, dataset.format.kind)
    except KitError as error:
        report.errors.append(Finding(pair.label, str(error)))
        return
    height, width = values.shape
    count.sizes[width, height] += 1
    if image is not None and image != (width, height):
        report.errors.append(Finding(pair.label, size_mismatch(pair, image, (width, height))))
    decoded = dataset.format.decode(values)
    if unknown := dataset.format.unknown(values, decoded):
        report.errors.append(Finding(pair.label, f"{pair.label}: {dataset.format.explain(unknown)}"))
    histogram = np.bincount(decoded[decoded >= 0], minlength=VOID + 1)
    pixels = histogram[: len(dataset.classes)]
    count.pixels += pixels
    count.seen_in += pixels > 0
    count.void += int(histogram[VOID])
    if not unknown and not pixels.any():
        report.warnings.append(Finding(pair.label, f"{pair.label}: all of it is void"))
    palettes.look(pair.label)


def _check_soft(dataset: Dataset, pair: Pair, image: tuple[int, int] | None, report: Report) -> None:
    """Soft targets; their size can't be told without the picture's."""
    if pair.soft is None or image is None:
        return
    try:
        dataset.read_soft(pair)
    except KitError as error:
        report.errors.append(Finding(pair.soft, str(error)))


class _Palettes:
    """Finds label PNGs whose indices and colours tell different stories."""

    def __init__(self, dataset: Dataset) -> None:
        self._format, self._root = dataset.format, dataset.root
        self._modes: dict[str, list[Path]] = defaultdict(list)
        self._colors: dict[int, tuple[int, Path]] = {}
        self._contradiction: Finding | None = None
        self._regreyed: list[Path] = []

    def look(self, path: Path) -> None:
        """Takes in one label that could be read."""
        with open_picture(path) as picture:
            self._modes[picture.mode].append(path)
            if picture.mode != "P" or self._format.kind != "index":
                return
            used = np.unique(np.array(picture))
            rgb = np.array(picture.getpalette("RGB"), dtype=np.int64).reshape(-1, 3)
        colors = {int(index): tuple(map(int, rgb[index])) for index in used if index < len(rgb)}
        greys = {index: red for index, (red, green, blue) in colors.items() if red == green == blue}
        all_are_ids = len(greys) == len(colors) and all(grey in self._format.ids for grey in greys.values())
        if all_are_ids and any(index != grey for index, grey in greys.items()):
            self._regreyed.append(path)
        for index, (red, green, blue) in colors.items():
            color = red << 16 | green << 8 | blue
            earlier, where = self._colors.setdefault(index, (color, path))
            if earlier != color and self._contradiction is None:
                self._contradiction = Finding(
                    path,
                    f"{path}: its palette shows id {index} as {hex_color(color)}, that of {where} as "
                    f'{hex_color(earlier)}. The ids are what counts; if the colours are right, use labels = "color"',
                )

    def warnings(self) -> list[Finding]:
        """What was odd."""
        found = [] if self._contradiction is None else [self._contradiction]
        if self._regreyed:
            found.append(
                Finding(
                    self._regreyed[0],
                    f"{self._regreyed[0]}: its palette holds greys that are ids too, but other ones than its indices "
                    f"({len(self._regreyed)} such files). A tool may have renumbered them; the indices are what counts",
                )
            )
        if len(self._modes) > 1:
            kinds = ", ".join(
                f"{len(paths)} {_MODES.get(mode, mode)} (as {paths[0].name})" for mode, paths in self._modes.items()
            )
            found.append(Finding(self._root, f"the labels are of several kinds: {kinds}"))
        elif self._format.kind == "color" and set(self._modes) & {"L", "1"}:
            found.append(Finding(self._root, "the labels are grey pictures, though they are said to be colours"))
        return found


_MODES = {"1": "with one bit per pixel", "L": "grey", "P": "with a palette", "RGB": "in RGB", "RGBA": "in RGBA"}


def _copy_warnings(copies: dict[str, list[tuple[str, Path]]]) -> list[Finding]:
    """Pictures with the same bytes: across splits they flatter the score, in one split they count twice."""
    found = []
    for places in copies.values():
        (split, path), *others = places
        for other_split, other in others:
            where = f"in {split} and {other_split}" if other_split != split else f"twice in {split}"
            same = "" if other == path else f", as {other.name}"
            found.append(Finding(path, f"{path}: the same picture is {where}{same}"))
    return found


def _class_warnings(dataset: Dataset, splits: dict[str, SplitCount]) -> list[Finding]:
    found = []
    for name, count in splits.items():
        if count.void_share() > MUCH_VOID:
            found.append(Finding(dataset.root, f"split {name}: {count.void_share():.0%} of the pixels are void"))
    if not splits:
        return found
    pixels = np.sum([count.pixels for count in splits.values()], axis=0)
    seen_in = np.sum([count.seen_in for count in splits.values()], axis=0)
    shares = pixels / max(int(pixels.sum()), 1)
    for index, info in enumerate(dataset.classes):
        absent = [name for name, count in splits.items() if not count.seen_in[index]]
        if not seen_in[index]:
            found.append(Finding(dataset.root, f"class {info.name} is empty: it is in no picture"))
        elif absent:
            found.append(Finding(dataset.root, f"class {info.name} is in no picture of {', '.join(absent)}"))
        if seen_in[index] and (shares[index] < RARE_SHARE or seen_in[index] < RARE_PICTURES):
            in_pictures = "1 picture" if seen_in[index] == 1 else f"{seen_in[index]} pictures"
            found.append(
                Finding(dataset.root, f"class {info.name} is rare: {shares[index]:.3%} of the pixels, in {in_pictures}")
            )
    return found
