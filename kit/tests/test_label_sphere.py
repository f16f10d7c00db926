"""Votes on the sphere, with a teacher that tells what it was shown."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pspnet_kit.data import panorama
from pspnet_kit.labelling import sphere
from pspnet_kit.labelling.teacher import scaled


class Colours:
    """Class 0 is red, class 1 all else, by the share of red."""

    names: tuple[str, ...] = ("red", "other")

    def __init__(self) -> None:
        self.asked: list[float] = []

    def probabilities(self, image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float32]:
        self.asked.append(float(image[..., 2].mean()))
        red = scaled(image[..., :1].astype(np.float32) / 255, size)
        return np.concatenate([red, 1 - red], -1)


def ball(height: int = 128) -> NDArray[np.uint8]:
    """A panorama that is red in the half to the right of the middle."""
    colours = np.zeros((height, 2 * height, 3), np.uint8)
    colours[:, height:, 0] = 255
    return colours


def test_votes_say_of_every_direction_what_the_views_said() -> None:
    votes = sphere.vote([ball()], Colours())
    assert votes.shape == (sphere.SPHERE, 2 * sphere.SPHERE, 2)
    np.testing.assert_allclose(votes.sum(-1), 1, atol=1e-4)
    # Away from the two edges of the half, and from the poles, where both meet.
    rows, columns = slice(60, 196), sphere.SPHERE
    assert votes[rows, columns + 12 : -12, 0].min() > 0.95
    assert votes[rows, 12 : columns - 12, 0].max() < 0.05


def test_exposures_are_shown_in_turn() -> None:
    dark, bright = ball(), ball()
    bright[..., 2] = 255
    teacher = Colours()
    sphere.vote([dark, bright], teacher)
    shown = np.array(teacher.asked).reshape(len(sphere.PITCHES), -1) > 127
    assert shown.sum() == shown.size // 2
    assert (shown[:, 1:] != shown[:, :-1]).all() and (shown[1:] != shown[:-1]).all()


def test_nothing_is_left_without_a_vote() -> None:
    # Straight up no view looks; red there is said by what is below it.
    up = np.zeros((128, 256, 3), np.uint8)
    up[:64, :, 0] = 255
    votes = sphere.vote([up], Colours())
    assert votes[0, :, 0].min() > 0.95 and votes[-1, :, 0].max() < 0.05


def test_votes_count_less_at_the_edge_of_a_view() -> None:
    weight = sphere._weight((8, 12))
    assert weight.shape == (8, 12) and weight.max() <= 1 and weight.min() > 0
    assert (np.diff(weight[:4, 6]) > 0).all() and (np.diff(weight[4, 6:]) < 0).all()
    np.testing.assert_allclose(weight, weight[::-1, ::-1], rtol=1e-5)


def test_views_take_their_labels_from_the_sphere() -> None:
    votes = sphere.vote([ball()], Colours())
    views = list(sphere.cut([ball()], votes, 6, (64, 96), np.random.default_rng(0)))
    assert len(views) == 6
    for view in views:
        assert view.image.shape == (64, 96, 3) and view.probabilities.shape == (16, 24, 2)
        red = scaled(view.image[..., :1].astype(np.float32) / 255, (16, 24))[..., 0]
        assert (np.abs(view.probabilities[..., 0] - red) < 0.5).mean() > 0.95


def test_views_are_those_of_their_own_exposures_and_the_same_again() -> None:
    dark, bright = ball(), ball()
    bright[..., 2] = 255
    votes = np.full((sphere.SPHERE, 2 * sphere.SPHERE, 2), 0.5, np.float32)
    one, other = (
        [v.image for v in sphere.cut([dark, bright], votes, 12, (16, 24), np.random.default_rng(3))] for _ in "ab"
    )
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    assert {int(image[..., 2].mean()) for image in one} == {0, 255}


def test_samples_of_a_map_are_those_of_a_view() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    seen = panorama.view(colours, 20, 10, 70, 24, 16)
    sampled = panorama.sample(colours.astype(np.float32), 20, 10, 70, 24, 16)
    assert np.array_equal(seen, sampled.round().astype(np.uint8))
