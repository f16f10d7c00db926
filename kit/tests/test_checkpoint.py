"""Checkpoints: what comes back, what is refused, and what a failed write leaves."""

from __future__ import annotations

import math
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import tiny_checkpoint
import torch
from full_disk import fill
from tiny_checkpoint import save, tiny

from pspnet_kit import checkpoint
from pspnet_kit.errors import KitError

NORM = ("weight", "bias", "running_mean", "running_var")


def test_everything_comes_back(tmp_path: Path) -> None:
    content = {
        "state": {0: {"step": 3, "mean": torch.tensor([1.5, -2.0])}, 1: {}},
        "flags": [True, False, None],
        "rate": 0.1,
        "nested": [[1, 2], {"a": [torch.tensor(7)]}],
        "name": "ä\n",
        "half": torch.tensor([1.0], dtype=torch.bfloat16),
        "tensor": {"tensor": 5, "items": "x"},
        "nothing": {},
    }
    checkpoint.save(tmp_path / "deep/er/x.pt", content)
    back = checkpoint.read(tmp_path / "deep/er/x.pt")
    assert list(back) == list(content)
    assert torch.equal(back["state"][0].pop("mean"), torch.tensor([1.5, -2.0]))
    assert back["state"] == {0: {"step": 3}, 1: {}}
    assert back["flags"] == [True, False, None] and back["flags"][0] is True
    assert back["rate"] == 0.1 and back["name"] == "ä\n"
    assert back["nested"][0] == [1, 2] and back["nested"][1]["a"][0].dtype == torch.int64
    assert back["half"].dtype == torch.bfloat16
    assert back["tensor"] == {"tensor": 5, "items": "x"} and back["nothing"] == {}
    assert [path.name for path in (tmp_path / "deep/er").iterdir()] == ["x.pt"]


def test_an_optimiser_goes_on_where_it_was(tmp_path: Path) -> None:
    def make() -> tuple[torch.nn.Linear, torch.optim.Optimizer]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(2, 1)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1)

    def step(layer: torch.nn.Linear, optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad()
        layer(torch.ones(1, 2)).square().sum().backward()
        optimiser.step()

    one, first = make()
    step(one, first)
    checkpoint.save(tmp_path / "x.pt", {"layer": one.state_dict(), "optimiser": first.state_dict()})
    step(one, first)
    other, second = make()
    state = checkpoint.read(tmp_path / "x.pt")
    other.load_state_dict(state["layer"])
    second.load_state_dict(state["optimiser"])
    step(other, second)
    assert torch.equal(one.weight, other.weight)


def damaged(path: Path) -> list[bytes]:
    whole = path.read_bytes()
    foreign = path.with_name("foreign")
    torch.save({"model": torch.zeros(1)}, foreign)
    other = foreign.read_bytes()
    torch.save([1], foreign)
    return [whole[: len(whole) // 2], b"", b"no checkpoint", other, foreign.read_bytes(), pickle.dumps({"a": 1})]


def test_torn_and_foreign_files_are_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "good.pt", {"x": torch.arange(1000)})
    for index, content in enumerate(damaged(tmp_path / "good.pt")):
        path = tmp_path / f"bad{index}.pt"
        path.write_bytes(content)
        with pytest.raises(KitError, match=rf"bad{index}\.pt: not a checkpoint"):
            checkpoint.read(path)


def test_a_changed_bit_is_refused_or_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"x": torch.arange(50)})
    whole = path.read_bytes()
    refused = 0
    # Every seventh byte: of tensors, JSON, paddings and the archive's own tables.
    for place in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        try:
            assert torch.equal(checkpoint.read(path)["x"], torch.arange(50)), place
        except KitError as error:
            assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
            refused += 1
    assert refused > len(whole) / 7 / 3
    place = whole.index(torch.arange(50).numpy().tobytes()) + 80
    path.write_bytes(whole[:place] + b"x" + whole[place + 1 :])
    with pytest.raises(KitError, match=r"x\.pt: is damaged"):
        checkpoint.read(path)


def test_tensors_that_are_called_folders_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"x": torch.arange(50)})
    changed = bytearray(path.read_bytes())
    # The last four bytes before an entry's offset and name in the archive's table are its attributes.
    changed[changed.rindex(b"PK\1\2", 0, changed.rindex(b"/data/0")) + 38] = 0x10
    path.write_bytes(changed)
    with pytest.raises(KitError, match=r"x\.pt: is damaged"):
        checkpoint.read(path)


