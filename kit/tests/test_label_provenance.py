"""A data set of `kit label` names whose pictures it holds and what its teacher learned from; so does all after it."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from label_files import GREEN, RED, label, listed, picture, teacher
from tiny_checkpoint import save, tiny
from tiny_recipe import RECIPE
from tiny_tflite import identity

from pspnet_kit import checkpoint
from pspnet_kit.__main__ import main
from pspnet_kit.data import open_dataset
from pspnet_kit.labelling.provenance import joined_notice, licence
from pspnet_kit.recipe import read
from pspnet_kit.training.device import join
from pspnet_kit.training.loop import Trainer

WEIGHTS = 'name = "street"\nlicence = "research only"\n'
TRAINING = '[training]\ndata = "CamVid"\nlicence = "non-commercial"\ncitation = "Brostow 2008."\n'
STREET = {"name": "street", "licence": "research only", "citation": ""}
CAMVID = {"name": "CamVid", "licence": "non-commercial", "citation": "Brostow 2008."}


def street(folder: Path) -> Path:
    """A teacher whose manifest says where its weights come from."""
    path = teacher(folder)
    manifest = folder / "manifest.toml"
    manifest.write_text(WEIGHTS + manifest.read_text() + TRAINING)
    return path


def licensed(pool: Path, **licences: str) -> None:
    """The pool's list with a licence for each picture."""
    rows = [{"file": f"pictures/{name}.png", "place": "yard", "licence": said} for name, said in licences.items()]
    listed(pool, *rows)


def finished(tmp_path: Path) -> dict[str, object]:
    """What a network that was trained on the data set says of its data."""
    (tmp_path / "recipe.toml").write_text(RECIPE)
    recipe = read(tmp_path / "recipe.toml", [f'data.root="{tmp_path}/out"'])
    content = Trainer(recipe, tmp_path / "run", join(), resume=False, fast=False)._finished()
    checkpoint.save(tmp_path / "run/final.pt", content)
    data: dict[str, object] = content["data"]
    return data


def test_what_the_teacher_learned_from_goes_into_data_set_checkpoint_and_manifest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        picture(tmp_path / f"pool/pictures/{name}.png", RED, GREEN)
    licensed(tmp_path / "pool", a="CC0-1.0", b="CC-BY-4.0")
    (tmp_path / "pool/NOTICE").write_text("Who drew what.\n")
    assert label(tmp_path, "--teacher", str(street(tmp_path / "street")), "--licence", "mine too") == 0
    said = "scenes: CC-BY-4.0, CC0-1.0, mine too; street: research only; CamVid: non-commercial"
    lines = ["scenes: CC-BY-4.0, CC0-1.0, mine too", "street: research only", "CamVid: non-commercial"]
    assert "licences:\n" + "".join(f"  {line}\n" for line in lines) in capsys.readouterr().out
    own = {
        "name": "scenes",
        "licence": "CC-BY-4.0, CC0-1.0, mine too",
        "citation": "NOTICE of the data set names the authors of the pictures.",
    }
    data = open_dataset(tmp_path / "out")
    assert (data.name, data.licence) == ("scenes", own["licence"])
    assert data.origin()["sources"] == [own, STREET, CAMVID]
    assert (tmp_path / "out/NOTICE").read_text() == "Who drew what.\n"
    trained = finished(tmp_path)
    assert trained["licence"] == said and trained["sources"] == [own, STREET, CAMVID]
    model = identity(tmp_path / "model.tflite", 8, 8)
    assert main(["manifest", str(model), "--checkpoint", str(tmp_path / "run/final.pt"), "--name", "yard"]) == 0
    manifest = tomllib.loads((tmp_path / "manifest.toml").read_text())["training"]
    assert (manifest["data"], manifest["licence"]) == ("scenes, street, CamVid", said)
    assert "Brostow 2008." in manifest["citation"]


def test_a_source_of_any_name_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    path = teacher(tmp_path / "street")
    manifest = path.with_name("manifest.toml")
    manifest.write_text('name = "not trained here; original:\\nx: y"\n' + manifest.read_text())
    assert label(tmp_path, "--teacher", str(path)) == 0
    told = "licences:\n  scenes: not stated\n  not trained here; original: x: y: not stated\n"
    assert told in capsys.readouterr().out


