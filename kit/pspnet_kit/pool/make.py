"""Makes what a pool has of a file: a scaled picture, frames of a video, or the exposures of a panorama."""

from __future__ import annotations

import errno
import io
import os
import re
import subprocess
import tempfile
from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data import panorama
from ..data.pictures import MOST_PIXELS, in_time, open_picture, read_image
from ..data.resize import resize
from ..errors import KitError, WriteError
from . import radiance
from .listing import EXPOSURES, PANORAMAS, Entry

WIDEST = 640
"""Pictures are scaled down to this width. Panoramas stay as they are."""
QUALITY = 92
"""Of the JPEG files."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FOLDERS = ("pictures", "panoramas", "held/pictures", "held/panoramas")
"""Of a pool, where `outputs` lie."""
OUTPUT = re.compile(rf"({'|'.join(FOLDERS)})/[a-z0-9_-]+\.jpg")
"""The names that `outputs` makes: a pool has no other pictures of its own."""
_INPUT = ("-v", "error", "-threads", "1", "-max_pixels", str(MOST_PIXELS), "-i")
_FFMPEG_TIME = 600
"""Seconds for the frames of one video, or one panorama."""


def outputs(entry: Entry) -> list[str]:
    """The files that the entry becomes, relative to the pool."""
    base = "held/" if entry.held else ""
    if entry.suffix in PANORAMAS:
        return [f"{base}panoramas/{entry.stem}_{name}.jpg" for name in EXPOSURES]
    if entry.tiles is not None:
        return [f"{base}pictures/{entry.stem}_tile{number}.jpg" for number in range(1, prod(entry.tiles) + 1)]
    if entry.frames is None:
        return [f"{base}pictures/{entry.stem}.jpg"]
    first, last, step = entry.frames
    return [f"{base}pictures/{entry.stem}_{frame:05d}.jpg" for frame in range(first, last + 1, step)]


def make(entry: Entry, file: Path) -> list[bytes]:
    """The content of each of `outputs`.

    Raises:
        KitError: when the file can't be read, has fewer frames or pixels than the list says, or isn't 2:1.
    """
    if entry.suffix in PANORAMAS:
        linear = radiance.read(file) if entry.suffix == ".hdr" else _exr(file)
        panorama.check_shape(linear.shape[0], linear.shape[1], file)
        return [_jpeg(radiance.develop(linear, stops), file) for stops in entry.exposures]
    if entry.frames is None:
        whole = _cropped(entry, file, read_image(file))
        columns, rows = entry.tiles or (1, 1)
        if min(whole.shape[0] // rows, whole.shape[1] // columns) < 1:
            size = f"{whole.shape[1]}x{whole.shape[0]}"
            raise KitError(f"{file}: is {size}, which {columns}x{rows} tiles can't be cut from")
        bands = np.array_split(whole, rows, 0)
        return [_jpeg(_scaled(tile), file) for band in bands for tile in np.array_split(band, columns, 1)]
    frames = _gif_frames(entry, file) if entry.suffix == ".gif" else _video_frames(entry, file)
    if len(frames) != len(outputs(entry)):
        first, last, step = entry.frames
        raise KitError(
            f"{file}: has {len(frames)} of the frames {first} to {last} in steps of {step}, "
            f"expected {len(outputs(entry))}"
        )
    return frames


def _cropped(entry: Entry, file: Path, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The part of the picture that is wanted."""
    if entry.crop is None:
        return picture
    left, top, width, height = entry.crop
    if left + width > picture.shape[1] or top + height > picture.shape[0]:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise KitError(f"{file}: is {size}, which {width}x{height} from {left}, {top} can't be cut from")
    return picture[top : top + height, left : left + width]


def _scaled(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture, at most WIDEST wide."""
    height, width = picture.shape[:2]
    if width <= WIDEST:
        return picture
    return resize(picture, max(1, round(height * WIDEST / width)), WIDEST)


def _jpeg(picture: NDArray[np.uint8], file: Path) -> bytes:
    buffer = io.BytesIO()
    try:
        Image.fromarray(picture).save(buffer, "JPEG", quality=QUALITY)
    except (OSError, ValueError, MemoryError) as error:
        size = f"{picture.shape[1]}x{picture.shape[0]}"
        raise KitError(f"{file}: a picture of {size} that is made of it can't be a JPEG file: {error}") from error
    return buffer.getvalue()


def _gif_frames(entry: Entry, file: Path) -> list[bytes]:
    assert entry.frames is not None
    first, last, step = entry.frames
    found: list[bytes] = []
    with open_picture(file) as picture:
        for number in range(first, min(last, getattr(picture, "n_frames", 1) - 1) + 1, step):
            picture.seek(number)
            found.append(_jpeg(_scaled(_cropped(entry, file, np.array(picture.convert("RGB"), np.uint8))), file))
    return found


def _video_frames(entry: Entry, file: Path) -> list[bytes]:
    """Frames that ffmpeg decodes, one at a time in memory."""
    assert entry.frames is not None
    first, last, step = entry.frames
    wanted = rf"between(n\,{first}\,{last})*not(mod(n-{first}\,{step}))"
    try:
        temporary = tempfile.TemporaryDirectory(prefix="kit-pool-")
    except OSError as error:
        raise WriteError(tempfile.gettempdir(), error) from error
    with temporary as folder:
        count = ["-frames:v", str(len(outputs(entry)))]
        _ffmpeg(file, "-an", "-vf", f"select={wanted}", "-vsync", "0", *count, f"{folder}/%06d.png")
        files = in_time(Path(folder).glob("*.png"))
        return [_jpeg(_scaled(_cropped(entry, file, read_image(frame))), file) for frame in files]


def _exr(file: Path) -> NDArray[np.float32]:
    """An OpenEXR panorama as linear RGB."""
    # The bare pixels don't tell their size.
    entries = "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0"
    told = _decode(file, "ffprobe", [*_INPUT, str(file.absolute()), *entries]).decode(errors="replace").split(",")
    if len(told) < 2 or not (told[0].isdigit() and told[1].strip().isdigit()):
        raise KitError(f"{file}: ffprobe can't tell the size of this picture")
    width, height = int(told[0]), int(told[1])
    panorama.check_shape(height, width, file)
    planes = _ffmpeg(file, "-pix_fmt", "gbrpf32le", "-frames:v", "1", "-f", "rawvideo", "-")
    return radiance.of_planes(file, planes, height, width)


def _ffmpeg(file: Path, *arguments: str) -> bytes:
    """What ffmpeg, given the file, writes to its output."""
    return _decode(file, "ffmpeg", ["-nostdin", *_INPUT, str(file.absolute()), *arguments])


def _decode(file: Path, program: str, arguments: list[str]) -> bytes:
    """What a program of ffmpeg's, run on the file, writes to its output."""
    try:
        done = subprocess.run([program, *arguments], capture_output=True, timeout=_FFMPEG_TIME)
    except FileNotFoundError:
        raise KitError(f"{file}: needs the program {program}, which isn't installed (apt-get install ffmpeg)") from None
    except subprocess.TimeoutExpired:
        raise KitError(f"{file}: {program} took more than {_FFMPEG_TIME} s") from None
    if done.returncode:
        text = done.stderr.decode(errors="replace")
        if full := [code for code in _FULL if os.strerror(code) in text]:
            raise WriteError(tempfile.gettempdir(), OSError(full[0], os.strerror(full[0])))
        said = (text.strip().splitlines() or ["no reason given"])[-1]
        raise KitError(f"{file}: {program} can't decode this file: {said}")
    return done.stdout
