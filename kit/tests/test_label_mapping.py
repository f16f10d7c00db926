"""What a teacher's classes mean: the mapping that is shipped, its mistakes, and when a label is sure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from colour_vision import VISIONS, differences

from pspnet_kit.data import ClassInfo
from pspnet_kit.data.dataset import group_names
from pspnet_kit.errors import KitError
from pspnet_kit.labelling import classes, mapping, places

SCENE = Path(__file__).parents[1] / "scene"
ADE20K = [
    "other",
    "wall",
    "building",
    "sky",
    "floor",
    "tree",
    "ceiling",
    "road",
    "bed",
    "window",
    "grass",
    "cabinet",
    "sidewalk",
    "person",
    "earth",
    "door",
    "table",
    "mountain",
    "plant",
    "curtain",
    "chair",
    "car",
    "water",
    "painting",
    "sofa",
    "shelf",
    "house",
    "sea",
    "mirror",
    "rug",
    "field",
    "armchair",
]
OWN = [
    ClassInfo("brick", "#ff0000", "structure"),
    ClassInfo("leaf", "#00ff00", "plant"),
    ClassInfo("stone", "#888888", "structure"),
]
GROUP_OF = np.array([0, 1, 0])


def shipped() -> mapping.Mapping:
    infos = classes.read(SCENE / "classes.toml")
    return mapping.read(SCENE / "teacher-ade20k31.toml", ADE20K, infos, Path("teacher.tflite"))


def test_the_shipped_classes_have_the_ten_groups_in_their_order() -> None:
    infos = classes.read(SCENE / "classes.toml")
    wanted = ["sky", "structure", "paved", "soil", "plant", "water", "person", "vehicle", "furniture", "other"]
    assert group_names(infos) == wanted
    assert [
        group for index, group in enumerate(c.group for c in infos) if index == 0 or infos[index - 1].group != group
    ] == wanted


def test_the_shipped_mapping_gives_every_class_of_the_teacher_one_group() -> None:
    meaning = shipped()
    assert (meaning.groups.sum(1) == 1).all() and (meaning.classes.sum(1) <= 1).all()
    assert (meaning.classes.sum(0) >= 1).all(), "a class that the teacher never gives can't be learned"
    groups = group_names(classes.read(SCENE / "classes.toml"))
    assert [groups[index] for index in meaning.groups[[ADE20K.index("window"), ADE20K.index("sea")]].argmax(1)] == [
        "structure",
        "water",
    ]


@pytest.mark.parametrize("vision", VISIONS)
def test_the_shipped_colours_tell_groups_apart_for_every_reader(vision: str) -> None:
    infos = classes.read(SCENE / "classes.toml")
    apart = differences([info.color for info in infos], vision)
    groups = np.array([info.group for info in infos])
    same = groups[:, None] == groups[None]
    assert apart[~same].min() >= 21
    assert apart[same & ~np.eye(len(infos), dtype=bool)].min() >= 10


def test_differences_of_colours_are_known_ones() -> None:
    # White and black are 100 apart for everybody; red and green are near each other without green cones.
    pairs = {vision: differences(["#ffffff", "#000000", "#a08000", "#80a000"], vision) for vision in VISIONS}
    assert all(apart[0, 1] == pytest.approx(100, abs=0.1) for apart in pairs.values())
    assert pairs["normal"][2, 3] > 3 * pairs["deuteranopia"][2, 3]


def test_probability_stays_whole() -> None:
    p = np.random.default_rng(0).dirichlet(np.ones(len(ADE20K)), (3, 4)).astype(np.float32)
    own, groups = shipped().split(p)
    np.testing.assert_allclose(groups.sum(-1), 1, rtol=1e-5)
    assert (own.sum(-1) < 1).all()


def test_a_label_is_the_likeliest_class_of_the_likeliest_group() -> None:
    own = np.array([[[0.3, 0.4, 0.3], [0.1, 0.2, 0.5], [0.2, 0.1, 0.2], [0.2, 0.55, 0.25]]], np.float32)
    groups = np.array([[[0.6, 0.4], [0.7, 0.3], [0.9, 0.1], [0.45, 0.55]]], np.float32)
    # The third is sure of the group, but not which class it is.
    assert mapping.hard_labels(own, groups, GROUP_OF, 0.5).tolist() == [[0, 2, 255, 1]]
    assert mapping.hard_labels(own, groups, GROUP_OF, 0.6).tolist() == [[0, 2, 255, 255]]


def test_a_teacher_with_the_classes_themselves_needs_no_mapping() -> None:
    own, groups = mapping.identity(OWN).split(np.array([0.2, 0.3, 0.5], np.float32))
    np.testing.assert_allclose(own, [0.2, 0.3, 0.5])
    np.testing.assert_allclose(groups, [0.7, 0.3])


def read(tmp_path: Path, text: str) -> mapping.Mapping:
    (tmp_path / "m.toml").write_text(text)
    return mapping.read(tmp_path / "m.toml", ["red", "green"], OWN, Path("t.tflite"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[classes]\nred = 'brick'", r"m\.toml: does not say what the class 'green' of t\.tflite is"),
        ("[classes]\nred = 'brick'\ngreen = 'moss'", r"green is said to be 'moss', expected one of brick, leaf, stone"),
        ("[classes]\nred = 'brick'\n[groups]\ngreen = 'leaf'", r"'leaf', expected one of structure, plant"),
        ("[classes]\nred = 'brick'\ngreen = 'leaf'\nblue = 'leaf'", r"t\.tflite: lacks the class 'blue'"),
        (
            "[classes]\nred = 'brick'\n[groups]\nred = 'plant'\ngreen = 'plant'",
            r"red is in \[classes\] and in \[groups\]",
        ),
        ("[classes]\nred = 1", r"expected a table of names"),
        ("[colours]\nred = 'brick'", r"colours is unknown; known here: classes, groups, names"),
        ("[classes", r"m\.toml: "),
    ],
)
def test_mistakes_in_a_mapping_are_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(KitError, match=said):
        read(tmp_path, text)


def test_other_names_stand_for_the_teacher_s(tmp_path: Path) -> None:
    meaning = read(tmp_path, "[classes]\nscarlet = 'brick'\ngreen = 'leaf'\n[names]\nred = 'scarlet'")
    assert meaning.classes.argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "expected 2 to 255 tables"),
        ("[[classes]]\nname='a'\ncolor='#000000'", "expected 2 to 255 tables"),
        (
            "[[classes]]\nname='a'\ncolor='#000000'\n[[classes]]\nname='a'\ncolor='#000001'",
            r"classes\[1\]\.name is 'a'",
        ),
        ("[[classes]]\nname='a'\ncolor='red'\n[[classes]]\nname='b'\ncolor='#000001'", r"classes\[0\]\.color is 'red'"),
        ("[[classes]]\nname='a'\nid=3\n[[classes]]\nname='b'", r"classes\[0\] is .*expected texts"),
        ("[[classes]]\nname='a'\ncolour='#000000'\n[[classes]]\nname='b'", r"classes\[0\]\.colour is unknown"),
    ],
)
def test_mistakes_in_a_list_of_classes_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(KitError, match=said):
        classes.read(tmp_path / "c.toml")


def test_the_shipped_places_rule_out_groups_that_are_there() -> None:
    groups = group_names(classes.read(SCENE / "classes.toml"))
    told = places.read(SCENE / "places.toml", groups)
    assert told.never["car park"].tolist() == [name in ("paved", "plant", "person", "vehicle") for name in groups]
    assert all(0 < factor.sum() < len(groups) for factor in told.never.values())
    assert told.no_up <= set(told.never), "a place without an up is one whose ground is known"
    assert told.ground is not None and told.ground[groups.index("paved")] == 1
    assert told.ground[groups.index("structure")] == 0


def test_impossible_groups_leave_their_share_to_the_others() -> None:
    own = np.array([[0.2, 0.5, 0.2], [0.0, 1.0, 0.0]], np.float32)
    groups = np.array([[0.5, 0.5], [0.0, 1.0]], np.float32)
    left, rest = places.restrict(own, groups, GROUP_OF, np.array([1, 0], np.float32))
    np.testing.assert_allclose(left, np.array([[0.4, 0, 0.4], [0, 0, 0]]), rtol=1e-6)
    np.testing.assert_allclose(rest, np.array([[1.0, 0], [0, 0]]))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[never]\nhall = ['structure', 'moss']", r"'hall' is .*expected a list of some of structure, plant"),
        ("[never]\nhall = ['structure', 'plant']", r"expected a list of some of"),
        ("[never]\nhall = 'plant'", r"expected a list of some of"),
        ("[always]\nhall = ['plant']", r"expected a list no_up and tables \[never\] and \[ground\]"),
        ("never = 3", r"expected a list no_up and tables \[never\] and \[ground\]"),
        ("no_up = 'yard'", r"no_up is 'yard', expected a list of kinds of places"),
        ("[ground]\ndegrees = 50", r"expected \[ground\] to have degrees and never"),
        ("[ground]\ndegrees = 100\nnever = ['plant']", r"ground\.degrees is 100, expected more than 0"),
        ("[ground]\ndegrees = 50\nnever = ['moss']", r"'ground\.never' is .*expected a list of some of"),
    ],
)
def test_mistakes_in_a_list_of_places_are_named(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "p.toml").write_text(text)
    with pytest.raises(KitError, match=said):
        places.read(tmp_path / "p.toml", ["structure", "plant"])


def test_a_list_of_the_pool_that_is_no_json_is_named(tmp_path: Path) -> None:
    (tmp_path / "pool.json").write_text("[")
    with pytest.raises(KitError, match=r"pool\.json: is no JSON that can be read"):
        places.listed(tmp_path)


@pytest.mark.parametrize("text", ["{}", '{"pictures": 3}', '{"pictures": [{"place": "x"}]}', '{"pictures": ["x"]}'])
def test_a_broken_list_of_the_pool_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "pool.json").write_text(text)
    with pytest.raises(KitError, match=r"pool\.json: expected a list `pictures` of `file`, `place`"):
        places.listed(tmp_path)


def test_a_part_of_a_pool_has_the_kinds_of_the_whole(tmp_path: Path) -> None:
    rows = [{"file": "held/pictures/a.jpg", "place": "yard"}, {"file": "pictures/a.jpg", "place": "hall"}]
    (tmp_path / "pool.json").write_text(json.dumps({"pictures": rows}))
    (tmp_path / "held").mkdir()
    yard, hall = places.Listed("yard", ""), places.Listed("hall", "")
    assert places.listed(tmp_path / "held") == {"pictures/a.jpg": yard}
    assert places.listed(tmp_path) == {"held/pictures/a.jpg": yard, "pictures/a.jpg": hall}