@pytest.mark.parametrize("structure", ["{", "5", '{"tensor": 9}', '{"x": 1}', '{"items": [[[1], 2]]}', 5])
def test_a_structure_that_is_none_is_refused(tmp_path: Path, structure: object) -> None:
    torch.save({"structure": structure, "tensors": []}, tmp_path / "x.pt")
    with pytest.raises(KitError, match=r"x\.pt: not a checkpoint of this kit$"):
        checkpoint.read(tmp_path / "x.pt")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x1c\0\0\0TFL3", "a .tflite model"),
        (b"", "empty"),
        (b"notes", "no archive of PyTorch's"),
        (pickle.dumps(5), "no archive"),
    ],
)
def test_foreign_files_are_told_without_pytorch(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "x.pt").write_bytes(content)
    with pytest.raises(KitError, match=rf"x\.pt: not a checkpoint of this kit: it is {kind}"):
        checkpoint.read(tmp_path / "x.pt")
    torch.save({"structure": "{}", "tensors": []}, tmp_path / "x.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(KitError, match="it is no archive"):
        checkpoint.read(tmp_path / "x.pt")


def test_no_code_of_a_foreign_file_runs(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "boom"),)

    torch.save(Bomb(), tmp_path / "bomb.pt")
    with pytest.raises(KitError, match=r"bomb\.pt"):
        checkpoint.read(tmp_path / "bomb.pt")
    assert not (tmp_path / "boom").exists()


def test_missing_files_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.pt", tmp_path):
        with pytest.raises(KitError, match=f"{path}: no such checkpoint"):
            checkpoint.read(path)


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failed_write_leaves_the_former_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    path = tmp_path / "x.pt"
    checkpoint.save(path, {"a": 1})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, broken, full)
    with pytest.raises(KitError, match=r"x\.pt: can't be written: No space left on device"):
        checkpoint.save(path, {"a": 2})
    monkeypatch.undo()
    assert checkpoint.read(path) == {"a": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(monkeypatch)
    with pytest.raises(KitError, match="No space left"):
        checkpoint.save(tmp_path / "x.pt", {"a": torch.zeros(100_000)})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KitError, match=r"file/x\.pt: can't be written"):
        checkpoint.save(tmp_path / "file/x.pt", {})


def test_a_network_comes_back_in_evaluation_mode(tmp_path: Path) -> None:
    model = tiny_checkpoint.tiny()
    path = tiny_checkpoint.save(tmp_path / "x.pt", model, history=[{"command": "train"}])
    back, meta = checkpoint.load_model(path)
    x = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(back(x), model(x))
    assert not back.training and back.architecture == model.architecture
    assert meta["history"] == [{"command": "train"}] and "model" not in meta


def test_another_architecture_is_refused_with_its_tensor(tmp_path: Path) -> None:
    wide = tiny_checkpoint.tiny(head_channels=32)
    narrow = tiny_checkpoint.tiny(head_channels=16).architecture.as_dict()
    path = tiny_checkpoint.save(tmp_path / "wide.pt", wide, architecture=narrow)
    with pytest.raises(KitError, match=r"wide\.pt: is of another architecture: .*head"):
        checkpoint.load_model(path)
    path = tiny_checkpoint.save(tmp_path / "short.pt", wide)
    content = checkpoint.read(path)
    del content["model"]["classifier.bias"]
    checkpoint.save(path, content)
    with pytest.raises(KitError, match=r"short\.pt: is of another architecture: .*classifier\.bias"):
        checkpoint.load_model(path)


def test_the_state_of_a_run_is_no_network(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "last.pt", {"network": {}, "input": {}})
    with pytest.raises(KitError, match=r"last\.pt: .*architecture, model, classes missing"):
        checkpoint.load_model(tmp_path / "last.pt")


def test_other_classes_are_refused() -> None:
    meta = {"classes": [{"name": "a"}, {"name": "b"}]}
    checkpoint.check_classes(Path("x.pt"), meta, ["a", "b"])
    for wanted in (["b", "a"], ["a"]):
        with pytest.raises(KitError, match=r"x\.pt: knows the classes \['a', 'b'\]"):
            checkpoint.check_classes(Path("x.pt"), meta, wanted)


def test_a_backbone_moves_into_a_network_with_another_head(tmp_path: Path) -> None:
    deep = tiny_checkpoint.tiny(stages=5, bin_channels=16)
    path = tiny_checkpoint.save(tmp_path / "deep.pt", deep, history=[{"command": "train"}])
    model = tiny_checkpoint.tiny()
    head = {name: tensor.clone() for name, tensor in model.state_dict().items() if not name.startswith("backbone.")}
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter.fill_(7)
    assert checkpoint.load_backbone(model, path)["history"] == [{"command": "train"}]
    theirs = deep.backbone.state_dict()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in model.backbone.state_dict().items())
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in head.items())


