"""Soft targets of groups of classes: read, cut as the picture is cut, followed by a student, and free where unused."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from pspnet_kit import checkpoint, recipe
from pspnet_kit.__main__ import main
from pspnet_kit.data import ClassInfo, open_dataset
from pspnet_kit.data.augment import SOFT_STRIDE, Augmentation, Window, paste_soft
from pspnet_kit.data.dataset import group_names
from pspnet_kit.data.samples import Batches
from pspnet_kit.errors import KitError
from pspnet_kit.training.device import Ranks
from pspnet_kit.training.loop import Trainer
from pspnet_kit.training.losses import group_targets

NOTHING = Augmentation(scale=(1.0, 1.0), aspect=0.0, flip=0.0, colour=0.0, low_light=0.0, blur=0.0, paste=0.0)
GROUPS = torch.tensor([0, 0, 1])
EVEN = torch.ones(2)
CLASSES = """
[[classes]]
name = "wall"
group = "structure"
[[classes]]
name = "floor"
group = "paved"
[[classes]]
name = "door"
group = "structure"
"""


def cells(*values: list[float]) -> Tensor:
    """`[1, n, 1, cells]`, a list for each class or group."""
    return torch.tensor(values)[None, :, None, :]


def loss(student: Tensor, targets: Tensor, weights: Tensor = EVEN, confidence: float = 0.0) -> float:
    return float(group_targets(student, targets, GROUPS, weights, confidence))


def test_the_student_s_classes_are_summed_by_group() -> None:
    # Odds 1:2:1: the first group has 3/4, whatever its two classes share.
    student = cells([0.0], [log(2.0)], [0.0])
    assert loss(student, cells([0.75], [0.25])) == pytest.approx(0, abs=1e-6)
    assert loss(student, cells([0.5], [0.5])) == pytest.approx(0.5 * log(0.5 / 0.75) + 0.5 * log(0.5 / 0.25))
    assert loss(student, cells([0.0], [1.0])) == pytest.approx(log(4))


def test_which_class_of_a_group_is_left_open() -> None:
    student = cells([1.0], [-1.0], [0.5]).requires_grad_()
    group_targets(student, cells([1.0], [0.0]), GROUPS, EVEN, 0.0).backward()
    assert student.grad is not None
    gradient = student.grad.flatten()
    # Both classes of the group are pulled up by their own share of it, so their ratio of odds stays.
    share = torch.tensor([1.0, -1.0]).softmax(0)
    torch.testing.assert_close(gradient[:2] / gradient[:2].sum(), share)
    assert gradient[2] > 0 > gradient[0]


def test_cells_without_targets_and_unsure_ones_count_less() -> None:
    student = cells([0.0] * 2, [0.0] * 2, [log(2.0)] * 2)
    sure = -log(0.5)
    assert loss(student, cells([1.0, 0.0], [0.0, 0.0])) == pytest.approx(sure)
    # The second cell, 0.6 to 0.4, counts by 0.6 squared.
    unsure = 0.6 * log(0.6 / 0.5) + 0.4 * log(0.4 / 0.5)
    targets = cells([1.0, 0.6], [0.0, 0.4])
    assert loss(student, targets, confidence=2.0) == pytest.approx((sure + 0.36 * unsure) / 1.36)
    assert loss(student, torch.zeros(1, 2, 1, 2)) == 0


def test_groups_weigh_as_they_are_told() -> None:
    student = cells([0.0] * 2, [0.0] * 2, [0.0] * 2)
    targets = cells([1.0, 0.0], [0.0, 1.0])
    # Two of three classes make the first group: log 3/2 there, log 3 for the other, which counts three times.
    assert loss(student, targets, torch.tensor([1.0, 3.0])) == pytest.approx((log(1.5) + 3 * log(3)) / 4)


def test_targets_cut_off_by_eight_bits_are_made_whole() -> None:
    student = cells([0.0], [0.0], [0.0])
    assert loss(student, cells([0.98], [0.0])) == pytest.approx(loss(student, cells([1.0], [0.0])))


def test_logits_of_another_grid_are_scaled_to_the_targets() -> None:
    student = cells([0.0, 4.0], [0.0, 4.0], [0.0, 0.0])
    # Two cells 0 and 4 become 0, 1, 3, 4.
    wanted = sum(log(1 + 0.5 * np.exp(-value)) for value in (0, 1, 3, 4)) / 4
    assert loss(student, cells([1.0] * 4, [0.0] * 4)) == pytest.approx(wanted, rel=1e-5)


def quarters() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A picture of four quarters, its labels, and soft targets at stride 4 that agree with them."""
    label = np.zeros((64, 96), np.uint8)
    label[32:] = 2
    label[:, 48:] += 1
    soft = np.stack([(label[2::4, 2::4] == index) * np.uint8(255) for index in range(4)])
    return label[..., None].repeat(3, -1) * np.uint8(60), label, soft


