"""A PNG for eyes: picture, truth, and for each model its prediction and where it errs, a row per picture.

Wrong pixels keep the colour of what was predicted, right ones fade to the grey picture, so that both the place and the
kind of an error show.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ..data import VOID, ClassInfo, Dataset, Pair
from ..data.pictures import printable
from ..errors import KitError
from ..files import write_whole
from .judgement import accuracy_of
from .predictors import Predictor

CELL = 360
"""Width of a picture in the gallery, pixels."""
MARGIN, GAP, HEAD, CAPTION, LEGEND_ROW = 28, 12, 34, 24, 30
PAPER, INK, FAINT = (255, 255, 255), (28, 32, 38), (110, 116, 124)
BLEND = 0.72
"""Share of the class colour over the grey picture."""
VOID_DARK, VOID_LIGHT = 70, 105


@dataclass(frozen=True)
class Row:
    """One picture: uint8 `[h, w, 3]`, its label uint8 `[h, w]` with 255 for void, and a class map for each model."""

    name: str
    image: np.ndarray
    label: np.ndarray
    masks: tuple[np.ndarray, ...]


def choose(pairs: Sequence[Pair], accuracy: dict[str, float], count: int) -> list[Pair]:
    """Pictures from the worst to the best by pixel accuracy, evenly spread over the ranks: luck can't choose them."""
    ranked = sorted(
        (pair for pair in pairs if pair.image.stem in accuracy), key=lambda p: (accuracy[p.image.stem], p.image)
    )
    if len(ranked) <= count:
        return ranked
    places = [0] if count == 1 else [round(index * (len(ranked) - 1) / (count - 1)) for index in range(count)]
    return [ranked[place] for place in places]


def rows(dataset: Dataset, pairs: Sequence[Pair], predictors: Sequence[Predictor]) -> list[Row]:
    """Reads and predicts the chosen pictures."""
    found = []
    for pair in pairs:
        image, label = dataset.read(pair)
        found.append(Row(printable(pair.image.stem), image, label, tuple(p.predict(image)[0] for p in predictors)))
    return found


def draw(rows: Sequence[Row], models: Sequence[str], classes: Sequence[ClassInfo], cell: int = CELL) -> Image.Image:
    """The gallery as an RGB picture.

    Args:
        models: names, in the order of each row's masks.
        cell: width of one picture; its height follows from the picture's shape.

    Raises:
        KitError: without rows.
    """
    if not rows:
        raise KitError("the gallery has no pictures: all of them are void all over")
    palette = palette_of(classes)
    columns = 2 + 2 * len(models)
    width = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    heights = [round(cell * row.image.shape[0] / row.image.shape[1]) for row in rows]
    names = [entry.name for entry in classes]
    legend, legend_height = _legend_places(names, width - 2 * MARGIN)
    sheet = Image.new(
        "RGB", (width, MARGIN + HEAD + sum(heights) + (CAPTION + GAP) * len(rows) + legend_height + MARGIN), PAPER
    )
    pen = ImageDraw.Draw(sheet)
    heads = ["picture", "truth", *(head for model in models for head in (model, "errors"))]
    left = [MARGIN + column * (cell + GAP) for column in range(columns)]
    for x, head in zip(left, heads, strict=True):
        pen.text((x, MARGIN), _fit(head, _font(18), cell), fill=INK, font=_font(18))
    top = MARGIN + HEAD
    for row, height in zip(rows, heights, strict=True):
        grey = _grey(row.image)
        tiles = [row.image, paint(row.label, grey, palette)]
        notes = [row.name, ""]
        for mask in row.masks:
            tiles += [paint(mask, grey, palette), errors(row.label, mask, grey, palette)]
            notes += ["", f"{100 * accuracy_of(row.label, mask):.1f} % right"]
        for x, tile, note in zip(left, tiles, notes, strict=True):
            sheet.paste(Image.fromarray(tile).resize((cell, height), Image.Resampling.LANCZOS), (x, top))
            pen.text((x, top + height + 4), _fit(note, _font(13), cell), fill=FAINT, font=_font(13))
        top += height + CAPTION + GAP
    _draw_legend(sheet, pen, legend, names, palette, top)
    return sheet


