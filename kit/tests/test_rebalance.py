"""Moving a classifier to another class weighting: by how much, and what must move with it."""

from __future__ import annotations

import argparse
from math import exp, log
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoint
import torch
from PIL import Image

from pspnet_kit import checkpoint
from pspnet_kit.commands import rebalance as command
from pspnet_kit.compress.lowrank import decompose
from pspnet_kit.compress.rebalance import moved_ranges, rebalance
from pspnet_kit.errors import KitError
from pspnet_kit.quant.graph import trace


def test_logits_lose_the_logarithm_of_the_weights() -> None:
    model = tiny_checkpoint.tiny(classes=2)
    before = model.classifier.bias.detach().clone()
    # Shares 3/4 and 1/4: weights 1/share are 1:3, so class 0 gains log 3 against class 1.
    move = rebalance(model, torch.tensor([30.0, 10.0]), 1.0, 0.0)
    torch.testing.assert_close(move, torch.tensor([log(3) / 2, -log(3) / 2]))
    torch.testing.assert_close(model.classifier.bias.detach() - before, move)
    rebalance(model, torch.tensor([30.0, 10.0]), 0.0, 1.0)
    torch.testing.assert_close(model.classifier.bias.detach(), before)


def test_it_gives_the_probabilities_that_the_other_loss_would_have_learned() -> None:
    # Where one class is seen with p = 0.3, the best logit under weights w has odds w0 0.3 : w1 0.7.
    share, p = torch.tensor([0.2, 0.8]), 0.3
    weights = {power: share**-power for power in (0.5, 0.1)}
    model = tiny_checkpoint.constant(tiny_checkpoint.tiny(classes=2), 0)
    model.classifier.bias.data = (weights[0.5] * torch.tensor([p, 1 - p])).log()
    rebalance(model, share * 1000, 0.5, 0.1)
    odds = exp(float(model.classifier.bias[0] - model.classifier.bias[1]))
    assert odds == pytest.approx(float(weights[0.1][0] / weights[0.1][1]) * p / (1 - p), rel=1e-5)


def test_a_factorised_classifier_moves_too() -> None:
    model = tiny_checkpoint.tiny(classes=2)
    chain, _ = decompose(model.classifier, 1, 1)
    model.classifier = chain
    before = chain.expand.bias.detach().clone()
    move = rebalance(model, torch.tensor([30.0, 10.0]), 1.0, 0.0)
    torch.testing.assert_close(chain.expand.bias.detach() - before, torch.tensor([log(3) / 2, -log(3) / 2]))
    group = trace(model, torch.zeros(1, 3, *tiny_checkpoint.SIZE)).range_groups()["classifier.expand"]
    moved = moved_ranges(model, tiny_checkpoint.SIZE, {group: (-1.0, 1.0)}, move)
    assert moved[group] == pytest.approx((-1 - log(3) / 2, 1 + log(3) / 2))


def test_no_pixels_are_refused() -> None:
    with pytest.raises(KitError, match="nothing but void"):
        rebalance(tiny_checkpoint.tiny(classes=2), torch.zeros(2), 0.5, 0.1)


def test_the_range_of_the_logits_moves_with_them() -> None:
    model = tiny_checkpoint.tiny()
    graph = trace(model, torch.zeros(1, 3, *tiny_checkpoint.SIZE))
    groups = graph.range_groups()
    ranges = {group: [-1.0, 2.0] for group in set(groups.values())}
    moved = moved_ranges(model, tiny_checkpoint.SIZE, ranges, torch.tensor([0.5, -0.75, 0.25]))
    assert moved.pop(groups[graph.output]) == (-1.75, 2.5)
    assert set(moved.values()) == {(-1.0, 2.0)} and len(moved) == len(ranges) - 1


def test_the_command_judges_before_and_after(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = np.zeros((16, 16), np.uint8)
    label[:4] = 1
    for folder, picture in (("images", np.zeros((16, 16, 3), np.uint8)), ("labels", label)):
        (tmp_path / folder).mkdir()
        Image.fromarray(picture).save(tmp_path / folder / "p.png")
    (tmp_path / "dataset.toml").write_text(
        'name = "x"\nlabels = "index"\n[splits]\ntrain = { images = "images", labels = "labels" }\n'
        '[[classes]]\nname = "a"\n[[classes]]\nname = "b"\n'
    )
    model = tiny_checkpoint.constant(tiny_checkpoint.tiny(classes=2), 1)
    graph = trace(model, torch.zeros(1, 3, *tiny_checkpoint.SIZE))
    ranges = {group: [-1.0, 1.0] for group in set(graph.range_groups().values())}
    start = tiny_checkpoint.save(tmp_path / "x.pt", model, "ab", ranges=ranges, metrics={"miou": 12.5})
    parser = argparse.ArgumentParser()
    command.configure(parser)
    # b wins by 1 everywhere; from weights 1:3 to none, a gains log 3 = 1.0986.
    arguments = [start, "--out", tmp_path / "y.pt", "--data", tmp_path, "--judge", "train"]
    powers = ["--from-power", "1", "--to-power", "0"]
    command.run(parser.parse_args([*map(str, arguments), *powers]))
    assert "mIoU 12.50 before, 37.50 after, on 1 pictures" in capsys.readouterr().out
    content = checkpoint.read(tmp_path / "y.pt")
    assert content["metrics"] == {"miou": 37.5}
    assert content["history"] == [{"command": "rebalance", "from": 1.0, "to": 0.0}]
    group = graph.range_groups()[graph.output]
    assert content["ranges"][group] == pytest.approx([-1 - log(3) / 2, 1 + log(3) / 2])