def test_pictures_that_the_pool_s_list_does_not_have_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        picture(tmp_path / f"pool/pictures/{name}.png", RED)
    assert label(tmp_path) == 0
    assert "says no licence" not in capsys.readouterr().out
    licensed(tmp_path / "pool", a="MIT")
    assert label(tmp_path) == 0
    told = capsys.readouterr().out
    assert "pool/pool.json says no licence of 2 pictures: pictures/b.png, pictures/c.png; --licence says it" in told
    assert open_dataset(tmp_path / "out").licence == "MIT, of some pictures not stated"
    listed(tmp_path / "pool")
    assert label(tmp_path, "--licence", "mine") == 0
    assert "of 3 pictures: pictures/a.png, pictures/b.png, pictures/c.png; only --licence" in capsys.readouterr().out
    licensed(tmp_path / "pool", a="MIT", b="MIT", c="MIT")
    assert label(tmp_path) == 0
    assert "says no licence" not in capsys.readouterr().out


def test_a_checkpoint_hands_its_sources_on(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    names, data = ["leaf", "brick", "stone"], {"name": "x", "licence": "y", "citation": "", "sources": [STREET, CAMVID]}
    student = save(tmp_path / "student.pt", tiny(), names=names, data=data)
    assert label(tmp_path, "--teacher", str(student), "--threshold", "0") == 0
    own = {"name": "scenes", "licence": "", "citation": ""}
    assert open_dataset(tmp_path / "out").origin()["sources"] == [own, STREET, CAMVID]


def test_a_teacher_that_says_nothing_is_named(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    first, other = (teacher(tmp_path / name) for name in ("one", "two"))
    student = save(tmp_path / "student.pt", tiny(), names=["red", "green", "blue"])
    several = [part for path in (first, other, student) for part in ("--teacher", str(path))]
    assert label(tmp_path, *several, "--licence", "CC0") == 0
    said = open_dataset(tmp_path / "out").origin()["licence"]
    assert said == "scenes: CC0; one: not stated; two: not stated; student: not stated"


def test_labels_of_an_older_kit_say_that_the_teacher_is_not_known(tmp_path: Path) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert label(tmp_path, "--teacher", str(street(tmp_path / "street")), "--licence", "CC0") == 0
    path = tmp_path / "out/dataset.toml"
    first, _, rest = path.read_text().partition("[[sources]]")
    path.write_text(first + rest[rest.index("[[classes]]") :])
    said = str(open_dataset(tmp_path / "out").origin()["licence"])
    assert said.startswith("scenes: CC0; a teacher that dataset.toml does not name") and said.endswith("not stated")
    assert label(tmp_path, "--teacher", str(tmp_path / "street/model.tflite"), "--licence", "CC0") == 0
    assert open_dataset(tmp_path / "out").origin()["sources"][1:] == [STREET, CAMVID]


def test_a_killed_run_leaves_no_data_set_that_names_too_little(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    assert label(tmp_path) == 0
    picture(tmp_path / "pool/pictures/b.png", RED)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("pspnet_kit.labelling.labeller.Labeller.label", killed)
    assert label(tmp_path) == 130
    assert not (tmp_path / "out/dataset.toml").exists()


@pytest.mark.parametrize(
    ("listed", "added", "said"),
    [
        (["MIT", "CC0-1.0"] * 300, "", "CC0-1.0, MIT"),
        (["MIT"], "MIT", "MIT"),
        (["MIT", ""], "", "MIT, of some pictures not stated"),
        (["MIT", ""], "mine", "MIT, mine"),
        ([""], "mine", "mine"),
        ([""], "", ""),
    ],
)
def test_licences_of_many_pictures_are_one_line(listed: list[str], added: str, said: str) -> None:
    assert licence(listed, added) == said


def test_a_notice_keeps_the_sources_of_pictures_that_left_the_pool() -> None:
    yard, port = "Yard\n----\nFrom: a\nFiles: 1", "Port\n----\nFrom: b\nFiles: 3"
    assert joined_notice("", f"Head\n\n{yard}\n") == f"Head\n\n{yard}\n"
    grown = yard.replace("1", "1, 2")
    assert joined_notice(f"Head\n\n{yard}\n\n{port}\n", f"Head\n\n{grown}\n") == f"Head\n\n{grown}\n\n{port}\n"


def test_mistakes_in_the_training_table_of_a_teacher_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture(tmp_path / "pool/pictures/a.png", RED)
    path = teacher(tmp_path / "street")
    with path.with_name("manifest.toml").open("a") as file:
        file.write("[training]\nlicence = 3\n")
    assert label(tmp_path, "--teacher", str(path)) == 1
    assert "manifest.toml: training.licence is 3, expected a text" in capsys.readouterr().err
