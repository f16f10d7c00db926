"""Classes and their groups: which table counts, and what a model says in groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from built import bands
from exam_files import model
from tiny_checkpoint import save, tiny
from tiny_tflite import convolution, identity

from pspnet_kit.data import VOID
from pspnet_kit.data.known_classes import CAMVID, CITYSCAPES
from pspnet_kit.data.known_classes import VOC as VOC_CLASSES
from pspnet_kit.errors import KitError
from pspnet_kit.exam.candidate import Candidate
from pspnet_kit.exam.groups import GROUPS, group_id, groups_of, known
from pspnet_kit.judge.predictors import open_predictor

MODELS = Path(__file__).parents[2] / "models"


def groups(folder: Path, names: tuple[str, str, str], own: tuple[str, str, str] = ("", "", "")) -> tuple[str, ...]:
    return groups_of(open_predictor(model(folder, names, own)), {})


def test_every_listed_name_belongs_to_one_group() -> None:
    assert set(known().values()) == set(GROUPS)
    lines = (Path(__file__).parents[1] / "pspnet_kit/exam/groups.toml").read_text().splitlines()
    listed = "".join(line for line in lines if not line.startswith("#")).count('"') // 2
    assert listed == len(known())
    assert all(name == name.lower() and "-" not in name for name in known())
    assert all(known()[group] == group for group in GROUPS)


@pytest.mark.parametrize("path", sorted(MODELS.glob("*/model.tflite")), ids=lambda path: path.parent.name)
def test_every_shipped_model_has_its_groups(path: Path) -> None:
    found = groups_of(open_predictor(path), {})
    assert set(found) <= set(GROUPS)
    assert {"sky", "structure", "paved", "plant", "person", "vehicle"} <= set(found)


def test_the_classes_of_known_data_sets_have_their_groups() -> None:
    for entry in (*CAMVID, *CITYSCAPES, *VOC_CLASSES):
        assert entry.name in known(), entry.name


def test_what_the_user_says_counts_first_then_the_table_the_manifest_and_the_first_word(tmp_path: Path) -> None:
    names = ("Potted_Plant", "vehicle-van", "thing with wings")
    assert groups(tmp_path, names, ("water", "traffic", "other")) == ("plant", "vehicle", "other")
    # What the model says of itself counts before what a name lets one guess.
    other = groups(tmp_path / "other", ("water tower", "sky light", "other"), ("structure", "", ""))
    assert other == ("structure", "sky", "other")
    predictor = open_predictor(tmp_path / "model.tflite")
    said = {"Potted_Plant": "furniture", "vehicle-van": "other"}
    assert groups_of(predictor, said) == ("furniture", "other", "other")


def test_classes_of_no_group_are_named_with_the_way_to_say_it(tmp_path: Path) -> None:
    with pytest.raises(
        KitError, match=r"model\.tflite: the group of 'gizmo', 'widget' is not known; .*--map gizmo=GROUP"
    ):
        groups(tmp_path, ("sky", "gizmo", "widget"), ("", "tools", ""))
    with pytest.raises(KitError, match="--map 'a b'=GROUP"):
        groups(tmp_path, ("sky", "a b", "road"))


def test_a_model_that_does_not_name_all_classes_is_refused(tmp_path: Path) -> None:
    identity(tmp_path / "model.tflite", 4, 4)
    with pytest.raises(KitError, match=r"model\.tflite: does not name its classes; expected a manifest\.toml"):
        groups_of(open_predictor(tmp_path / "model.tflite"), {})
    convolution(model(tmp_path), 4, 4, classes=4)
    with pytest.raises(KitError, match="names 3 of its 4 classes"):
        groups_of(open_predictor(tmp_path / "model.tflite"), {})


def test_group_names_are_checked() -> None:
    assert group_id("void", "here", void=True) == VOID
    with pytest.raises(KitError, match=r"here: 'void' is no group; known are .*, other$"):
        group_id("void", "here")


def test_the_class_decides_and_its_whole_group_is_sure(tmp_path: Path) -> None:
    # Red and green belong together: where blue wins by its class, they have more probability together.
    candidate = Candidate(open_predictor(model(tmp_path, ("tree", "grass", "sky"))), {})
    image = np.zeros((12, 16, 3), np.uint8)
    image[:, :8] = (100, 100, 110)
    image[:, 8:] = (200, 60, 20)
    found = candidate.answer(image)
    np.testing.assert_array_equal(found.classes, np.repeat([2, 0], 8)[None].repeat(12, 0))
    np.testing.assert_array_equal(found.groups, np.repeat([0, GROUPS.index("plant")], 8)[None].repeat(12, 0))
    red, green, blue = np.exp(np.array([[100, 100, 110], [200, 60, 20]]).T / 128)
    assert found.confidence[0, 0] == pytest.approx((blue / (red + green + blue))[0], rel=1e-5)
    assert found.confidence[0, 15] == pytest.approx(((red + green) / (red + green + blue))[1], rel=1e-5)
    sure = candidate.sure_groups(image, 0.7)
    assert (sure[:, :8] == VOID).all() and (sure[:, 8:] == GROUPS.index("plant")).all()
    assert (candidate.sure_groups(image, 0.6) == GROUPS.index("plant")).all()


def test_classes_are_those_of_the_predictor(tmp_path: Path) -> None:
    predictor = open_predictor(model(tmp_path))
    # A picture that is larger than the input, and higher than one band of rows.
    image = np.kron(bands()[0], np.ones((9, 7, 1), np.uint8))
    found = Candidate(predictor, {}).answer(image)
    mask, confidence = predictor.predict(image)
    np.testing.assert_array_equal(found.classes, mask)
    # No two of the classes share a group.
    assert confidence is not None
    np.testing.assert_allclose(found.confidence, confidence, rtol=1e-5)


def test_a_checkpoint_is_a_candidate_too(tmp_path: Path) -> None:
    classes = [
        {"name": name, "color": "#000000", "group": group}
        for name, group in (("a", "sky"), ("b", "water"), ("c", "sky"))
    ]
    path = save(tmp_path / "best.pt", tiny(), classes=classes)
    candidate = Candidate(open_predictor(path), {})
    assert candidate.groups == ("sky", "water", "sky")
    image = np.random.default_rng(0).integers(0, 256, (150, 70, 3), np.uint8)
    found = candidate.answer(image)
    mask, confidence = candidate.predictor.predict(image)
    np.testing.assert_array_equal(found.classes, mask)
    assert confidence is not None and (found.confidence >= confidence - 1e-6).all()
    assert found.confidence.max() <= 1 + 1e-6
