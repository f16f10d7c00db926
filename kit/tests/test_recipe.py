"""Recipes: those that are shipped, overrides, and what is refused with file and key."""

from __future__ import annotations

from pathlib import Path

import pytest

from pspnet_kit.errors import KitError
from pspnet_kit.recipe import Phase, Recipe, read

SHIPPED = sorted((Path(__file__).parents[1] / "recipes").glob("*.toml"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A small recipe."""
    path = tmp_path / "small.toml"
    path.write_text('[model]\nbackbone = "efficientnet-lite1"\n[train]\nbatch = 3\nrate = 1\n[augment]\nflip = 0.0\n')
    return path


def test_there_are_shipped_recipes() -> None:
    assert len(SHIPPED) >= 3


# Others take the network of the checkpoint that they start from.
@pytest.mark.parametrize("path", [path for path in SHIPPED if read(path, []).model], ids=lambda path: path.stem)
def test_shipped_recipes_fit_their_network(path: Path) -> None:
    recipe = read(path, [])
    recipe.architecture(11).check_size(*recipe.train.size)
    for phase in recipe.train.phases:
        # Smaller maps than the finest grid of the pyramid would repeat cells.
        assert min(phase.crop) >= 6 * recipe.model["stride"]


def test_what_is_not_said_has_its_default(path: Path) -> None:
    recipe = read(path, [])
    assert recipe.model == {"backbone": "efficientnet-lite1"}
    assert (recipe.train.batch, recipe.train.rate, recipe.augment.flip) == (3, 1.0, 0.0)
    assert isinstance(recipe.train.rate, float)
    assert recipe.train.decay == Recipe().train.decay and recipe.weights == "imagenet"
    assert recipe.architecture(5).classes == 5 and recipe.architecture(5).backbone == "efficientnet-lite1"


def test_overrides_take_tomls_values_and_bare_words(path: Path) -> None:
    recipe = read(
        path,
        [
            "train.batch=5",
            "train.rate = 2e-3",
            "train.qat=true",
            "weights=none",
            'data.root="a=b"',
            'data.train_without=["0006*", "b"]',
            "augment.paste_classes=[2, 6]",
            "train.size=[96, 192]",
            "model.stride=16",
        ],
    )
    assert (recipe.train.batch, recipe.train.rate, recipe.train.qat, recipe.weights) == (5, 0.002, True, "none")
    assert (recipe.data.root, recipe.data.train_without) == ("a=b", ("0006*", "b"))
    assert (recipe.augment.paste_classes, recipe.train.size) == ((2, 6), (96, 192))
    assert recipe.model["stride"] == 16
    assert read(path, ["train.batch=5", "train.batch=6"]).train.batch == 6


def test_phases(path: Path) -> None:
    recipe = read(path, ["train.phases=[{epochs=3,crop=[48,96]},{epochs=1,crop=[96,192]}]"])
    assert recipe.train.phases == (Phase(3, (48, 96)), Phase(1, (96, 192)))
    assert recipe.as_dict()["train"]["phases"][0] == {"epochs": 3, "crop": (48, 96)}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.bach=1", r"small\.toml: unknown key train\.bach; known are .*batch"),
        ("trian.batch=1", r"small\.toml: unknown key trian"),
        ("train.batch=1.5", r"small\.toml: train\.batch: expected int, not 1\.5"),
        ("train.batch=true", r"train\.batch: expected int, not True"),
        ("train.batch=0", r"small\.toml: train\.batch 0: expected at least 1"),
        ("train.batch=[1]", r"train\.batch: expected int"),
        ("train.label_stride=0", r"train\.label_stride 0: expected at least 1"),
        ("train.rate=fast", r"train\.rate: expected float, not 'fast'"),
        ("train.rate=true", r"train\.rate: expected float, not True"),
        ("train.size=96", r"train\.size: expected a list, not 96"),
        ("train.size=[96]", r"train\.size: expected a list of 2, not \[96\]"),
        ('train.size=[96, "a"]', r"train\.size: expected int, not 'a'"),
        ("train=3", r"train\.?: expected a table"),
        ("model=3", r"model: expected a table"),
        ("train.phases=[]", r"train\.phases: expected at least one"),
        ("train.phases=[3]", r"train\.phases\.?: expected a table"),
        ("train.phases=[{epochs=1}]", r"train\.phases: crop \[0, 0\]: expected at least 32"),
        ("train.phases=[{epochs=1,crop=[96,31]}]", r"train\.phases: crop \[96, 31\]: expected at least 32"),
        ("train.phases=[{epochs=0,crop=[96,96]}]", r"train\.phases: epochs 0: expected at least 1"),
        ('train.phases=[{epochs="2",crop=[96,96]}]', r"train\.phases\.epochs: expected int, not '2'"),
        ("train.phases=[{epochs=1,crop=96}]", r"train\.phases\.crop: expected a list, not 96"),
        ("train.phases=[{epochs=1,crop=[9,9],rate=1}]", r"unknown key train\.phases\.rate"),
        ("train.rate=nan", r"train\.rate nan: expected more than 0"),
        ("train.rate=-1.0", r"train\.rate -1\.0: expected more than 0"),
        ("train.decay=inf", r"train\.decay inf: expected at least 0"),
        ("train.seed=-1", r"train\.seed -1: expected at least 0"),
        ("train.warmup=-1", r"train\.warmup -1: expected at least 0"),
        ("train.average=1.0", r"train\.average 1\.0: expected 0 to less than 1"),
        ("train.optimiser=adam", r"train\.optimiser 'adam': expected adamw or sgd"),
        ("train.label_stride=241", r"train\.label_stride 241: expected at most 240, the least side of a crop"),
        ("distil.alpha=1.5", r"distil\.alpha 1\.5: expected 0 to 1"),
        ("distil.temperature=0.0", r"distil\.temperature 0\.0: expected more than 0"),
        ("distil.structural_weight=-1.0", r"distil\.structural_weight -1\.0: expected at least 0"),
        ("distil.teacher_size=[96,0]", r"distil\.teacher_size \[96, 0\]: expected a height and a width"),
        ("distil.teacher_size=[-96,-96]", r"distil\.teacher_size \[-96, -96\]: expected a height"),
        ("model.heads=3", r"small\.toml: unknown key model\.heads; known are auxiliary, backbone"),
        ("model.classes=5", r"small\.toml: model\.classes: is no key"),
        ('model.head_channels="96"', r"model\.head_channels: expected int, not '96'"),
        ("model.stride=16.0", r"model\.stride: expected int, not 16\.0"),
        ("model.auxiliary=1", r"model\.auxiliary: expected bool, not 1"),
        ("model.bins=3", r"model\.bins: expected a list, not 3"),
        ('model.bins=[1, "2"]', r"model\.bins\[1\]: expected int, not '2'"),
        ("data.train_without=0006*", r"data\.train_without: expected a list, not '0006\*'"),
        ("data.train_without=[6]", r"data\.train_without\[0\]: expected str, not 6"),
        ('augment.paste_classes=["car"]', r"augment\.paste_classes\[0\]: expected int, not 'car'"),
        ("augment.scale=[2.0, 1.0]", r"small\.toml: augment\.scale \[2\.0, 1\.0\]: expected the least"),
        ("augment.flip=50", r"augment\.flip 50\.0: expected a probability"),
        ("train.batch", r"--set train\.batch: expected table\.key=value"),
        ("=3", r"--set =3: expected table\.key=value"),
        ("train.batch.size=3", r"--set train\.batch\.size=3: batch is not a table"),
    ],
)
def test_wrong_values_are_named(path: Path, override: str, message: str) -> None:
    with pytest.raises(KitError, match=message):
        read(path, [override])


def test_the_network_is_checked_where_classes_are_known(path: Path) -> None:
    for override, message in [
        ("model.stride=12", "stride 12: expected 8 or 16"),
        ("model.head_channels=0", "head_channels 0: expected 1 to 2048"),
        ("model.skip_channels=-8", "skip_channels -8: expected 1 to 2048"),
        ("model.bin_channels=-1", "bin_channels -1: expected 0 to 2048"),
        ("model.dropout=2.0", r"dropout 2\.0: expected 0 to less than 1"),
        ("model.bins=[]", r"bins \(\): expected 1 to 8 numbers from 1 to 64"),
    ]:
        with pytest.raises(KitError, match=message):
            read(path, [override]).architecture(4)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(KitError, match=r"none\.toml: no such file"):
        read(tmp_path / "none.toml", [])
    bad = tmp_path / "bad.toml"
    bad.write_text("[train]\nbatch = \n")
    with pytest.raises(KitError, match=r"bad\.toml: .*line 2"):
        read(bad, [])
    bad.write_bytes(b"\xff\xfe")
    with pytest.raises(KitError, match=r"bad\.toml"):
        read(bad, [])
    with pytest.raises(KitError, match="is a folder"):
        read(tmp_path, [])
