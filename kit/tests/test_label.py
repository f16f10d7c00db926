"""`kit label` with a teacher whose three classes are red, green and blue."""

from __future__ import annotations

import json
from math import exp
from pathlib import Path

import numpy as np
import pytest
import torch
from label_files import BLUE, GREEN, RED, label, listed, picture, teacher
from PIL import Image
from tiny_checkpoint import constant, save, tiny

from pspnet_kit import files
from pspnet_kit.data import open_dataset
from pspnet_kit.data.dataset_toml import SETTINGS
from pspnet_kit.errors import KitError
from pspnet_kit.export.flatbuffer import Graph, Quant
from pspnet_kit.labelling import store

SURE = 1 / (1 + 2 * exp(-255 / 128))
"""The teacher's probability of a full colour, 0.786; the other two share the rest."""
REST = (1 - SURE) / 2


def test_a_pool_becomes_a_data_set(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED, GREEN)
    picture(tmp_path / "pool/pictures/b.png", BLUE, size=(40, 52))
    assert label(tmp_path, "--licence", "CC0", "--citation", "M. Muster") == 0
    data = open_dataset(tmp_path / "out", "auto")
    assert (data.licence, data.citation) == ("CC0", "M. Muster")
    assert [(c.name, c.color, c.group) for c in data.classes][1] == ("brick", "#ff0000", "structure")
    a, b = data.pairs("train")
    image, ids = data.read(a)
    assert image.shape == (64, 96, 3)
    assert (ids[:, :40] == 1).all() and (ids[:, 56:] == 0).all()
    # Blue is no class, but its group is red's too.
    soft = data.read_soft(a)
    assert soft.shape == (2, 16, 24)
    assert soft[0, 8, 2] == round(255 * REST) and soft[0, 8, 20] == round(255 * SURE)
    assert soft[1, 8, 2] == round(255 * (SURE + REST))
    # Of the group the teacher is sure, of a class in it not.
    _, ids = data.read(b)
    assert (ids == 255).all() and (data.read_soft(b)[1] == round(255 * (SURE + REST))).all()


