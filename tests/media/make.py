#!/usr/bin/env python3
"""Makes the colour clips and pictures of this folder and what the colour model of tests/models must say of them.

    python3 -m venv .venv && .venv/bin/pip install -r tests/media/requirements.txt
    .venv/bin/python tests/media/make.py

Everything is stripes, not squares: bilinear upsampling keeps a straight border where it is, but rounds a corner off.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image

HERE = Path(__file__).resolve().parent
MODEL = HERE.parent / "models/colours_96x64_int8.tflite"
NAMES = ["black", "white", "red", "green", "blue", "yellow", "cyan", "magenta"]
CORNERS = np.array([[0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]], np.uint8)
VOID = 255
FRAMES, FPS = 5, 10

Bytes = NDArray[np.uint8]


def stripes(width: int, height: int, stripe: int, first: int, vertical: bool = True) -> Bytes:
    """Class ids: stripe i is class (first + i) mod 8."""
    along = (np.arange(width if vertical else height) // stripe + first) % 8
    ids = np.tile(along, (height, 1)) if vertical else np.tile(along[:, None], (1, width))
    return ids.astype(np.uint8)


def colour(ids: Bytes) -> Bytes:
    return CORNERS[ids] * np.uint8(255)


def jpeg(picture: Bytes, subsampling: str) -> bytes:
    out = io.BytesIO()
    Image.fromarray(picture).save(out, "JPEG", quality=95, subsampling=subsampling)
    return out.getvalue()


def clip_ids(frame: int) -> Bytes:
    return stripes(96, 64, 16, frame)


def y4m_frame(picture: Bytes) -> bytes:
    """BT.601, limited range, chroma averaged over 2x2 pixels (sited in their middle, as C420jpeg says)."""
    r, g, b = np.moveaxis(picture.astype(np.float64) / 255, 2, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    planes = [16 + 219 * y]
    for difference in ((b - y) / 1.772, (r - y) / 1.402):
        height, width = difference.shape
        planes.append(128 + 224 * difference.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)))
    return b"FRAME\n" + b"".join(np.rint(plane).astype(np.uint8).tobytes() for plane in planes)


def rgb_of_y4m(frame: bytes) -> Bytes:
    """The way back, with bilinear chroma, to check what a reader will see."""
    data = np.frombuffer(frame[6:], np.uint8)
    y = data[: 96 * 64].reshape(64, 96).astype(np.float64)
    halves = data[96 * 64 :].reshape(2, 32, 48)
    cb, cr = (np.asarray(Image.fromarray(h).resize((96, 64), Image.Resampling.BILINEAR), np.float64) for h in halves)
    y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    rgb = np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=-1)
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


def segment(interpreter: Interpreter, picture: Bytes) -> Bytes:
    """The model's class map at the picture's own size: bilinear with half-pixel centres, in double precision."""
    height, width, _ = picture.shape
    small = picture
    if (width, height) != (96, 64):
        small = picture.reshape(64, height // 64, 96, width // 96, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], (small ^ 128).view(np.int8)[None])
    interpreter.invoke()
    logits = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].astype(np.float64)

    def upsample(values: NDArray[Any], size: int) -> NDArray[Any]:
        """Along the first axis."""
        at = np.clip((np.arange(size) + 0.5) * len(values) / size - 0.5, 0, len(values) - 1)
        low = np.floor(at).astype(int)
        high, part = np.minimum(low + 1, len(values) - 1), (at - low)[:, None, None]
        return values[low] * (1 - part) + values[high] * part

    full = upsample(upsample(logits, height).swapaxes(0, 1), width).swapaxes(0, 1)
    return full.argmax(-1).astype(np.uint8)


def score(pairs: list[tuple[Bytes, Bytes]]) -> dict[str, Any]:
    """IoU per class over all pictures, of (found, labelled) pairs; pixels labelled VOID don't count."""
    confusion = np.zeros((8, 8), np.int64)
    for found, label in pairs:
        counted = label != VOID
        np.add.at(confusion, (label[counted], found[counted]), 1)
    hit = np.diag(confusion)
    union = confusion.sum(0) + confusion.sum(1) - hit
    iou = hit / union
    return {
        "iou": {name: float(value) for name, value in zip(NAMES, iou)},
        "miou": float(iou.mean()),
        "pixel_accuracy": float(hit.sum() / confusion.sum()),
        "pixels": int(confusion.sum()),
    }


def save_label(path: Path, ids: Bytes, palette: bool) -> None:
    image = Image.fromarray(ids)
    if palette:
        image = image.convert("P")
        image.putpalette((CORNERS * 255).ravel().tolist())
    image.save(path)


def main() -> int:
    interpreter = Interpreter(model_path=str(MODEL), num_threads=1)
    interpreter.allocate_tensors()

    # The clips
    header = f"YUV4MPEG2 W96 H64 F{FPS}:1 Ip A1:1 C420jpeg XCOLORRANGE=LIMITED\n".encode()
    y4m = [y4m_frame(colour(clip_ids(f))) for f in range(FRAMES)]
    (HERE / "colours.y4m").write_bytes(header + b"".join(y4m))
    mjpeg = [jpeg(colour(clip_ids(f)), "4:2:0") for f in range(FRAMES)]
    (HERE / "colours.mjpeg").write_bytes(b"".join(mjpeg))
    for f in range(FRAMES):
        for picture in (rgb_of_y4m(y4m[f]), np.asarray(Image.open(io.BytesIO(mjpeg[f])))):
            assert (segment(interpreter, picture) == clip_ids(f)).all(), f"frame {f}"

    # The pictures with their labels. `mistaken` labels say white where the first picture is black, and leave the
    # second picture's top quarter void.
    labels = {
        "1_vertical": stripes(96, 64, 16, 0),
        "2_horizontal": stripes(96, 64, 16, 4, vertical=False),
        "3_double": stripes(192, 128, 16, 2),
        "4_narrow": stripes(96, 64, 8, 3),
        "5_double": stripes(192, 128, 32, 5, vertical=False),
    }
    folders = {name: HERE / name for name in ("colours", "colours-labels", "colours-labels-mistaken")}
    for folder in folders.values():
        folder.mkdir(exist_ok=True)
    right, mistaken = [], []
    for stem, ids in labels.items():
        if stem[0] in "45":
            path = folders["colours"] / f"{stem}.jpg"
            path.write_bytes(jpeg(colour(ids), "4:4:4"))
        else:
            path = folders["colours"] / f"{stem}.png"
            Image.fromarray(colour(ids)).save(path)
        other = ids.copy()
        if stem[0] == "1":
            other[ids == 0] = 1
        if stem[0] == "2":
            other[:16] = VOID
        save_label(folders["colours-labels"] / f"{stem}.png", ids, palette=stem[0] == "3")
        save_label(folders["colours-labels-mistaken"] / f"{stem}.png", other, palette=False)
        found = segment(interpreter, np.asarray(Image.open(path)))
        right.append((found, np.asarray(Image.open(folders["colours-labels"] / f"{stem}.png"))))
        mistaken.append((found, np.asarray(Image.open(folders["colours-labels-mistaken"] / f"{stem}.png"))))
    expected = {"colours-labels": score(right), "colours-labels-mistaken": score(mistaken)}
    (HERE / "colours-expected.json").write_text(json.dumps(expected, indent=1) + "\n")
    print(json.dumps(expected, indent=1))
    return 0 if expected["colours-labels"]["miou"] == 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