@pytest.mark.parametrize("seed", range(12))
def test_soft_targets_are_cut_and_turned_as_the_labels_are(seed: int) -> None:
    image, label, soft = quarters()
    how = Augmentation(scale=(0.6, 2.0), aspect=0.2, flip=0.5)
    window = Window.draw((64, 96), (64, 96), (64, 64), how, np.random.default_rng(seed))
    _, y = window.cut(image, label)
    targets = window.cut_soft(soft)
    assert targets.shape == (4, 64 // SOFT_STRIDE, 64 // SOFT_STRIDE)
    inside = 0
    for row in range(8):
        for column in range(8):
            block = y[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8].unique()
            if len(block) == 1 and block[0] != 255:
                inside += 1
                assert targets[block[0], row, column] > 0.8
            if len(block) == 1 and block[0] == 255:
                assert not targets[:, row, column].any()
    assert inside > 8


def test_the_whole_picture_keeps_its_targets() -> None:
    _, _, soft = quarters()
    window = Window.draw((64, 96), (64, 96), (64, 96), NOTHING, np.random.default_rng(0))
    targets = window.cut_soft(soft)
    assert torch.equal(targets, torch.from_numpy(soft[:, ::2, ::2]).float() / 255)
    assert torch.equal(targets.sum(0), torch.ones(8, 12))


def test_what_is_pasted_brings_its_targets() -> None:
    _, label, soft = quarters()
    plain = np.zeros_like(soft)
    pasted = paste_soft(plain, (soft, label), (1,))
    assert np.array_equal(pasted[1], soft[1]) and not pasted[[0, 2, 3]].any()
    # Those of another grid are taken from the nearest cell.
    half = paste_soft(plain[:, ::2, ::2], (soft, label), (1,))
    assert np.array_equal(half[1], soft[1, ::2, ::2]) and not half[[0, 2, 3]].any()


def test_batches_have_targets_only_where_there_are_some() -> None:
    image, label, soft = quarters()
    data = [(image, label)] * 2
    assert [part.shape for part in next(Batches(data, (64, 96), 2, NOTHING).epoch(0, (64, 96)))][2:] == []
    images, labels, targets = next(Batches(data, (64, 96), 2, NOTHING, soft=[soft] * 2).epoch(0, (64, 96)))
    assert images.shape[0] == labels.shape[0] == 2 and targets.shape == (2, 4, 8, 12)


def test_soft_targets_do_not_change_the_pictures_that_are_drawn() -> None:
    image, label, soft = quarters()
    how = Augmentation(paste_classes=(1,))
    plain = Batches([(image, label)] * 2, (64, 96), 2, how)
    with_soft = Batches([(image, label)] * 2, (64, 96), 2, how, soft=[soft] * 2)
    for one, other in zip(plain.sample(3, 1, (64, 96)), with_soft.sample(3, 1, (64, 96)), strict=False):
        assert torch.equal(one, other)


def test_groups_stand_in_the_order_of_their_first_class() -> None:
    infos = [
        ClassInfo("wall", "#000000", "structure"),
        ClassInfo("floor", "#000000"),
        ClassInfo("x", "#000000", "structure"),
    ]
    assert group_names(infos) == ["structure", "floor"]


def dataset(root: Path, pictures: int = 4, soft: bool = True, name: str = "soft") -> Path:
    """Pictures whose left half is wall and whose right half is floor, with targets that agree."""
    for folder in ("images", "labels", "soft"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "dataset.toml").write_text(
        'name = "halves"\nlabels = "index"\n[splits.train]\nimages = "images"\nlabels = "labels"\n'
        + (f'soft = "{name}"\n' if soft else "")
        + CLASSES
    )
    label = np.zeros((96, 96), np.uint8)
    label[:, 48:] = 1
    for index in range(pictures):
        Image.fromarray(np.where(label[..., None], 200, 30 + index).repeat(3, -1).astype(np.uint8)).save(
            root / f"images/{index}.png"
        )
        Image.fromarray(label).save(root / f"labels/{index}.png")
        targets = np.concatenate([label[::4, ::4] == group for group in (0, 1)]) * np.uint8(255)
        Image.fromarray(targets).save(root / f"soft/{index}.png")
    return root


def test_a_data_set_gives_its_soft_targets(tmp_path: Path) -> None:
    data = open_dataset(dataset(tmp_path), "toml")
    soft = data.read_soft(data.pairs("train")[0])
    assert soft.shape == (2, 24, 24) and soft.dtype == np.uint8
    assert (soft[0, :, :12] == 255).all() and (soft[1, :, :12] == 0).all()


def test_a_picture_without_soft_targets_is_named(tmp_path: Path) -> None:
    dataset(tmp_path)
    (tmp_path / "soft/2.png").unlink()
    with pytest.raises(KitError, match=r"images/2\.png: has no soft targets in .*soft"):
        open_dataset(tmp_path, "toml").pairs("train")


def test_soft_targets_of_other_groups_are_refused(tmp_path: Path) -> None:
    data = open_dataset(dataset(tmp_path), "toml")
    Image.fromarray(np.zeros((47, 24), np.uint8)).save(tmp_path / "soft/0.png")
    with pytest.raises(KitError, match=r"soft/0\.png: has 47 rows, expected a multiple of the 2 groups"):
        data.read_soft(data.pairs("train")[0])


CELLS = np.concatenate([np.full((24, 24), 100, np.uint8), np.full((24, 24), 155, np.uint8)])
NO_SOFT_TARGETS = {
    "other groups": (np.full((72, 24), 85, np.uint8), "has 24x36 cells for each of 2 groups, which is no coarser grid"),
    "another shape": (np.full((2, 96), 128, np.uint8), "has 96x1 cells for each of 2 groups, which is no coarser grid"),
    "larger": (np.full((200, 100), 128, np.uint8), "has 100x100 cells for each of 2 groups"),
    "no shares": (np.full((48, 24), 255, np.uint8), "sum to 510 to 510, expected 255"),
    "half": (CELLS // 2, "sum to 127 to 127, expected 255"),
    "colours": (np.zeros((48, 24, 3), np.uint8), "is a picture of mode RGB"),
}


@pytest.mark.parametrize("kind", NO_SOFT_TARGETS)
def test_soft_targets_that_are_none_of_the_picture_are_refused(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    data = open_dataset(dataset(tmp_path), "toml")
    pixels, message = NO_SOFT_TARGETS[kind]
    Image.fromarray(pixels).save(tmp_path / "soft/0.png")
    with pytest.raises(KitError, match=rf"soft/0\.png: .*{message}"):
        data.read_soft(data.pairs("train")[0])
    assert main(["labels", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert "error: " in said.out and message in said.out and "1 error" in said.err


@pytest.mark.parametrize("size", [(96, 96), (24, 24), (25, 24), (13, 13), (1, 1)])
def test_soft_targets_may_be_as_fine_as_the_picture(tmp_path: Path, size: tuple[int, int]) -> None:
    data = open_dataset(dataset(tmp_path), "toml")
    groups = np.stack([np.full(size, 100, np.uint8), np.full(size, 155, np.uint8)])
    groups[:, :1] = 0
    Image.fromarray(groups.reshape(-1, size[1])).save(tmp_path / "soft/0.png")
    assert np.array_equal(data.read_soft(data.pairs("train")[0]), groups)
    assert main(["labels", str(tmp_path)]) == 0


def test_soft_targets_are_those_of_the_picture_as_stored(tmp_path: Path) -> None:
    data = open_dataset(dataset(tmp_path), "toml")
    pair = data.pairs("train")[0]
    turn = Image.Exif()
    turn[0x0112] = 6
    Image.new("RGB", (96, 64)).save(pair.image, exif=turn)
    groups = np.stack([np.full((16, 24), 100, np.uint8), np.full((16, 24), 155, np.uint8)])
    Image.fromarray(groups.reshape(-1, 24)).save(tmp_path / "soft/0.png")
    assert np.array_equal(data.read_soft(pair), groups)


def plan(root: Path, **distil: float) -> recipe.Recipe:
    (root / "recipe.toml").write_text(
        'weights = "none"\n[model]\nstride = 16\nstages = 4\nbin_channels = 8\nhead_channels = 16\n'
        "[train]\nsize = [96, 96]\nbatch = 2\nphases = [{ epochs = 1, crop = [96, 96] }]\n"
        "[distil]\n" + "".join(f"{key} = {value}\n" for key, value in distil.items())
    )
    return recipe.read(root / "recipe.toml", [f'data.root="{root}"'])


def trainer(root: Path, **distil: float) -> Trainer:
    return Trainer(plan(root, **distil), root / "run", Ranks(torch.device("cpu")), False, fast=False)


def test_training_follows_soft_targets_without_any_label(tmp_path: Path) -> None:
    run = trainer(dataset(tmp_path), soft_weight=1.0, label_weight=0.0)
    run.run()
    assert run.groups[0].tolist() == [0, 1, 0]
    # Where the manifest has them from.
    stored = checkpoint.read(tmp_path / "run/final.pt")["classes"]
    assert [entry["group"] for entry in stored] == ["structure", "paved", "structure"]


def test_soft_targets_weigh_by_their_share(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    for index in range(4):
        values = np.zeros((48, 24), np.uint8)
        values[:18], values[18 + 24 :] = 255, 255
        Image.fromarray(values).save(root / f"soft/{index}.png")
    weights = trainer(root, soft_weight=1.0).groups[1]
    # Shares 3/4 and 1/4, to the power -0.5.
    assert float(weights[1] / weights[0]) == pytest.approx(3**0.5, rel=1e-3)


@pytest.mark.parametrize("power", [0.25, 2.0])
def test_a_group_that_no_soft_target_has_takes_no_weight_from_the_others(tmp_path: Path, power: float) -> None:
    root = dataset(tmp_path)
    for index in range(4):
        Image.fromarray(np.repeat([[255], [0]], 24, 0).repeat(24, 1).astype(np.uint8)).save(root / f"soft/{index}.png")
    plan(root, soft_weight=1.0)
    wanted = recipe.read(root / "recipe.toml", [f'data.root="{root}"', f"train.class_power={power}"])
    run = Trainer(wanted, root / "run", Ranks(torch.device("cpu")), False, fast=False)
    assert run.groups[1].tolist() == [1.0, 1.0]


def test_soft_targets_without_any_group_leave_the_weights_even(tmp_path: Path) -> None:
    root = dataset(tmp_path)
    for index in range(4):
        Image.fromarray(np.zeros((48, 24), np.uint8)).save(root / f"soft/{index}.png")
    run = trainer(root, soft_weight=1.0)
    assert run.groups[1].tolist() == [1.0, 1.0]
    run.run()


def test_who_does_not_use_soft_targets_does_not_read_them(tmp_path: Path) -> None:
    dataset(tmp_path)
    for file in (tmp_path / "soft").iterdir():
        file.write_bytes(b"no picture")
    run = trainer(tmp_path)
    assert run.batches.soft is None
    with pytest.raises(KitError, match=r"soft/0\.png: this is no picture"):
        trainer(tmp_path, soft_weight=1.0)


def test_a_recipe_that_wants_soft_targets_says_where_they_come_from(tmp_path: Path) -> None:
    dataset(tmp_path, soft=False)
    with pytest.raises(KitError, match=r"has no soft targets; expected .* `soft` \(kit label\)"):
        trainer(tmp_path, soft_weight=1.0)


@pytest.mark.parametrize("key", ["soft_weight", "soft_confidence", "label_weight"])
def test_weights_are_not_negative(tmp_path: Path, key: str) -> None:
    with pytest.raises(KitError, match=rf"distil\.{key} -1\.0: expected at least 0"):
        plan(tmp_path, **{key: -1.0})