def test_an_unsure_teacher_leaves_void(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", GREEN)
    assert label(tmp_path, "--threshold", "0.8") == 0
    assert "100% of the pixels are void" in capsys.readouterr().out
    assert (np.asarray(Image.open(tmp_path / "out/labels/a.png")) == 255).all()


def test_a_left_and_a_right_picture_are_mirrored_alike(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED, GREEN, GREEN)
    picture(tmp_path / "pool/pictures/b.png", GREEN, GREEN, RED)
    assert label(tmp_path) == 0
    data = open_dataset(tmp_path / "out", "toml")
    a, b = (data.read_soft(pair).astype(int) for pair in data.pairs("train"))
    assert abs(a - b[..., ::-1]).max() <= 1


def test_mirror_images_can_be_left_out(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED, GREEN, GREEN)
    picture(tmp_path / "pool/pictures/b.png", GREEN, GREEN, RED)
    # Its convolutions begin at the left: of a mirror image it says something else.
    model = tiny()
    model.classifier.weight.data *= 50
    uneven = save(tmp_path / "uneven.pt", model, ("red", "green", "blue"))

    def differ(out: str, *more: str) -> int:
        assert label(tmp_path, "--teacher", str(uneven), "--out", str(tmp_path / out), *more) == 0
        data = open_dataset(tmp_path / out, "toml")
        a, b = (data.read_soft(pair).astype(int) for pair in data.pairs("train"))
        return int(abs(a - b[..., ::-1]).max())

    assert differ("with") <= 1 < differ("without", "--no-mirror")


def test_teachers_are_averaged(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED, GREEN)
    fine, coarse = teacher(tmp_path / "fine", size=(64, 96)), teacher(tmp_path / "coarse", size=(2, 2))
    assert label(tmp_path, "--teacher", str(fine), "--teacher", str(coarse)) == 0
    soft = open_dataset(tmp_path / "out", "toml")
    both = soft.read_soft(soft.pairs("train")[0])[0, 8].astype(int)
    # Two pixels know where the colours are only roughly: the edge is softer than one fine teacher's.
    assert both[11] - both[8] > 4 and both[2] == round(255 * REST)


def test_large_pictures_are_shrunk(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED, size=(300, 200))
    assert label(tmp_path, "--side", "100") == 0
    assert Image.open(tmp_path / "out/images/a.jpg").size == (67, 100)


def test_views_of_a_panorama_are_labelled_from_the_sphere(tmp_path: Path) -> None:
    for exposure in ("bright", "mid"):
        path = tmp_path / f"pool/panoramas/yard_{exposure}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        sky = np.zeros((64, 128, 3), np.uint8)
        sky[:32, :, 1], sky[32:, :, 0] = 255, 255
        Image.fromarray(sky).save(path)
    assert label(tmp_path) == 0
    data = open_dataset(tmp_path / "out", "toml")
    pairs = data.pairs("train")
    assert [pair.image.stem for pair in pairs] == [f"yard_view00{index}" for index in range(3)]
    for pair in pairs:
        image, ids = data.read(pair)
        assert image.shape == (256, 384, 3) and data.read_soft(pair).shape == (2, 64, 96)
        # Red is below the horizon, wherever the camera looks.
        sure = ids != 255
        assert sure.mean() > 0.8
        assert ((image[..., 0] > image[..., 1])[sure] == (ids[sure] == 1)).mean() > 0.97


def test_what_can_not_be_at_a_place_is_not_there(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", GREEN, RED)
    kinds = [{"file": "pictures/a.png", "place": "cellar"}, {"file": "pictures/b.png", "place": "wood"}]
    listed(tmp_path / "pool", *kinds)
    (tmp_path / "places.toml").write_text('[never]\ncellar = ["plant"]')
    assert label(tmp_path, "--places", str(tmp_path / "places.toml"), "--threshold", "0.5") == 0
    data = open_dataset(tmp_path / "out", "toml")
    cellar, wood = data.pairs("train")
    assert not data.read_soft(cellar)[0].any() and (data.read_soft(cellar)[1] == 255).all()
    assert data.read_soft(wood)[0, 8, 2] == round(255 * SURE)
    # Half of what is left of green may be any class of the other group.
    assert (data.read(cellar)[1][:, 60:] == 1).all() and (data.read(wood)[1][:, :36] == 0).all()


def test_a_picture_without_an_up_is_written_in_all_four_directions(tmp_path: Path) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", GREEN, RED)
    kinds = [{"file": "pictures/a.png", "place": "car park"}, {"file": "pictures/b.png", "place": "wood"}]
    listed(tmp_path / "pool", *kinds)
    (tmp_path / "places.toml").write_text('no_up = ["car park"]')
    assert label(tmp_path, "--places", str(tmp_path / "places.toml")) == 0
    data = open_dataset(tmp_path / "out", "toml")
    pairs = {pair.image.stem: pair for pair in data.pairs("train")}
    assert sorted(pairs) == ["a", "a_turn1", "a_turn2", "a_turn3", "b"]
    image, ids = data.read(pairs["a"])
    for turn in range(1, 4):
        turned, labels = data.read(pairs[f"a_turn{turn}"])
        assert np.abs(turned.astype(int) - np.rot90(image, turn)).mean() < 3
        assert (labels == np.rot90(ids, turn)).mean() > 0.95
        soft = np.rot90(data.read_soft(pairs["a"]), turn, (1, 2))
        np.testing.assert_array_equal(data.read_soft(pairs[f"a_turn{turn}"]), soft)
    # Nothing is left to do, and a picture that misses one of its directions is done again.
    (tmp_path / "out/images/a_turn3.jpg").unlink()
    assert label(tmp_path, "--places", str(tmp_path / "places.toml")) == 0
    assert (tmp_path / "out/images/a_turn3.jpg").is_file()


def test_what_lies_below_the_camera_of_a_panorama_is_ground(tmp_path: Path) -> None:
    path = tmp_path / "pool/panoramas/yard_mid.png"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (128, 64), RED).save(path)
    (tmp_path / "places.toml").write_text('[ground]\ndegrees = 50\nnever = ["structure"]')
    assert label(tmp_path, "--places", str(tmp_path / "places.toml"), "--views", "6", "--threshold", "0.5") == 0
    data = open_dataset(tmp_path / "out", "toml")
    plants = [float((data.read_soft(pair)[0] > 127).mean()) for pair in data.pairs("train")]
    # The last view looks steeply down; all that is red is a structure elsewhere.
    assert plants[5] == max(plants) > 0.4 and min(plants) < 0.2, plants


def test_a_killed_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "abc":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    put = store.Store.put

    def killed(self: store.Store, name: str, *rest: np.ndarray) -> None:
        if name == "b":
            # As a kill between two of its files does.
            files.write_whole(tmp_path / "out/soft/b.png", b"")
            raise KeyboardInterrupt
        put(self, name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(store.Store, "put", killed)
        assert label(tmp_path) == 130
    assert not (tmp_path / "out/dataset.toml").exists()
    first = (tmp_path / "out/images/a.jpg").stat().st_mtime_ns
    assert label(tmp_path) == 0
    assert (tmp_path / "out/images/a.jpg").stat().st_mtime_ns == first
    data = open_dataset(tmp_path / "out", "toml")
    assert len(data.pairs("train")) == 3 and all(data.read_soft(pair).any() for pair in data.pairs("train"))


def test_a_pool_that_grew_is_labelled_on(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert label(tmp_path) == 0
    picture(tmp_path / "pool/pictures/b.png", RED)
    assert label(tmp_path) == 0
    assert len(open_dataset(tmp_path / "out", "toml").pairs("train")) == 2


def test_what_left_the_pool_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    assert label(tmp_path) == 0
    assert "no longer in" not in capsys.readouterr().out
    (tmp_path / "pool/pictures/a.png").unlink()
    assert label(tmp_path) == 0
    said = f"warning: no longer in {tmp_path}/pool, but still in {tmp_path}/out: 1 of its pictures: a"
    assert said in capsys.readouterr().out


def test_a_student_is_the_teacher_of_further_pictures(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    student = constant(tiny(), 2)
    save(tmp_path / "student.pt", student, names=["leaf", "brick", "stone"])
    # The mapping names classes that the student lacks: it isn't asked.
    assert label(tmp_path, "--teacher", str(tmp_path / "student.pt"), "--threshold", "0.5") == 0
    data = open_dataset(tmp_path / "out", "toml")
    pair = data.pairs("train")[0]
    assert (data.read(pair)[1] == 2).all()
    # Logits 0, 0 and 1.
    assert (data.read_soft(pair)[1] == round(255 * (1 + exp(1)) / (2 + exp(1)))).all()


def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert label(tmp_path, *more) == 1
    return capsys.readouterr().err


def test_other_settings_do_not_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert label(tmp_path) == 0
    told = refused(tmp_path, capsys, "--threshold", "0.5", "--side", "256")
    assert "made with other settings" in told and "): side is 256, was 512, threshold is 0.5, was 0.6; name an" in told
    assert "): mirror is False, was True; name another" in refused(tmp_path, capsys, "--no-mirror")
    (tmp_path / "places.toml").write_text('no_up = ["air"]\n')
    assert "): other places; name another" in refused(tmp_path, capsys, "--places", str(tmp_path / "places.toml"))
    known = tmp_path / "out" / SETTINGS
    known.write_text(json.dumps(json.loads(known.read_text())))
    assert label(tmp_path) == 0
    known.write_text("[]")
    assert "holds no settings of kit label" in refused(tmp_path, capsys)


def test_any_text_may_be_a_name_and_a_licence(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    texts = 'a\x7fb\x01\n"\\', "\u2028\x85", "\u00e9\\"
    assert label(tmp_path, "--name", texts[0], "--licence", texts[1], "--citation", texts[2]) == 0
    data = open_dataset(tmp_path / "out", "toml")
    assert data.name == texts[0] and texts[1] in data.licence and texts[2] in data.citation


def test_places_that_change_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    (tmp_path / "places.toml").write_text('no_up = ["air"]\n[never]\ntypo = ["plant"]\nyard = ["plant"]\n')
    assert label(tmp_path, "--places", str(tmp_path / "places.toml")) == 0
    assert f"{tmp_path}/pool names no kind of place, so " in capsys.readouterr().out
    row = {"file": "pictures/a.png", "place": "yard"}
    listed(tmp_path / "pool", row)
    assert label(tmp_path, "--places", str(tmp_path / "places.toml")) == 0
    assert f"no picture of {tmp_path}/pool is of the kinds air, typo, which the places name" in capsys.readouterr().out


def test_two_runs_do_not_write_one_data_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    with files.sole_writer(tmp_path / "out"):
        assert "another run writes to it" in refused(tmp_path, capsys)
    assert label(tmp_path) == 0


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    picture(tmp_path / "out/images/mine.jpg", RED)
    assert "is not empty and holds no labels of kit label" in refused(tmp_path, capsys)


def test_broken_pictures_are_all_named_before_any_is_labelled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    (tmp_path / "pool/pictures/b.jpg").write_bytes(b"no picture")
    whole = picture(tmp_path / "pool/pictures/c.png", RED, GREEN).read_bytes()
    (tmp_path / "pool/pictures/c.png").write_bytes(whole[: len(whole) // 2])
    picture(tmp_path / "pool/panoramas/d_mid.png", RED, size=(64, 100))
    said = refused(tmp_path, capsys)
    assert "can't use 3 of its pictures (--skip-broken leaves them out)" in said
    assert all(name in said for name in ("b.jpg: this is no picture", "c.png: can't read", "d_mid.png: is 100x64"))
    assert not (tmp_path / "out/images").exists()
    assert label(tmp_path, "--skip-broken") == 0
    assert "left out: " in capsys.readouterr().out
    assert len(open_dataset(tmp_path / "out", "toml").pairs("train")) == 1


def test_exposures_of_several_sizes_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/panoramas/d_mid.png", RED, size=(64, 128))
    picture(tmp_path / "pool/panoramas/d_dark.png", RED, size=(32, 64))
    assert "its exposures have different sizes" in refused(tmp_path, capsys)


@pytest.mark.parametrize("pool", ["nowhere", "pool"])
def test_a_pool_without_pictures_is_refused(tmp_path: Path, pool: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pool/pictures").mkdir(parents=True)
    assert label(tmp_path, pool=pool) == 1
    assert str(tmp_path / pool) in capsys.readouterr().err


def test_two_pictures_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    picture(tmp_path / "pool/pictures/a.jpg", RED)
    assert "has the same name as" in refused(tmp_path, capsys)


@pytest.mark.parametrize(
    ("first", "other"),
    [
        ("pictures/hall_view002.png", "panoramas/hall_mid.png"),
        ("pictures/a_turn1.png", "pictures/a.png"),
        ("pictures/hall.png", "panoramas/hall_mid.png"),
    ],
)
def test_pictures_that_become_the_same_are_refused(
    tmp_path: Path, first: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (first, other):
        picture(tmp_path / "pool" / file, RED, size=(32, 64))
    listed(tmp_path / "pool", {"file": "pictures/a.png", "place": "mast"})
    (tmp_path / "places.toml").write_text('no_up = ["mast"]')
    said = refused(tmp_path, capsys, "--places", str(tmp_path / "places.toml"))
    assert first in said and other in said and "their labels would be one file" in said
    assert not (tmp_path / "out/images").exists()


def test_a_missing_teacher_is_told_where_to_get(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    said = refused(tmp_path, capsys, "--teacher", str(tmp_path / "none.tflite"))
    assert "mlcommons/mobile_open" in said and "86a873714efd6cb391c3a4751e3bb7b8f91b1449" in said
    assert "da8b3822a22fde45ecaf0ff32022287eff58b500096971b04f3c1b292da66a3c" in said and "kit adopt" in said


def test_teachers_that_can_not_be_asked_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    (tmp_path / "text.tflite").write_text("no model")
    assert "text.tflite: TFLite refuses it" in refused(tmp_path, capsys, "--teacher", str(tmp_path / "text.tflite"))
    graph = Graph("class map")
    image = graph.input("uint8", [1, 8, 8, 3], Quant(1 / 128, 127))
    quant = Quant(1 / 128, 127)
    pooled = graph.max_pool("pooled", image, "uint8", quant, kernel=(1, 1), stride=(1, 1), padding="VALID")
    (tmp_path / "ids.tflite").write_bytes(graph.build([pooled, image]))
    said = refused(tmp_path, capsys, "--teacher", str(tmp_path / "ids.tflite"))
    assert "ids.tflite: 1 inputs and 2 outputs" in said and "kit adopt" in said
    unnamed = teacher(tmp_path / "unnamed", names=())
    assert "0 names for 3 classes" in refused(tmp_path, capsys, "--teacher", str(unnamed))
    first, other = teacher(tmp_path / "one"), teacher(tmp_path / "other", names=("red", "green", "sea"))
    said = refused(tmp_path, capsys, "--teacher", str(first), "--teacher", str(other))
    assert f"{other}: has other classes than {first}" in said


def test_a_teacher_that_gives_no_probabilities_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    model = tiny(3)
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
        model.head.bn.bias.fill_(3e38)
    network = save(tmp_path / "wild.pt", model, ("red", "green", "blue"))
    assert "wild.pt: computes infinities or NaN" in refused(tmp_path, capsys, "--teacher", str(network))
    assert not list((tmp_path / "out").glob("*/*"))


def test_a_class_that_the_teacher_lacks_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    other = teacher(tmp_path / "other", names=("red", "green", "sea"))
    assert "lacks the class 'blue'" in refused(tmp_path, capsys, "--teacher", str(other))


def test_a_full_disk_is_said_and_leaves_no_half_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    write = files.write_whole

    def full(path: Path, content: bytes) -> None:
        if path.suffix == ".jpg":
            raise KitError(f"{path}: can't be written: No space left on device")
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(store, "write_whole", full)
        assert "images/a.jpg: can't be written: No space left on device" in refused(tmp_path, capsys)
    assert label(tmp_path) == 0


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--name", "a\udcff", "--name 'a\\udcff': is not UTF-8"),
        ("--licence", "a\udcff", "--licence 'a\\udcff': is not UTF-8"),
        ("--name", " ", "--name ' ': expected a name"),
        ("--views", "0", "--views 0: expected 1 to 10000"),
        ("--views", "100000000", "--views 100000000: expected 1 to 10000"),
        ("--threshold", "1", "--threshold 1.0: expected 0 to less than 1"),
        ("--side", "8", "--side 8: expected 64 to 65500"),
        ("--side", "1000000000", "--side 1000000000: expected 64 to 65500"),
        ("--seed", "-1", "--seed -1: expected 0 to"),
        ("--seed", str(10**30), f"--seed {10**30}: expected 0 to"),
    ],
)
def test_wrong_numbers_are_refused(
    tmp_path: Path, option: str, value: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert said in refused(tmp_path, capsys, option, value)