def test_a_backbone_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    shallow = tiny_checkpoint.save(tmp_path / "shallow.pt", tiny_checkpoint.tiny())
    with pytest.raises(KitError, match=r"shallow\.pt: its backbone has no blocks\.8\..*fewer stages"):
        checkpoint.load_backbone(tiny_checkpoint.tiny(stages=5), shallow)
    with pytest.raises(
        KitError, match=r"shallow\.pt: its backbone is efficientnet-lite0, the recipe's is efficientnet-lite1"
    ):
        checkpoint.load_backbone(tiny_checkpoint.tiny(backbone="efficientnet-lite1"), shallow)
    content = checkpoint.read(shallow)
    block = "backbone.blocks.1."
    narrow = {"expand.conv.weight": 0, "depthwise.conv.weight": 0, "project.conv.weight": 1}
    narrow |= {f"{layer}.bn.{name}": 0 for layer in ("expand", "depthwise") for name in NORM}
    for name, dim in narrow.items():
        content["model"][block + name] = content["model"][block + name].narrow(dim, 0, 8).clone()
    checkpoint.save(tmp_path / "pruned.pt", content)
    pruned = tmp_path / "pruned.pt"
    with pytest.raises(KitError, match=r"pruned\.pt: blocks\.1\.expand\.conv\.weight of its backbone is \(8, "):
        checkpoint.load_backbone(tiny_checkpoint.tiny(), pruned)


def changed(path: Path, **entries: Any) -> Path:
    """A checkpoint of the smallest network in which these entries are others."""
    save(path, tiny(3))
    checkpoint.save(path, {**checkpoint.read(path), **entries})
    return path


SHAPE = tiny(3).architecture.as_dict()
CLASSES = [{"name": name, "color": "#000000", "group": ""} for name in "abc"]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"architecture": []}, "architecture is [], expected a table"),
        ({"architecture": {}}, "architecture: classes is missing"),
        ({"architecture": {**SHAPE, "classes": "x"}}, "architecture: classes is 'x'"),
        ({"architecture": {**SHAPE, "bins": "abc"}}, "architecture: bins is 'abc'"),
        ({"architecture": {**SHAPE, "bins": [10**9]}}, "bins (1000000000,): expected"),
        ({"architecture": {**SHAPE, "bins": [1] * 1000}}, "bins (1, 1, 1"),
        ({"architecture": {**SHAPE, "head_channels": 10**9}}, "head_channels 1000000000: expected 1 to 2048"),
        ({"architecture": {**SHAPE, "backbone": ["resnet50"]}}, "architecture: backbone is ['resnet50']"),
        ({"classes": 5}, "classes is 5, expected a list"),
        ({"classes": CLASSES[:2]}, "names 2 classes, the network has 3"),
        ({"classes": [{}, {}, {}]}, "classes[0].name is None, expected a text"),
        ({"input": {}}, "input None x None: expected"),
        ({"input": {"height": "a", "width": []}}, "input 'a' x []: expected"),
        ({"input": {"height": 0, "width": 0}}, "input height 0: stride 16"),
        ({"input": {"height": -96, "width": 96}}, "input height -96: stride 16"),
        ({"input": {"height": 97, "width": 96}}, "input height 97: stride 16"),
        (
            {"input": {"height": 96, "width": 96 * 10**7}},
            "input 96 x 960000000: expected height and width of at most 8192",
        ),
        ({"model": []}, "model is [], expected a table"),
        ({"model": {"x": 5}}, "model.'x' is 5, expected a tensor"),
        ({"history": 5}, "history is 5, expected a list"),
        ({"history": [5]}, "history[0] is 5, expected a table"),
        ({"history": [{"command": "codebook", "layers": [{}]}]}, "history[0].layers[0].name is None"),
        ({"metrics": {"miou": "high"}}, "metrics.miou is 'high', expected a number"),
        ({"ranges": {"x": [0.0, float("nan")]}}, "ranges.x is [0.0, nan], expected a least and a greatest"),
        ({"data": {"name": 5}}, "data.name is 5, expected a text"),
        ({"data": {"sources": [5]}}, "data.sources is 5, expected a table"),
    ],
)
def test_what_a_checkpoint_says_is_held_to_its_form(tmp_path: Path, entries: dict[str, Any], message: str) -> None:
    path = changed(tmp_path / "x.pt", **entries)
    with pytest.raises(KitError, match=rf"^{re.escape(f'{path}: {message}')}.*$"):
        checkpoint.load_model(path)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_weights_that_are_not_finite_are_refused_by_the_tensor_s_name(tmp_path: Path, value: float) -> None:
    model = tiny(3)
    with torch.no_grad():
        model.head.conv.weight[1, 2] = value
    with pytest.raises(KitError, match=r"x\.pt: head\.conv\.weight has weights that are infinite or no numbers"):
        checkpoint.load_model(save(tmp_path / "x.pt", model))
