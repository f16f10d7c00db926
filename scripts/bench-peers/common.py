"""What every peer needs: timing, summaries, the clip's frames, the model's quantisation, one JSON object at the end."""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models/street-bootstrap/model.tflite"
CLIP = ROOT / "tests/media/walkway.mjpeg"

Bytes = NDArray[np.uint8]


def arguments(description: str, repetitions: int | None = None) -> argparse.ArgumentParser:
    """The options that all peers have; `repetitions` is the default of -n where it applies."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--model", type=Path, default=MODEL, help="the .tflite file")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of a line per figure")
    if repetitions:
        parser.add_argument("-n", "--repetitions", type=int, default=repetitions)
    return parser


def summary(milliseconds: list[float]) -> dict[str, float | int]:
    """min, median and nearest-rank p90."""
    ordered = sorted(milliseconds)
    return {
        "n": len(ordered),
        "min_ms": round(ordered[0], 4),
        "median_ms": round(median(ordered), 4),
        "p90_ms": round(ordered[math.ceil(0.9 * len(ordered)) - 1], 4),
    }


def timed(work: Callable[[], object], repetitions: int, warm_up: int = 10) -> dict[str, float | int]:
    for _ in range(warm_up):
        work()
    samples = []
    for _ in range(repetitions):
        start = time.perf_counter()
        work()
        samples.append((time.perf_counter() - start) * 1e3)
    return summary(samples)


def versions(*packages: str) -> dict[str, str]:
    return {package: version(package) for package in packages}


def report(figures: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:24} {value}")


def jpegs(clip: Path) -> Iterator[bytes]:
    """The pictures of a bare MJPEG stream. Inside one, FF is followed by 00 or a restart marker, so FF D9 FF D8 is a
    border. A picture with an embedded thumbnail would be cut wrongly; cameras and ffmpeg write none."""
    parts = clip.read_bytes().split(b"\xff\xd9\xff\xd8")
    for i, part in enumerate(parts):
        yield (b"" if i == 0 else b"\xff\xd8") + part + (b"" if i + 1 == len(parts) else b"\xff\xd9")


def decoded(jpeg: bytes) -> Bytes:
    """The picture, BGR."""
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise SystemExit("a picture of the clip can't be decoded")
    return np.asarray(picture, np.uint8)


def quantiser(detail: dict[str, Any]) -> Callable[[Bytes], NDArray[Any]]:
    """The cheapest step in numpy and OpenCV from 0..255 to the model's input: nothing, a flipped top bit, or a table."""
    scale, zero_point = detail["quantization"]
    signed = detail["dtype"] == np.int8
    limits = np.iinfo(detail["dtype"])
    unit = scale * 255 < 1.5  # 255 steps cover 0..1; otherwise they cover -1..1
    values = np.arange(256) / 255 if unit else np.arange(256) / 127.5 - 1
    table = np.clip(np.rint(values / scale) + zero_point, limits.min, limits.max).astype(detail["dtype"])
    raw = table.view(np.uint8)
    if (raw == np.arange(256)).all():
        return lambda picture: picture
    if signed and (raw == np.arange(256) ^ 128).all():
        return lambda picture: np.bitwise_xor(picture, 128, out=picture).view(np.int8)
    return lambda picture: cv2.LUT(picture, raw).view(detail["dtype"])
