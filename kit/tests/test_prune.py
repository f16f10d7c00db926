"""Pruning: importance against the loss itself, choices done by hand, and networks that stay what they were."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from pspnet_kit import checkpoint
from pspnet_kit.commands import prune as command
from pspnet_kit.compress import importance
from pspnet_kit.compress.dependency import trace
from pspnet_kit.compress.importance import Importance, magnitude, scale, taylor
from pspnet_kit.compress.macs import count, totals
from pspnet_kit.compress.prune import Settings, cut, prune
from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, build
from pspnet_kit.model.surgery import fit_to

SMALL = Architecture(4, stages=4, bins=(1, 2), bin_channels=16, head_channels=32, skip_stride=4, skip_channels=16)
SIZE = (32, 32)
LITE0 = Architecture(
    11, stride=16, stages=5, bin_channels=32, head_channels=96, skip_stride=8, skip_channels=32, refine_channels=64
)


def settle(model: nn.Module) -> nn.Module:
    """BatchNorm as after training: statistics, scales and shifts of all kinds."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.3, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def block(inputs: int, outputs: int) -> list[nn.Module]:
    return [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]


def chain() -> nn.Sequential:
    """3 > 16 > 16 > 2, 1x1, so that a unit's MACs per pixel are the channels around it."""
    return settle(nn.Sequential(*block(3, 16), nn.ReLU(), *block(16, 16), nn.ReLU(), nn.Conv2d(16, 2, 1)))


def fixed(*scores: Tensor | None, cost_power: float = 0.0) -> Importance:
    return Importance(lambda model, graph: list(scores), cost_power)


def widths(model: nn.Module) -> list[int]:
    return [module.out_channels for module in model.modules() if isinstance(module, nn.Conv2d)]


