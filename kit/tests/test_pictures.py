"""Pictures are decoded in few formats, and whatever a decoder raises is one error with the file's name."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pspnet_kit.data.pictures import FORMATS, open_picture, read_image, size_of
from pspnet_kit.errors import KitError
from pspnet_kit.exam.pictures import Frame

PIXELS = np.random.default_rng(0).integers(0, 255, (6, 9, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", FORMATS)
def test_known_formats_are_read_whatever_the_name_says(tmp_path: Path, kind: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "x.png", kind)
    assert read_image(tmp_path / "x.png").shape == PIXELS.shape


@pytest.mark.parametrize("kind", ["TIFF", "EPS", "DDS", "TGA", "PCX", "ICO", "SGI", "PDF"])
def test_other_formats_are_refused_whatever_the_name_says(tmp_path: Path, kind: str) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "x.png", kind)
    with pytest.raises(
        KitError, match=r"x\.png: this is no picture that can be read; expected one of the formats JPEG"
    ):
        read_image(tmp_path / "x.png")


def jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).save(buffer, "JPEG")
    return buffer.getvalue()


def test_what_a_decoder_raises_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = jpeg()
    (tmp_path / "x.jpg").write_bytes(content)
    # Frames of clips are pictures too.
    for number in range(2):
        with monkeypatch.context() as patch:
            # Pillow's own code fails with a TypeError, as its decoders do for some files.
            patch.setattr(Image, "DECODERS", None)
            with pytest.raises(KitError, match=r"x\.jpg.*: can't read this picture: 'NoneType'"):
                read_image(tmp_path / "x.jpg") if number else Frame(tmp_path / "x.jpg", 0, content).read()


def test_a_fault_of_the_kit_is_no_broken_picture(tmp_path: Path) -> None:
    (tmp_path / "x.jpg").write_bytes(jpeg())
    with pytest.raises(AttributeError), open_picture(tmp_path / "x.jpg"):
        raise AttributeError


@pytest.mark.parametrize("turn", range(1, 9))
def test_the_size_is_that_of_the_picture_as_stored(tmp_path: Path, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    Image.fromarray(PIXELS).save(tmp_path / "x.jpg", exif=exif)
    assert size_of(tmp_path / "x.jpg") == read_image(tmp_path / "x.jpg", turned=False).shape[1::-1]
