"""Scales, zero points and the choice of ranges, against small cases done by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pspnet_kit.errors import KitError
from pspnet_kit.quant.observers import Observer, squared_error
from pspnet_kit.quant.ranges import PICTURE, RangeError, affine, quantise_weights


def test_a_range_around_zero() -> None:
    a = affine(-1.0, 3.0)
    assert a.scale == np.float32(4 / 255)
    assert a.zero_point == -64  # -128 + 1 / (4 / 255) = -64.25
    assert float(a.dequantise(a.quantise(torch.tensor(0.0)))) == 0.0


@pytest.mark.parametrize(("ends", "zero_point"), [((0.0, 6.0), -128), ((2.0, 6.0), -128), ((-3.0, -1.0), 127)])
def test_zero_is_always_in_the_range(ends: tuple[float, float], zero_point: int) -> None:
    assert affine(*ends).zero_point == zero_point


def test_what_is_always_zero_still_has_a_scale() -> None:
    assert affine(0.0, 0.0).scale > 0


@pytest.mark.parametrize("ends", [(float("nan"), 1.0), (0.0, float("nan")), (float("-inf"), 1.0), (0.0, float("inf"))])
def test_a_range_that_is_none_is_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(RangeError, match="expected finite numbers"):
        affine(*ends)


def test_rounding_and_clipping() -> None:
    a = affine(-1.28, 1.27)
    assert a.zero_point == 0
    q = a.quantise(torch.tensor([-9.0, -1.28, 0.004, 0.006, 9.0]))
    assert q.tolist() == [-128.0, -128.0, 0.0, 1.0, 127.0]


def test_a_pixel_is_its_tensor_value_less_128() -> None:
    pixels = torch.arange(256).float()
    assert torch.equal(PICTURE.quantise((pixels - 127) / 128), pixels - 128)


def test_weights_per_channel_and_biases_at_their_scale() -> None:
    weight = torch.tensor([[1.0, -2.0], [0.5, 0.1]])[:, :, None, None]
    q = quantise_weights(weight, torch.tensor([1.0, -0.5]), 0.5)
    assert q.scales.tolist() == [np.float32(2 / 127), np.float32(0.5 / 127)]
    assert q.weight[:, :, 0, 0].tolist() == [[64, -127], [127, 25]]  # 63.5 to the even one; 0.1 / (0.5 / 127) = 25.4
    assert q.bias.tolist() == [127, -254]  # 1 / (0.5 * 2 / 127), -0.5 / (0.5 * 0.5 / 127)


def test_a_dead_channel_keeps_its_bias() -> None:
    q = quantise_weights(torch.zeros(1, 2, 1, 1), torch.tensor([5.0]), 0.5)
    assert not q.weight.any()
    assert q.bias[0] * float(q.scales[0]) * 0.5 == pytest.approx(5.0, rel=1e-6)


def observed(*tensors: list[float]) -> Observer:
    """Has seen a picture of each of `tensors`."""
    observer = Observer()
    for values in tensors:
        observer.extremes(torch.tensor(values))
        observer.end_picture()
    for values in tensors:
        observer.histogram(torch.tensor(values))
    return observer


def test_extremes_over_all_pictures() -> None:
    assert observed([-1.0, 2.0], [0.5, 3.0]).choose("minmax") == (-1.0, 3.0)


def test_the_average_moves_a_tenth_of_the_way() -> None:
    low, high = observed([-1.0, 10.0], [-2.0, 20.0]).choose("average")
    assert (low, high) == pytest.approx((-1.1, 11.0))


def test_the_average_moves_once_for_all_tensors_of_a_picture() -> None:
    observer = Observer()
    for picture in ([[-1.0, 10.0], [0.0, 1.0]], [[0.0, 2.0], [-2.0, 0.0], [0.0, 20.0]]):
        for values in picture:
            observer.extremes(torch.tensor(values))
        observer.end_picture()
    assert observer.choose("average") == pytest.approx((-1.1, 11.0))


def test_a_percentile_leaves_out_the_rest() -> None:
    values = [i / 1000 for i in range(1000)] + [100.0]
    observer = observed(values)
    assert observer.choose("percentile", 99.0)[1] < 1.1
    assert observer.choose("percentile", 100.0)[1] == pytest.approx(100.0)


def test_least_error_cuts_a_lone_outlier_and_nothing_else() -> None:
    dense = torch.linspace(-1, 1, 2_000_000)
    observer = Observer()
    for see in (observer.extremes, observer.histogram):
        see(torch.cat([dense, torch.tensor([20.0])]))
    low, high = observer.choose("mse")
    # 2e6 / 12 * ((h + 1) / 255)^2 + (20 - h)^2 is least at h = 4.9.
    assert low == pytest.approx(-1, abs=0.05) and high == pytest.approx(4.9, abs=0.3)
    low, high = observed(dense[::100].tolist()).choose("mse")
    assert low == pytest.approx(-1, abs=0.02) and high == pytest.approx(1, abs=0.02)


def test_squared_error_by_hand() -> None:
    # Steps of 1/255 inside 0..1; 3 is 2 outside and counts twice.
    error = squared_error(np.array([0.5, 3.0]), np.array([10.0, 2.0]), 0.0, 1.0)
    assert error == pytest.approx(10 / 12 / 255**2 + 2 * 4.0)


def test_positive_tensors_start_at_zero() -> None:
    for method in ("minmax", "average", "percentile", "mse"):
        assert observed([2.0, 5.0, 3.0]).choose(method)[0] == 0.0


def test_infinities_are_refused() -> None:
    with pytest.raises(KitError, match="infinities or NaN"):
        Observer().extremes(torch.tensor([1.0, float("inf")]))