def test_channels_that_are_zero_go_without_a_trace() -> None:
    model = settle(build(SMALL))
    graph = trace(model)
    modules = dict(model.named_modules())
    keep = []
    for group in graph.groups:
        mask = torch.ones(group.size, dtype=torch.bool)
        if not group.fixed:
            mask[torch.randperm(group.size)[: group.size // 16 * 8]] = False
        keep.append(mask)
        for name in group.makers:
            if name in graph.norms:
                norm = modules[graph.norms[name]]
                own = next(member for member in group.members if member.module == graph.norms[name])
                gone = torch.from_numpy(own.channels)[~mask]
                with torch.no_grad():
                    norm.weight[gone] = 0
                    norm.bias[gone] = 0
    x = torch.randn(2, 3, *SIZE)
    with torch.no_grad():
        before, full = model(x), totals(model, *SIZE)
        model.training = True
        auxiliary = model(x)[1]
        model.training = False
        chosen, report = prune(model, SIZE, scale(), round(full.macs * 0.6))
        cut(model, graph, keep)
        assert torch.allclose(model(x), before, atol=1e-5)
        model.training = True
        assert torch.allclose(model(x)[1], auxiliary, atol=1e-5)
        assert totals(model, *SIZE).macs < 0.6 * full.macs
        # The scales tell which channels are zero, so pruning by them finds the same ones first.
        assert torch.allclose(chosen(x), before, atol=1e-5)
    assert report.after.macs <= 0.6 * full.macs


def test_the_least_important_units_go_and_the_others_keep_their_weights() -> None:
    model = chain()
    scores = torch.ones(16, dtype=torch.float64)
    scores[[0, 3, 4, 5, 9, 10, 12, 15]] = 0.1
    # 48 + 256 + 32 = 336 MACs for a pixel; without eight units of the first layer 24 + 128 + 32 = 184.
    thin, report = prune(model, (1, 1), fixed(scores, torch.ones(16, dtype=torch.float64), None), 184)
    kept = [1, 2, 6, 7, 8, 11, 13, 14]
    assert widths(thin) == [8, 16, 2]
    assert torch.equal(thin[0].weight, model[0].weight[kept])
    assert torch.equal(thin[1].running_var, model[1].running_var[kept])
    assert torch.equal(thin[3].weight, model[3].weight[:, kept])
    assert (report.before.macs, report.after.macs) == (336, 184)
    assert [(group.before, group.after) for group in report.groups] == [(16, 8), (16, 16)]
    assert widths(model) == [16, 16, 2]


def test_importance_per_mac_prefers_the_dearer_units() -> None:
    # A unit of the first layer frees 3 + 16 MACs, one of the second 16 + 2: a little dearer, a little more important.
    first, second = torch.full((16,), 1.03, dtype=torch.float64), torch.ones(16, dtype=torch.float64)
    by_cost, _ = prune(chain(), (1, 1), fixed(first, second, None, cost_power=1.0), 200)
    alone, _ = prune(chain(), (1, 1), fixed(first, second, None, cost_power=0.0), 200)
    assert widths(by_cost) == [8, 16, 2]
    assert widths(alone) == [16, 8, 2]


def test_uniform_cuts_every_layer_alike() -> None:
    thin, _ = prune(settle(build(SMALL)), SIZE, magnitude(2), 3_000_000, Settings(uniform=True))
    for group in trace(settle(build(SMALL))).groups:
        if not group.fixed and group.size >= 96 and "auxiliary" not in group.name:
            left = next(g.size for g in trace(thin).groups if g.makers == group.makers)
            assert abs(left / group.size - left_share(thin)) < 0.07, group.name


def left_share(thin: nn.Module) -> float:
    return thin.get_submodule("backbone.blocks.6.expand.conv").out_channels / 480


def test_floors_and_targets() -> None:
    model = chain()
    ones = torch.ones(16, dtype=torch.float64)
    with pytest.raises(KitError, match=r"the least is 0\.0 M"):
        prune(model, (1, 1), fixed(ones, ones, None), 50)
    with pytest.raises(KitError, match="expected less"):
        prune(model, (1, 1), fixed(ones, ones, None), 336)
    with pytest.raises(KitError, match="the least"):
        prune(model, (1, 1), fixed(ones, ones, None), 300, Settings(keep=0.9))
    least, _ = prune(model, (1, 1), fixed(ones, ones, None), 104)
    assert widths(least) == [8, 8, 2]
    fine, _ = prune(model, (1, 1), fixed(ones, ones, None), 50, Settings(multiple=1, minimum=1, keep=0))
    assert totals(fine, 1, 1).macs <= 50
    with pytest.raises(KitError, match="at least 1"):
        Settings(steps=0)


def test_magnitude_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(1, 2, 1, bias=False), nn.Conv2d(2, 2, 1, groups=2, bias=False), nn.Conv2d(2, 1, 1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([3.0, -1.0]).reshape(2, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([-4.0, 0.0]).reshape(2, 1, 1, 1))
    graph = trace(model)
    l1, l2 = magnitude(1).measure(model, graph)[0], magnitude(2).measure(model, graph)[0]
    assert l1 is not None and l2 is not None
    assert torch.allclose(l1, torch.tensor([7.0, 1.0], dtype=torch.float64) / 4)
    assert torch.allclose(l2, torch.tensor([5.0, 1.0], dtype=torch.float64) / 3)


def test_scale_by_hand_and_what_it_cannot_judge() -> None:
    model = chain()
    with torch.no_grad():
        model[1].weight.fill_(2)
        model[1].weight[:8] = -6
    scores = scale().measure(model, trace(model))
    assert scores[0] is not None and scores[2] is None
    assert torch.allclose(scores[0], torch.tensor([1.5] * 8 + [0.5] * 8, dtype=torch.float64))


@pytest.mark.parametrize("activations", [True, False])
def test_taylor_is_the_change_of_a_linear_loss(activations: bool) -> None:
    """Where the loss is linear in a channel, the first order is all of it: switch each off and look."""
    model = nn.Sequential(*block(3, 4), nn.Conv2d(4, 2, 1))
    settle(model)
    if not activations:
        model[1].running_mean.zero_()
        nn.init.zeros_(model[1].bias)
    batches = [(torch.randn(2, 3, 4, 4), torch.zeros(2)) for _ in range(3)]
    changes = torch.zeros(4, dtype=torch.float64)
    with torch.no_grad():
        for images, _ in batches:
            features = model[1](model[0](images))
            for channel in range(4):
                off = features.clone()
                off[:, channel] = 0
                changes[channel] += (model[2](off).sum() - model[2](features).sum()).abs() / 3
    model.train()
    importance = taylor(batches, lambda logits, labels: logits.sum(), activations)
    scores = importance.measure(model, trace(model))
    assert scores[0] is not None
    assert torch.allclose(scores[0], changes, rtol=1e-3, atol=1e-4)
    assert model[1].training and model[0].weight.grad is None


def test_taylor_adds_up_what_ends_in_one_unit() -> None:
    """Two branches that cancel each other are worth nothing together."""

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.out = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)
            with torch.no_grad():
                self.b.weight.copy_(-self.a.weight)
                self.b.bias.copy_(-self.a.bias)

        def forward(self, x: Tensor) -> Tensor:
            return self.out(self.a(x) + self.b(x))

    batches = [(torch.randn(1, 3, 4, 4), torch.zeros(1))]
    model = Both()
    scores = taylor(batches, lambda logits, labels: logits.sum()).measure(model, trace(model))
    assert scores[0] is not None
    assert torch.allclose(scores[0], torch.zeros(4, dtype=torch.float64), atol=1e-5)


def test_taylor_refuses_no_data_and_no_number() -> None:
    model = chain()
    with pytest.raises(KitError, match="no batch"):
        taylor([], lambda logits, labels: logits.sum()).measure(model, trace(model))
    batches = [(torch.full((1, 3, 2, 2), torch.nan), torch.zeros(1))]
    with pytest.raises(KitError, match="the loss is nan"):
        taylor(batches, lambda logits, labels: logits.sum()).measure(model, trace(model))


@pytest.mark.parametrize(("share", "uniform"), [(0.3, False), (0.5, False), (0.7, False), (0.5, True)])
def test_lite0_at_three_sizes(share: float, uniform: bool) -> None:
    model = settle(build(LITE0))
    size = (96, 96)
    full = totals(model, *size).macs
    steps = 1 if uniform else 2
    thin, report = prune(model, size, scale(), round(full * (1 - share)), Settings(uniform=uniform, steps=steps))
    after = count(thin, *size)
    assert sum(layer.macs for layer in after) == report.after.macs <= full * (1 - share)
    assert report.after.macs > full * (1 - share) * 0.9
    for layer in after:
        if layer.name != "classifier":
            assert layer.outputs % 8 == 0, layer.name
    modules = dict(thin.named_modules())
    for name, norm in trace(thin).norms.items():
        assert modules[norm].num_features == modules[name].out_channels == len(modules[norm].running_mean)
    stem = modules["backbone.stem.conv"]
    assert stem.in_channels == 3 and stem.out_channels <= 32
    x = torch.randn(1, 3, *size)
    again = build(LITE0)
    fit_to(again, thin.state_dict())
    again.load_state_dict(thin.state_dict())
    with torch.no_grad():
        logits = thin(x)
        assert logits.shape == (1, 11, 12, 12)
        assert torch.equal(again.eval()(x), logits)
    thin.train()
    main, auxiliary = thin(torch.randn(2, 3, *size))
    (main.sum() + auxiliary.sum()).backward()


def test_resnet_bottlenecks_lose_stream_and_inner_channels() -> None:
    from pspnet_kit.model.resnet import Bottleneck

    stages = nn.Sequential(Bottleneck(16, 16, 1, 1), Bottleneck(64, 16, 1, 1), Bottleneck(64, 32, 2, 1))
    model = settle(nn.Sequential(nn.Conv2d(3, 16, 1), stages, nn.Conv2d(128, 2, 1)))
    thin, report = prune(model, (8, 8), magnitude(1), totals(model, 8, 8).macs // 3)
    assert thin(torch.randn(1, 3, 8, 8)).shape == (1, 2, 4, 4)
    assert thin[1][0].shortcut.conv.out_channels == thin[1][1].expand.conv.out_channels < 64
    assert report.after.macs <= report.before.macs // 3


def test_taylor_takes_as_many_pictures_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
        for index in range(9):
            Image.new("RGB" if folder == "images" else "L", (4, 4)).save(tmp_path / folder / f"{index}.png")
    (tmp_path / "dataset.toml").write_text(
        'name = "x"\nlabels = "index"\n[splits]\ntrain = { images = "images", labels = "labels" }\n'
        '[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n'
    )
    parser = argparse.ArgumentParser()
    command.configure(parser)
    args = ["x.pt", "--out", "y.pt", "--ratio", "0.5", "--data", str(tmp_path), "--pictures", "8"]
    monkeypatch.setattr(importance, "taylor", lambda pictures, *_: pictures)
    meta = {"classes": [{"name": "a"}, {"name": "b"}]}
    pictures = command._importance(parser.parse_args(args), meta, SIZE)
    assert isinstance(pictures, command._Pictures)
    # The middles of eight parts of nine: 9/16, 27/16, 45/16 and so on, rounded down.
    assert [pair.image.stem for pair in pictures.pairs] == list("01235678")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "b.pt"
    classes = [{"name": name, "color": "#000000", "group": ""} for name in "abcd"]
    content = {
        "architecture": SMALL.as_dict(),
        "model": build(SMALL).state_dict(),
        "classes": classes,
        "input": {"height": 32, "width": 32},
        "history": [{"command": "train"}],
        "metrics": {"miou": 50.0},
    }
    checkpoint.save(source, content)

    def run(*arguments: str) -> None:
        parser = argparse.ArgumentParser()
        command.configure(parser)
        command.run(parser.parse_args([str(source), "--out", str(out), *arguments]))

    run("--ratio", "0.4", "--importance", "l2")
    model, meta = checkpoint.load_model(out)
    before, after = totals(build(SMALL), *SIZE).macs, totals(model, *SIZE).macs
    assert after <= 0.6 * before
    assert [entry["command"] for entry in meta["history"]] == ["train", "prune"]
    assert meta["history"][1]["after"]["macs"] == after
    assert meta["metrics"] == {} and meta["classes"] == classes
    printed = capsys.readouterr().out
    assert "backbone.stem.conv" in printed and f"{100 * after / before:.1f}%" in printed
    with pytest.raises(KitError, match="--data"):
        run("--ratio", "0.4")
    with pytest.raises(KitError, match="looks at no pictures"):
        run("--ratio", "0.4", "--importance", "l1", "--data", str(tmp_path))
    with pytest.raises(KitError, match=r"--ratio 1\.5"):
        run("--ratio", "1.5", "--importance", "l1")
