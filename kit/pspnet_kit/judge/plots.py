"""Plots: mIoU against latency beside published networks, and reliability curves. Colours after Okabe and Ito 2008.

Drawn with Agg, so that no display is needed.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import KitError
from ..files import check_file, write_whole
from .calibration import Calibration
from .published import Published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

DPI = 150
NOTE_WIDTH = 130
"""Characters of a note's line that fit below the latency plot."""
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY, INK = (
    "#0072b2",
    "#e69f00",
    "#009e73",
    "#d55e00",
    "#cc79a7",
    "#56b4e9",
    "#1c2026",
)
CYCLE = (BLUE, VERMILION, GREEN, ORANGE, PURPLE, SKY)
MARKERS = ("o", "s", "D", "^", "v", "P")
QUIET = "#6b7280"
LEADER = {"arrowstyle": "-", "color": QUIET, "linewidth": 0.8, "relpos": (0, 0.5), "shrinkA": 1, "shrinkB": 0}
HALO = {"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.6}


@dataclass(frozen=True)
class Point:
    """One of our models. `mean_iou` is in percent, `low` and `high` are the quartiles of the latency."""

    name: str
    milliseconds: float
    mean_iou: float
    low: float
    high: float


@dataclass(frozen=True)
class Anchor:
    """A network that was judged on our pictures and on the published networks': heights are differences to it.

    Both values are in percent.
    """

    name: str
    ours: float
    published: float


def against_latency(
    points: Sequence[Point],
    published: Sequence[Published],
    path: Path,
    title: str,
    where: str,
    anchor: Anchor | None = None,
) -> None:
    """Our models as points, published ones as lines at their mIoU: 1200 pixels wide.

    Args:
        where: what the latency was measured in, for the note below.
        anchor: where our pictures are others than those of the published networks.

    Raises:
        KitError: without points, or when the file can't be written.
    """
    if not points:
        raise KitError("there is nothing to plot: no model was timed")
    form = "{:.1f}" if anchor is None else "{:+.1f}"
    if anchor:
        points = [replace(point, mean_iou=point.mean_iou - anchor.ours) for point in points]
        published = [replace(entry, mean_iou=entry.mean_iou - anchor.published) for entry in published]
    figure, axes = _figure(8.0, 5.2)
    times = [value for point in points for value in (point.low, point.high)]
    reach = max(max(times) / min(times), 2.0) ** 0.1
    axes.set_xscale("log")
    axes.set_xlim(min(times) / reach, max(times) * reach)
    heights = [p.mean_iou for p in points] + [p.mean_iou for p in published]
    low, high = min(heights) - 2, max(heights) + 2
    axes.set_ylim(low, high)
    places = spread([entry.mean_iou for entry in published], (high - low) / 26)
    for entry, place in zip(published, places, strict=True):
        axes.axhline(entry.mean_iou, color=QUIET, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.annotate(
            f"{entry.name} {form.format(entry.mean_iou)}", (1.0, entry.mean_iou), (1.03, place),
            xycoords=("axes fraction", "data"), textcoords=("axes fraction", "data"), ha="left", va="center",
            fontsize=8.5, color=QUIET, arrowprops=LEADER,
        )  # fmt: skip
    for index, point in enumerate(points):
        bars = [[point.milliseconds - point.low], [point.high - point.milliseconds]]
        axes.errorbar(
            point.milliseconds, point.mean_iou, xerr=bars, color=CYCLE[index % len(CYCLE)],
            marker=MARKERS[index % len(MARKERS)], markersize=8, capsize=3, elinewidth=1.2, markeredgecolor="white",
            markeredgewidth=0.8, zorder=4,
        )  # fmt: skip
    _plain_numbers(axes)
    axes.set_xlabel("milliseconds per picture, one thread, log scale")
    axes.set_ylabel(f"mIoU, points above {anchor.name}" if anchor else "mIoU, %")
    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    note = f"Timed in: {where}."
    if published:
        note += " Dashed: published mIoU on CamVid's test drives"
        note += f", less the {anchor.published:g} of {anchor.name} there" if anchor else ""
        note += "; their latency was not measured here."
    lines = textwrap.wrap(note, NOTE_WIDTH)
    room = 0.012 + 0.028 * len(lines)
    figure.set_layout_engine("constrained", rect=(0, room, 1, 1 - room))
    figure.text(0.01, 0.012, "\n".join(lines), fontsize=7.5, color=QUIET)
    _name(figure, axes, points, form)
    _save(figure, path)


def _name(figure: Figure, axes: Axes, points: Sequence[Point], form: str) -> None:
    """Writes each name beside its point, on the first side where it meets no other name, no point and no edge."""
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    inside = axes.get_window_extent(renderer)
    dots = [axes.transData.transform((point.milliseconds, point.mean_iou)) for point in points]
    taken: list[tuple[float, ...]] = [(x - 10, y - 10, x + 10, y + 10) for x, y in dots]
    sides = [
        (0, 9, "center", "bottom"),
        (0, -9, "center", "top"),
        (10, 0, "left", "center"),
        (-10, 0, "right", "center"),
    ]
    sides += [
        (8, 14, "left", "bottom"),
        (-8, 14, "right", "bottom"),
        (8, -14, "left", "top"),
        (-8, -14, "right", "top"),
    ]
    sides += [(0, rise, "center", "bottom") for rise in (21, 33, 45)]
    for index, point in enumerate(points):
        fallback = None
        for x, y, across, up in sides:
            label = axes.annotate(
                f"{point.name}  {form.format(point.mean_iou)}", (point.milliseconds, point.mean_iou), (x, y),
                textcoords="offset points", ha=across, va=up, fontsize=9.5, fontweight="bold",
                color=CYCLE[index % len(CYCLE)], bbox=HALO,
                zorder=5,
            )  # fmt: skip
            label.set_in_layout(False)
            box = label.get_window_extent(renderer).extents
            within = box[0] >= inside.x0 and box[2] <= inside.x1 and box[1] >= inside.y0 and box[3] <= inside.y1
            if within and not any(_meet(box, other) for k, other in enumerate(taken) if k != index):
                if fallback is not None:
                    fallback.remove()
                taken.append(tuple(box))
                break
            if fallback is None:
                fallback = label
            else:
                label.remove()


def _meet(a: Sequence[float], b: Sequence[float]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def reliability(
    curves: Sequence[tuple[str, Calibration]], path: Path, title: str = "Is it as sure as it is right?"
) -> None:
    """Accuracy against confidence for each model, and below how many pixels have which confidence."""
    if not curves:
        raise KitError("there is nothing to plot: no model tells its confidence")
    figure, axes = _figure(8.0, 6.4, rows=(3, 1))
    above, below = axes.figure.axes
    above.plot([0, 1], [0, 1], color=QUIET, linewidth=0.9, linestyle=(0, (4, 3)))
    above.annotate(
        "perfectly calibrated", (0.16, 0.16), xytext=(6, -12), textcoords="offset points", fontsize=8, color=QUIET
    )
    for index, (name, calibration) in enumerate(curves):
        bins = [entry for entry in calibration.reliability() if entry.pixels]
        color, marker = CYCLE[index % len(CYCLE)], MARKERS[index % len(MARKERS)]
        label = f"{name}, ECE {100 * calibration.expected_error():.2f} %"
        above.plot(
            [b.confidence for b in bins],
            [b.accuracy for b in bins],
            color=color,
            marker=marker,
            markersize=5,
            label=label,
        )
        total = sum(entry.pixels for entry in bins)
        middles = [(entry.low + entry.high) / 2 for entry in bins]
        below.plot(middles, [100 * entry.pixels / total for entry in bins], color=color, marker=marker, markersize=4)
    above.set(xlim=(0, 1.01), ylim=(0, 1.01), ylabel="share of pixels that are right")
    above.legend(frameon=False, fontsize=9, loc="upper left")
    above.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK)
    below.set_yscale("log")
    below.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    below.set(xlim=(0, 1.01), xlabel="confidence: softmax probability of the class", ylabel="% of pixels")
    _save(figure, path)


def spread(wanted: Sequence[float], least: float) -> list[float]:
    """Places as near as can be to `wanted`, at least `least` apart, in the same order: labels that don't overlap."""
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    # Clusters of places that push each other, each around the mean of what its members wanted.
    clusters: list[list[int]] = []
    for index in order:
        clusters.append([index])
        while len(clusters) > 1 and _bottom(clusters[-1], wanted, least) < _top(clusters[-2], wanted, least) + least:
            last = clusters.pop()
            clusters[-1] += last
    places = [0.0] * len(wanted)
    for cluster in clusters:
        for rank, index in enumerate(cluster):
            places[index] = _bottom(cluster, wanted, least) + rank * least
    return places


def _bottom(cluster: Sequence[int], wanted: Sequence[float], least: float) -> float:
    return sum(wanted[index] for index in cluster) / len(cluster) - least * (len(cluster) - 1) / 2


def _top(cluster: Sequence[int], wanted: Sequence[float], least: float) -> float:
    return _bottom(cluster, wanted, least) + least * (len(cluster) - 1)


def check_plot(path: Path) -> None:
    """Tries whether a plot can be drawn and written to `path`.

    Raises:
        KitError: when matplotlib is missing, knows no such form of picture, or the file can't be written.
    """
    _, canvas = _matplotlib()
    if _format(path) not in (known := canvas.get_supported_filetypes()):
        raise KitError(f"{path}: plots can't be {path.suffix} files, expected .png (or {', '.join(sorted(known))})")
    check_file(path)


def _matplotlib() -> tuple[type[Figure], type[FigureCanvasAgg]]:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise KitError("plots need matplotlib: pip install matplotlib") from None
    return Figure, FigureCanvasAgg


def _figure(width: float, height: float, rows: tuple[int, ...] = (1,)) -> tuple[Figure, Axes]:
    make, canvas = _matplotlib()
    figure = make(figsize=(width, height), dpi=DPI, layout="constrained")
    canvas(figure)
    axes = figure.subplots(len(rows), 1, squeeze=False, sharex=len(rows) > 1, height_ratios=rows)
    for one in axes[:, 0]:
        one.spines[["top", "right"]].set_visible(False)
        one.tick_params(labelsize=9)
        one.grid(axis="y", color="#e5e7eb", linewidth=0.6)
        one.set_axisbelow(True)
    return figure, axes[0, 0]


def _plain_numbers(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _save(figure: Figure, path: Path) -> None:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=_format(path), dpi=DPI, facecolor="white")
    write_whole(path, buffer.getvalue())


def _format(path: Path) -> str:
    return path.suffix[1:].lower() or "png"