def save(sheet: Image.Image, path: Path) -> None:
    """Writes the PNG.

    Raises:
        KitError: when it can't be written.
    """
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG", optimize=True)
    write_whole(path, buffer.getvalue())


def palette_of(classes: Sequence[ClassInfo]) -> np.ndarray:
    """Colours by id, uint8 `[256, 3]`; ids that are no class are magenta, so that they are seen."""
    palette = np.tile(np.array([255, 0, 255], np.uint8), (256, 1))
    for index, entry in enumerate(classes):
        palette[index] = [int(entry.color[place : place + 2], 16) for place in (1, 3, 5)]
    return palette


def paint(mask: np.ndarray, grey: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The class colours over the grey picture, void in dark stripes: uint8 `[h, w, 3]`.

    Args:
        mask: uint8 `[h, w]`, 255 for void.
        grey: uint8 `[h, w]`.
    """
    mixed = BLEND * palette[mask] + (1 - BLEND) * grey[:, :, None]
    painted = np.rint(mixed).astype(np.uint8)
    void = mask == VOID
    painted[void] = _stripes(mask.shape)[void]
    return painted


def errors(label: np.ndarray, mask: np.ndarray, grey: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """Wrong pixels in the colour of what was predicted, right ones pale grey, void in stripes: uint8 `[h, w, 3]`."""
    pale = np.rint(190 + 0.25 * grey.astype(np.float64)).clip(0, 255).astype(np.uint8)
    shown = np.repeat(pale[:, :, None], 3, axis=2)
    wrong = (mask != label) & (label != VOID)
    shown[wrong] = palette[mask[wrong]]
    void = label == VOID
    shown[void] = _stripes(label.shape)[void]
    return shown


def _stripes(shape: tuple[int, ...]) -> np.ndarray:
    height, width = shape
    period = max(width // 40, 4)
    slanted = (np.arange(height)[:, None] + np.arange(width)[None, :]) % period < period // 2
    return np.repeat(np.where(slanted, VOID_LIGHT, VOID_DARK).astype(np.uint8)[:, :, None], 3, axis=2)


def _grey(image: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(image).convert("L"))


def _legend_places(names: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    places, x, y = [], 0, 0
    for name in [*names, "void"]:
        needed = 22 + 8 + round(_font(15).getlength(name)) + 24
        if x and x + needed > width:
            x, y = 0, y + LEGEND_ROW
        places.append((x, y))
        x += needed
    return places, y + LEGEND_ROW


def _draw_legend(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    places: Sequence[tuple[int, int]],
    names: Sequence[str],
    palette: np.ndarray,
    top: int,
) -> None:
    swatches = [tuple(int(part) for part in palette[index]) for index in range(len(names))]
    for (x, y), name, color in zip(places, [*names, "void"], [*swatches, None], strict=True):
        box = (MARGIN + x, top + y, MARGIN + x + 22, top + y + 18)
        if color is None:
            sheet.paste(Image.fromarray(_stripes((18, 22))), box[:2])
        else:
            pen.rectangle(box, fill=color)
        pen.rectangle(box, outline=FAINT)
        pen.text((box[2] + 8, top + y), name, fill=INK, font=_font(15))


_FONTS: dict[int, ImageFont.ImageFont | ImageFont.FreeTypeFont] = {}


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    if size not in _FONTS:
        try:
            _FONTS[size] = ImageFont.load_default(size)
        except TypeError:
            # Pillow before 10.1 has one small font of its own.
            _FONTS[size] = ImageFont.load_default()
    return _FONTS[size]


def _fit(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."
