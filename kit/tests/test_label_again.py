"""`kit label` once more: labels of what changed in the pool are made anew, all others stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from label_files import GREEN, RED, label, listed, picture
from PIL import Image

from pspnet_kit.data import open_dataset


def stamps(out: Path) -> dict[str, int]:
    """When each picture was written."""
    return {path.stem: path.stat().st_mtime_ns for path in (out / "images").glob("*.jpg")}


def again(tmp_path: Path, *more: str) -> set[str]:
    """Labels once more, and tells which pictures that wrote."""
    before = stamps(tmp_path / "out")
    assert label(tmp_path, *more) == 0
    return {name for name, stamp in stamps(tmp_path / "out").items() if before.get(name) != stamp}


def ids(tmp_path: Path, name: str) -> np.ndarray:
    return np.asarray(Image.open(tmp_path / f"out/labels/{name}.png"))


def kinds(tmp_path: Path, **places: str) -> None:
    """The pool's list, and what it says of places."""
    rows = [{"file": f"pictures/{name}.png", "place": place} for name, place in places.items()]
    listed(tmp_path / "pool", *rows)
    (tmp_path / "places.toml").write_text('no_up = ["car park"]\n[never]\ncellar = ["plant"]')


def test_a_replaced_picture_is_labelled_anew(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    assert label(tmp_path) == 0
    picture(tmp_path / "pool/pictures/a.png", GREEN)
    assert again(tmp_path) == {"a"}
    assert (ids(tmp_path, "a") == 0).all() and (ids(tmp_path, "b") == 1).all()
    assert not again(tmp_path)


def test_a_replaced_or_further_exposure_of_a_panorama_is_labelled_anew(tmp_path: Path) -> None:
    mid = picture(tmp_path / "pool/panoramas/yard_mid.png", RED, size=(32, 64))
    assert label(tmp_path) == 0
    views = {f"yard_view00{index}" for index in range(3)}
    picture(mid, GREEN, size=(32, 64))
    assert again(tmp_path) == views and (ids(tmp_path, "yard_view000") == 0).all()
    picture(tmp_path / "pool/panoramas/yard_dark.png", GREEN, size=(32, 64))
    assert again(tmp_path) == views and not again(tmp_path)


def test_another_kind_of_place_is_labelled_anew_if_it_decides_about_labels(tmp_path: Path) -> None:
    for name in "abc":
        picture(tmp_path / f"pool/pictures/{name}.png", GREEN)
    known = ("--places", str(tmp_path / "places.toml"), "--threshold", "0.5")
    kinds(tmp_path, a="wood", b="wood", c="car park")
    assert label(tmp_path, *known) == 0
    assert (tmp_path / "out/images/c_turn3.jpg").is_file()
    kinds(tmp_path, a="cellar", b="meadow", c="wood")
    assert again(tmp_path, *known) == {"a", "c"}
    assert (ids(tmp_path, "a") == 1).all() and (ids(tmp_path, "b") == 0).all()
    # Its other directions would be learned with labels that nothing renews.
    assert not list((tmp_path / "out").glob("*/c_turn*"))
    assert len(open_dataset(tmp_path / "out").pairs("train")) == 3


def test_a_view_that_is_missing_is_labelled_anew(tmp_path: Path) -> None:
    picture(tmp_path / "pool/panoramas/yard_mid.png", RED, size=(32, 64))
    assert label(tmp_path) == 0
    (tmp_path / "out/images/yard_view000.jpg").unlink()
    assert "yard_view000" in again(tmp_path)


def test_labels_of_an_older_version_stay_and_are_noted(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    assert label(tmp_path) == 0
    (tmp_path / "out/made.json").unlink()
    (tmp_path / "out/images/b.jpg").unlink()
    assert again(tmp_path) == {"b"}
    picture(tmp_path / "pool/pictures/a.png", GREEN)
    assert again(tmp_path) == {"a"}


def test_the_licence_of_pictures_that_left_the_pool_stays(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    rows = [{"file": f"pictures/{name}.png", "licence": said} for name, said in (("a", "MIT"), ("b", "CC0-1.0"))]
    listed(tmp_path / "pool", *rows)
    assert label(tmp_path) == 0
    (tmp_path / "pool/pictures/a.png").unlink()
    listed(tmp_path / "pool", *rows[1:])
    assert not again(tmp_path)
    assert open_dataset(tmp_path / "out").licence == "CC0-1.0, MIT"
    (tmp_path / "out/images/a.jpg").unlink()
    assert not again(tmp_path)
    assert 'licence = "CC0-1.0"' in (tmp_path / "out/dataset.toml").read_text()


NO_LIST = "is no list of labelled pictures"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "is no JSON that can be read"),
        ("{}", NO_LIST),
        ('{"places": 3}', NO_LIST),
        ('{"places": {"a": {"file": 3}}}', NO_LIST),
    ],
)
def test_a_broken_record_is_named(tmp_path: Path, text: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert label(tmp_path) == 0
    (tmp_path / "out/made.json").write_text(text)
    assert label(tmp_path) == 1
    told = capsys.readouterr().err
    assert f"made.json: {said}" in told and "delete the folder to label anew" in told
