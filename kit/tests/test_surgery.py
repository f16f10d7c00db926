"""State dicts of changed networks, and those that no change explains."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from pspnet_kit.compress.importance import magnitude
from pspnet_kit.compress.lowrank import Rule, factorise
from pspnet_kit.compress.prune import prune
from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, PSPNet, build
from pspnet_kit.model.surgery import fit_to, replace, split

SMALL = Architecture(4, stages=4, bins=(1, 2), bin_channels=16, head_channels=32)
SIZE = (32, 32)


@pytest.fixture(scope="module")
def changed() -> nn.Module:
    """Pruned, then factorised."""
    torch.manual_seed(1)
    model = build(SMALL).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    thin, _ = prune(model, SIZE, magnitude(1), 4_000_000)
    both, report = factorise(thin, SIZE, Rule(saving=0.3))
    kernels = {split.kernel for split in report.splits}
    assert (1, 1) in kernels and (3, 3) in kernels
    return both


def state_of(model: nn.Module) -> dict[str, Tensor]:
    return copy.deepcopy(model.state_dict())


def test_a_pruned_and_factorised_network_comes_back(changed: nn.Module) -> None:
    again = build(SMALL)
    fit_to(again, changed.state_dict())
    again.load_state_dict(changed.state_dict())
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        assert torch.equal(again.eval()(x), changed(x))
    again.train()
    changed_training = copy.deepcopy(changed).train()
    assert [t.shape for t in again(x)] == [t.shape for t in changed_training(x)]


def test_an_unchanged_network_stays() -> None:
    model = build(SMALL)
    parameters = dict(model.named_parameters())
    fit_to(model, build(SMALL).state_dict())
    assert {name: p.shape for name, p in model.named_parameters()} == {name: p.shape for name, p in parameters.items()}


def other(**changes: object) -> PSPNet:
    return build(Architecture(**{**SMALL.as_dict(), **changes}))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"backbone": "efficientnet-lite1"}, r"blocks\.3\.depthwise\.conv\.weight: is 144x1x3x3, .* has 144x1x5x5"),
        ({"backbone": "efficientnet-lite2"}, r"backbone\.blocks\.3\.depthwise\.conv\.weight: is 144x1x3x3"),
        ({"backbone": "resnet50"}, r"backbone\.stem\.0\.conv\.weight: the architecture has no such tensor"),
        ({"stages": 5}, r"backbone\.blocks\.8\.expand\.conv\.weight: the architecture has no such tensor"),
        ({"classes": 3}, r"classifier\.weight: is 3x32x1x1, the architecture has 4x32x1x1"),
        ({"classes": 5}, r"classifier\.weight: is 5x32x1x1"),
        ({"head_channels": 40}, r"head\.conv\.weight: is 40x"),
        ({"skip_stride": 4}, r"skip\.conv\.weight: the architecture has no such tensor"),
        ({"auxiliary": False}, r"auxiliary\.0\.conv\.weight: missing"),
        ({"bins": (1, 2, 3)}, r"pyramid\.branches\.2\.conv\.weight: the architecture has no such tensor"),
    ],
)
def test_another_architecture_is_refused(changes: dict[str, object], text: str) -> None:
    with pytest.raises(KitError, match=text):
        fit_to(build(SMALL), other(**changes).state_dict())


def test_tensors_that_do_not_fit_each_other_are_refused(changed: nn.Module) -> None:
    state = state_of(changed)
    state["skip.conv.weight"] = torch.zeros(1)
    with pytest.raises(KitError, match=r"skip\.conv\.weight: the architecture has no such tensor"):
        fit_to(build(SMALL), state)

    state = build(SMALL).state_dict()
    state["head.bn.bias"] = torch.zeros(24)
    with pytest.raises(KitError, match=r"head\.bn\.bias: is 24, the tensors beside it need 32"):
        fit_to(build(SMALL), state)

    state = build(SMALL).state_dict()
    state["head.conv.weight"] = state["head.conv.weight"][:24]
    with pytest.raises(KitError, match=r"head\.bn\.weight: made for 32 channels, but head\.conv gives 24"):
        fit_to(build(SMALL), state)

    state = build(SMALL).state_dict()
    state["head.conv.weight"] = state["head.conv.weight"][:, :, :1, :1]
    with pytest.raises(KitError, match=r"head\.conv\.weight: is 32x112x1x1"):
        fit_to(build(SMALL), state)


def test_a_cut_input_of_the_network_is_refused() -> None:
    state = build(SMALL).state_dict()
    state["backbone.stem.conv.weight"] = state["backbone.stem.conv.weight"][:, :1]
    with pytest.raises(KitError, match=r"backbone\.stem\.conv\.weight: is 32x1x3x3"):
        fit_to(build(SMALL), state)


def test_factors_that_lead_elsewhere_are_refused(changed: nn.Module) -> None:
    split = next(name for name in changed.state_dict() if name.endswith("reduce.weight"))
    state = state_of(changed)
    del state[split]
    with pytest.raises(KitError, match=r"splitting|missing"):
        fit_to(build(SMALL), state)

    whole = build(SMALL).state_dict()
    weight = whole.pop("classifier.weight")
    bias = whole.pop("classifier.bias")
    whole |= {
        "classifier.reduce.weight": weight[:2],
        "classifier.expand.weight": weight[:3, :2],
        "classifier.expand.bias": bias[:3],
    }
    with pytest.raises(KitError, match=r"classifier\.reduce\.weight: no splitting of classifier"):
        fit_to(build(SMALL), whole)


def test_a_factorised_classifier_can_be_renewed() -> None:
    model = build(SMALL).eval()
    inputs = model.classifier.in_channels
    replace(model, "classifier", split(model.classifier, 2, False, None))
    model.renew_classifiers(9)
    assert (model.classifier.in_channels, model.classifier.out_channels) == (inputs, 9)
    assert model(torch.zeros(1, 3, *SIZE)).shape[1] == 9
