"""Augmentation: what must not change, what must, and labels that stay with their pixels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from pspnet_kit.data.augment import Augmentation, colour, geometry, paste_rare, resize_input, to_input
from pspnet_kit.data.labels import VOID
from pspnet_kit.errors import KitError

NOTHING = Augmentation(scale=(1.0, 1.0), aspect=0.0, flip=0.0, colour=0.0, low_light=0.0, blur=0.0, paste=0.0)
GREYS = np.array([0, 80, 160, 240], np.uint8)


def quarters(rows: int = 64, columns: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """A picture whose grey tells the class: four quarters of four classes."""
    label = np.zeros((rows, columns), np.uint8)
    label[rows // 2 :] = 2
    label[:, columns // 2 :] += 1
    return GREYS[label][..., None].repeat(3, -1), label


def cut(how: Augmentation, seed: int, crop: tuple[int, int] = (48, 48)) -> tuple[Tensor, Tensor]:
    return geometry(*quarters(), (64, 96), crop, how, np.random.default_rng(seed))


def test_pixels_become_what_the_network_takes() -> None:
    x = to_input(np.array([[[0, 127, 255]]], np.uint8))
    assert x.flatten().tolist() == [-127 / 128, 0, 1] and x.shape == (3, 1, 1)


def test_resizing_has_half_pixel_centres() -> None:
    row = np.array([[[127] * 3, [255] * 3]], np.uint8)
    assert resize_input(row, 1, 4)[0].tolist() == [[0, 0.25, 0.75, 1]]
    assert torch.equal(resize_input(row, 1, 2), to_input(row))


def test_resizing_averages_where_the_daemon_does() -> None:
    stripes = np.zeros((8, 32, 3), np.uint8)
    stripes[:, 1::4] = 254
    # To a quarter every output is the mean of one bright and three dark columns; interpolation would give 127.
    assert (resize_input(stripes, 2, 8) * 128 + 127).round().unique().tolist() == [64]


@pytest.mark.parametrize(("shrink", "seen"), [(4, 1), (1.9, 2)])
def test_training_sees_no_picture_that_the_daemon_can_not_make(shrink: float, seen: int) -> None:
    stripes = np.zeros((96, 96, 3), np.uint8)
    stripes[:, ::2] = 254
    how = dataclasses.replace(NOTHING, scale=(1 / shrink, 1 / shrink))
    contrasts = []
    for seed in range(24):
        x, _ = geometry(stripes, np.zeros((96, 96), np.uint8), (96, 96), (24, 24), how, np.random.default_rng(seed))
        contrasts.append(round(float(x[0, 4:-4, 4:-4].std()), 1))
    # Averaged stripes are all but grey, interpolated ones are not.
    assert len(set(contrasts)) == seen and min(contrasts) < 0.2


def test_a_full_crop_without_change_is_the_picture() -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    label = random.integers(0, 5, (64, 96), dtype=np.uint8)
    x, y = geometry(image, label, (64, 96), (64, 96), NOTHING, random)
    torch.testing.assert_close(x, to_input(image))
    assert torch.equal(y, torch.from_numpy(label).long())


def test_a_smaller_crop_is_a_window_of_the_picture() -> None:
    image = np.arange(64 * 96, dtype=np.int64).reshape(64, 96, 1).repeat(3, -1) % 251
    label = (np.arange(64 * 96).reshape(64, 96) % 250).astype(np.uint8)
    corners = set()
    for seed in range(8):
        x, y = geometry(image.astype(np.uint8), label, (64, 96), (16, 24), NOTHING, np.random.default_rng(seed))
        windows = np.lib.stride_tricks.sliding_window_view(label, (16, 24))
        places = np.argwhere((windows == y.numpy()).all((2, 3)))
        assert len(places)
        top, left = places[0]
        wanted = [to_input(image[r : r + 16, c : c + 24].astype(np.uint8)) for r, c in places]
        assert any(torch.allclose(x, w) for w in wanted)
        corners.add((int(top), int(left)))
    assert len(corners) > 3


def test_a_flip_takes_picture_and_label() -> None:
    x, y = cut(dataclasses.replace(NOTHING, flip=1.0), 0, (64, 96))
    image, label = quarters()
    torch.testing.assert_close(x, to_input(image[:, ::-1]))
    assert torch.equal(y, torch.from_numpy(label[:, ::-1].copy()).long())


def test_what_lies_outside_is_void_and_grey() -> None:
    # At half the size the picture fills a quarter of the crop.
    x, y = cut(dataclasses.replace(NOTHING, scale=(0.5, 0.5)), 3, (64, 96))
    outside = y == VOID
    assert int((~outside).sum()) == 32 * 48
    assert sorted(torch.unique(y).tolist()) == [0, 1, 2, 3, VOID]
    deep = -torch.nn.functional.max_pool2d(-outside[None].float(), 5, 1, 2)[0] > 0
    assert int(deep.sum()) > 1000 and float(x[:, deep].abs().max()) == 0


def test_scale_is_of_the_picture_against_the_input() -> None:
    # Twice as large: a crop of the input's size shows half of the height and of the width.
    image, _ = quarters(64, 96)
    ramp = np.arange(96, dtype=np.uint8)[None].repeat(64, 0)
    twice = dataclasses.replace(NOTHING, scale=(2.0, 2.0))
    _, y = geometry(image, ramp, (64, 96), (64, 96), twice, np.random.default_rng(1))
    assert len(torch.unique(y)) == 48
    # And a picture that is twice as large as the input is taken down to it.
    big = np.zeros((128, 192, 3), np.uint8)
    columns = np.arange(192, dtype=np.uint8)[None].repeat(128, 0)
    _, y = geometry(big, columns, (64, 96), (32, 48), NOTHING, np.random.default_rng(1))
    assert int(y.max() - y.min()) == pytest.approx(95, abs=1)


@pytest.mark.parametrize("seed", range(12))
def test_labels_stay_with_their_pixels(seed: int) -> None:
    how = dataclasses.replace(NOTHING, scale=(0.4, 2.5), aspect=0.3, flip=0.5)
    x, y = cut(how, seed)
    nearest = (x.mean(0)[..., None] * 128 + 127 - torch.from_numpy(GREYS).float()).abs().argmin(-1)
    # Away from borders, where the picture is a blend and the label is not.
    padded = torch.nn.functional.pad(y[None].float(), (3, 3, 3, 3), mode="replicate")
    same = torch.nn.functional.max_pool2d(padded, 7, 1) == -torch.nn.functional.max_pool2d(-padded, 7, 1)
    inner = same[0] & (y != VOID)
    assert int(inner.sum()) > 200
    assert torch.equal(nearest[inner], y[inner])


def test_the_border_lies_at_the_same_place_in_picture_and_label() -> None:
    # Halfway between black and white where the label changes, on average over many scales.
    image = np.zeros((64, 96, 3), np.uint8)
    label = np.zeros((64, 96), np.uint8)
    image[:, 48:], label[:, 48:] = 254, 1
    shifts = []
    for seed in range(40):
        how = dataclasses.replace(NOTHING, scale=(0.8, 2.0))
        x, y = geometry(image, label, (64, 96), (64, 96), how, np.random.default_rng(seed))
        inside = (y != VOID).all(0)
        white = ((x[0] * 128 + 127) / 254)[32, inside].sum()
        shifts.append(float(white - (y[32, inside] == 1).sum()))
    assert abs(np.mean(shifts)) < 0.12 and np.abs(shifts).max() <= 0.8


def test_pasting_copies_the_rare_classes_where_they_are() -> None:
    image, label = np.full((2, 2, 3), 10, np.uint8), np.array([[0, 0], [1, 255]], np.uint8)
    donor = (np.full((2, 2, 3), 99, np.uint8), np.array([[7, 0], [0, 7]], np.uint8))
    new, changed = paste_rare(image, label, donor, (7,))
    assert changed.tolist() == [[7, 0], [1, 7]] and new[..., 0].tolist() == [[99, 10], [10, 99]]
    assert label.tolist() == [[0, 0], [1, 255]] and int(image.max()) == 10
    assert new.dtype == np.uint8 and changed.dtype == np.uint8
    assert paste_rare(image, label, (donor[0], np.zeros((2, 2), np.uint8)), (7,))[0] is image


def test_a_donor_of_another_size_is_scaled_first() -> None:
    image, label = np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)
    donor = (np.full((2, 4, 3), 99, np.uint8), np.array([[7, 0, 0, 0], [0, 0, 0, 7]], np.uint8))
    new, changed = paste_rare(image, label, donor, (7,))
    assert changed.tolist() == [[7, 0, 0, 0], [7, 0, 0, 0], [0, 0, 0, 7], [0, 0, 0, 7]]
    assert (new[..., 0] == np.where(changed == 7, 99, 0)).all()


def test_colour_changes_the_picture_and_stays_in_range() -> None:
    x = to_input(quarters()[0])
    torch.testing.assert_close(colour(x, NOTHING, np.random.default_rng(0)), x)
    certain = (
        dataclasses.replace(NOTHING, colour=1.0),
        dataclasses.replace(NOTHING, low_light=1.0),
        dataclasses.replace(NOTHING, blur=1.0),
    )
    for how in certain:
        changed = colour(x, how, np.random.default_rng(0))
        assert changed.dtype == torch.float32 and changed.shape == x.shape
        assert not torch.allclose(changed, x, atol=0.02)
        assert float(changed.min()) >= -127 / 128 - 1e-5 and float(changed.max()) <= 1 + 1e-5


def test_low_light_is_darker_and_blur_is_a_mean() -> None:
    x = to_input(quarters()[0])
    for seed in range(5):
        dark = colour(x, dataclasses.replace(NOTHING, low_light=1.0), np.random.default_rng(seed))
        assert float(dark.mean()) < float(x.mean())
    blurred = colour(x, dataclasses.replace(NOTHING, blur=1.0), np.random.default_rng(0))
    # One column of three is class 1 beside the border.
    assert float(blurred[0, 8, 47]) == pytest.approx(((0 + 0 + 80) / 3 - 127) / 128, abs=1e-5)
    assert float(blurred[0, 0, 0]) == pytest.approx(-127 / 128, abs=1e-5)


def test_the_same_generator_gives_the_same_sample() -> None:
    how = Augmentation()
    one, other, third = (cut(how, seed) for seed in (5, 5, 6))
    assert torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])
    assert not torch.equal(one[0], third[0])


@pytest.mark.parametrize("wrong", [{"scale": (0.0, 1.0)}, {"scale": (1.0,)}, {"aspect": -0.1}, {"blur": 1.1}])
def test_impossible_augmentation_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(KitError, match=f"augment.{next(iter(wrong))}"):
        Augmentation(**wrong)  # type: ignore[arg-type]
