"""Training with quantisation: the file's numbers forwards, gradients by hand, ranges that are learned and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from quant_networks import PLAIN, SKIP, inputs, pictures, settled
from torch import Tensor, nn

from pspnet_kit.errors import KitError
from pspnet_kit.export.runner import TfliteRunner
from pspnet_kit.export.tflite import export_tflite
from pspnet_kit.model import Architecture
from pspnet_kit.quant.qat import QatNetwork, Rounded, convert, prepare_qat, to_steps
from pspnet_kit.quant.ranges import Affine


@pytest.mark.parametrize("architecture", [PLAIN, SKIP], ids=["plain", "skip"])
def test_the_forward_pass_gives_the_file_s_logits(architecture: Architecture, tmp_path: Path) -> None:
    module = prepare_qat(settled(architecture), inputs(2)).eval()
    export_tflite(convert(module), tmp_path / "model.tflite", "test")
    runner = TfliteRunner(tmp_path / "model.tflite")
    with torch.no_grad():
        logits = module(inputs(4)[2:]).permute(0, 2, 3, 1).numpy()
    steps = np.abs(runner(np.stack(pictures(4)[2:])) - logits) / runner.output["quantization"][0]
    assert len(np.unique(logits)) > 20
    assert steps.max() < 1.01
    assert (steps > 0.01).mean() <= 0.001


def test_inputs_are_rounded_to_pixels() -> None:
    module = prepare_qat(settled(PLAIN), inputs(2)).eval()
    x = inputs(1)
    with torch.no_grad():
        assert torch.equal(module(x), module(x + 0.4 / 128))


def rounded(values: list[float], zero_point: int = 0, limits: tuple[int, int] = (-128, 127)) -> tuple[Tensor, ...]:
    units = torch.tensor(values, requires_grad=True)
    low, high = torch.tensor(-64.0, requires_grad=True), torch.tensor(63.5, requires_grad=True)
    return units, low, high, Rounded.apply(units, None, low, high, Affine(0.5, zero_point), limits)


def test_rounding_lets_gradients_through_inside_the_range() -> None:
    units, _, _, y = rounded([0.3, 200.0, -200.0, 100.6])
    assert y.tolist() == [0.0, 63.5, -64.0, 50.5]
    y.sum().backward()
    assert units.grad.tolist() == [0.5, 0.0, 0.0, 0.5]


def test_ends_of_the_range_learn_from_what_they_cut_and_from_rounding() -> None:
    _, low, high, y = rounded([0.3, 200.0, 300.0, -200.0])
    (y * torch.tensor([1.0, 2.0, 3.0, 5.0])).sum().backward()
    size = (4 * 127) ** -0.5
    rounding = (0 - 0.3) / 255
    assert float(high.grad) == pytest.approx((2 + 3 + rounding) * size, rel=1e-5)
    assert float(low.grad) == pytest.approx((5 - rounding) * size, rel=1e-5)


def test_an_activation_s_limit_teaches_the_range_nothing() -> None:
    _, low, high, y = rounded([50.0, -7.0], limits=(0, 12))
    assert y.tolist() == [6.0, 0.0]
    y.sum().backward()
    assert float(high.grad) == 0.0 and float(low.grad) == 0.0


def test_steps_have_the_gradient_of_the_division() -> None:
    x = torch.tensor([0.6, -1.2], requires_grad=True)
    steps = to_steps(x, 0.5)
    assert steps.tolist() == [1.0, -2.0]
    steps.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0]


def test_gradients_follow_the_float_network_s() -> None:
    model = settled(PLAIN)
    x = inputs(2)
    module = prepare_qat(model, x).train()
    weight = model.classifier.weight
    for forward in (module, model.eval()):
        forward(x).square().sum().backward()
        gradient, weight.grad = weight.grad.flatten(), None
        if forward is module:
            quantised = gradient
    assert F.cosine_similarity(quantised, gradient, 0) > 0.9


def test_training_lowers_the_loss_and_moves_the_ranges() -> None:
    torch.manual_seed(0)
    module = prepare_qat(settled(PLAIN), inputs(2)).train()
    before, statistics = module.ranges(), module.model.backbone.stem.bn.running_mean.clone()
    labels = torch.randint(0, 4, (2, 6, 8))
    trained = [p for p in module.parameters() if p.requires_grad]
    optimiser = torch.optim.Adam(trained, lr=3e-3)
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(module(inputs(2)), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert any(module.ranges()[name] != ends for name, ends in before.items())
    assert torch.equal(module.model.backbone.stem.bn.running_mean, statistics)
    assert all(parameter.grad is not None for parameter in trained)


def test_ranges_stay_within_what_the_activations_allow() -> None:
    module = prepare_qat(settled(PLAIN), inputs(2))
    with torch.no_grad():
        module.low.fill_(-9.0)
        module.high.fill_(9.0)
    ranges = module.ranges()
    assert ranges["backbone.stem.conv"] == (0.0, 6.0)
    assert ranges["backbone.blocks.0.project.conv"] == (-9.0, 9.0)


def test_the_auxiliary_classifier_rests() -> None:
    model = settled(PLAIN)
    prepare_qat(model, inputs(2))
    asking = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert asking == {"backbone", "pyramid", "head", "classifier"}


def test_ranges_can_be_kept_and_put_back() -> None:
    module = prepare_qat(settled(PLAIN), inputs(3))
    again = prepare_qat(settled(PLAIN), torch.zeros(1, 3, 48, 64), module.ranges())
    x = inputs(1)
    with torch.no_grad():
        assert torch.equal(module(x), again(x))


def test_ranges_of_another_network_are_refused() -> None:
    with pytest.raises(KitError, match="of another network"):
        prepare_qat(settled(PLAIN), inputs(1), {"stem": (0.0, 1.0)})


def test_moving_ranges_follow_the_largest_values() -> None:
    conv = nn.Conv2d(3, 1, 1, bias=False)
    nn.init.constant_(conv.weight, 1.0)
    module = prepare_qat(nn.Sequential(conv), torch.zeros(1, 3, 2, 2), {"0": (-1.0, 2.0)}, mode="ema")
    x = torch.zeros(1, 3, 2, 2)
    x[:, :, 0, 0] = 64 / 128
    module.eval()(x)
    assert module.ranges() == {"0": (-1.0, 2.0)}
    module.train()(x)
    # Smallest 0, largest 1.5: one hundredth of the way.
    low, high = module.ranges()["0"]
    assert (low, high) == pytest.approx((-0.99, 1.995))


def test_another_input_size_uses_the_same_ranges(tmp_path: Path) -> None:
    module = prepare_qat(settled(PLAIN), inputs(2)).eval()
    big = (64, 96)
    with torch.no_grad():
        logits = module(inputs(1, big)).permute(0, 2, 3, 1).numpy()
    assert logits.shape == (1, 8, 12, 4)
    export_tflite(convert(module, *big), tmp_path / "model.tflite", "test")
    runner = TfliteRunner(tmp_path / "model.tflite")
    np.testing.assert_allclose(runner(np.stack(pictures(1, big))), logits, atol=1.01 * runner.output["quantization"][0])


def test_the_state_dict_resumes_a_run() -> None:
    module, other = prepare_qat(settled(PLAIN), inputs(2)), prepare_qat(settled(PLAIN), inputs(1))
    assert isinstance(other, QatNetwork)
    with torch.no_grad():
        module.high.mul_(0.7)
    other.load_state_dict(module.state_dict())
    assert other.ranges() == module.ranges()
