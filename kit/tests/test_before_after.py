"""The comparison of two models: scores that are known, costs that are counted by hand, and what is refused."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pytest
import tiny_checkpoint
import torch
from needs import has, needs
from PIL import Image

needs(has("ai_edge_litert"), "no ai_edge_litert here (kit/setup)")

from pspnet_kit.commands import factorise, quantise
from pspnet_kit.data import open_dataset
from pspnet_kit.errors import KitError
from pspnet_kit.judge.before_after import add_arguments, compare, open_comparison
from pspnet_kit.quant.graph import trace


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two pictures; three quarters of the labelled pixels are class a, a quarter is class b."""
    root = tmp_path_factory.mktemp("data")
    label = np.zeros((48, 48), np.uint8)
    label[:12] = 1
    label[:, 40:] = 255
    for folder in ("images", "labels"):
        (root / folder).mkdir()
    for index in range(2):
        picture = np.random.default_rng(index).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(picture).save(root / f"images/p{index}.png")
        Image.fromarray(label).save(root / f"labels/p{index}.png")
    (root / "dataset.toml").write_text(
        'name = "halves"\nlabels = "index"\n[splits]\nval = { images = "images", labels = "labels" }\n'
        + "".join(f'[[classes]]\nname = "{name}"\n' for name in "abc")
    )
    return root


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that says a everywhere: IoU 75 % of a, 0 % of b, so 37.5 on average."""
    model = tiny_checkpoint.constant(tiny_checkpoint.tiny(), 0)
    return tiny_checkpoint.save(tmp_path_factory.mktemp("start") / "start.pt", model)


def row(table: str, name: str) -> list[str]:
    """The cells of the line that starts with `name`."""
    line = next(line for line in table.splitlines() if line.startswith(name))
    return line[len(name) :].split()


def test_scores_costs_and_latency_of_two_checkpoints(root: Path, start: Path, tmp_path: Path) -> None:
    other = tiny_checkpoint.constant(tiny_checkpoint.tiny(head_channels=32), 1)
    after = tiny_checkpoint.save(tmp_path / "after.pt", other)
    dataset = open_dataset(root)
    table = compare(start, after, dataset, dataset.pairs("val"), rounds=1, seconds=0.0)
    # b everywhere: IoU 25 % of b, 0 % of a.
    assert row(table, "mIoU (%)") == ["37.50", "12.50", "-25.00"]
    # 16 more outputs of the 3x3 head on 6 x 6 cells; it reads the features and four times 8 channels. 16 more inputs of
    # the classifier.
    inputs = tiny_checkpoint.tiny().backbone.outputs + 32
    before, later = (float(cell) for cell in row(table, "MACs (M)")[:2])
    assert later - before == pytest.approx(36 * 16 * (9 * inputs + 3) / 1e6, abs=0.11)
    before, later = (float(cell) for cell in row(table, "parameters (k)")[:2])
    assert later - before == pytest.approx(16 * (9 * inputs + 1 + 3) / 1e3, abs=0.11)
    assert float(row(table, "latency (ms)")[0]) > 0
    assert "mIoU: float; the rest: int8" in table


def test_a_file_is_compared_with_the_float_network(root: Path, start: Path, tmp_path: Path, capsys: object) -> None:
    parser = argparse.ArgumentParser()
    quantise.configure(parser)
    out = tmp_path / "start.tflite"
    arguments = [start, "--out", out, "--calibration", root / "images", "--method", "minmax", "--compare", root]
    quantise.run(parser.parse_args(list(map(str, arguments))))
    table = capsys.readouterr().out  # type: ignore[attr-defined]
    assert row(table, "mIoU (%)") == ["37.50", "37.50", "+0.00"]
    assert row(table, "MACs (M)")[2] == "100.0"
    # A byte for four, but for biases, scales and the file's own structure.
    assert 25 < float(row(table, "bytes (k)")[2]) < 60
    assert "mIoU: float against int8; the rest: float32 against int8" in table


def test_a_network_trained_with_roundings_is_judged_with_them(root: Path, start: Path, tmp_path: Path) -> None:
    model = tiny_checkpoint.constant(tiny_checkpoint.tiny(), 0)
    graph = trace(model, torch.zeros(1, 3, *tiny_checkpoint.SIZE))
    groups = graph.range_groups()
    ranges = {group: (-6.0, 6.0) for group in groups.values() if group != groups[graph.input.name]}
    # No logit can be above zero then: a, b and c tie, and the first wins. Without the ranges it would be c.
    ranges[groups[graph.output]] = (-1.0, 0.0)
    model.classifier.bias.data.copy_(torch.tensor([0.0, 0.0, 1.0]))
    after = tiny_checkpoint.save(tmp_path / "after.pt", model, ranges=ranges)
    dataset = open_dataset(root)
    table = compare(start, after, dataset, dataset.pairs("val"), rounds=1, seconds=0.0)
    assert row(table, "mIoU (%)")[:2] == ["37.50", "37.50"]
    assert "mIoU: float against int8; the rest: int8 in" in table


def test_a_command_prints_it(root: Path, start: Path, tmp_path: Path, capsys: object) -> None:
    parser = argparse.ArgumentParser()
    factorise.configure(parser)
    arguments = [start, "--out", tmp_path / "out.pt", "--ratio", "0.5", "--only", "head*", "--multiple", "4"]
    factorise.run(parser.parse_args([*map(str, arguments), "--compare", str(root), "--compare-only", "p0"]))
    table = capsys.readouterr().out.split("written")[1]  # type: ignore[attr-defined]
    assert row(table, "mIoU (%)") == ["37.50", "37.50", "+0.00"]
    assert float(row(table, "MACs (M)")[2]) < 99.9
    assert re.search(r"1 pictures of halves", table)


def test_what_is_missing_is_said_first(root: Path, start: Path, tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    assert open_comparison(parser.parse_args([]), None) is None
    args = parser.parse_args(["--compare", str(root)])
    with pytest.raises(KitError, match="--from"):
        open_comparison(args, None)
    with pytest.raises(KitError, match=r"none\.pt: no such file"):
        open_comparison(args, tmp_path / "none.pt")
    other = tiny_checkpoint.save(tmp_path / "other.pt", tiny_checkpoint.tiny(), "abd")
    with pytest.raises(KitError, match=r"other\.pt: class 2 is 'd'"):
        open_comparison(args, other)
    with pytest.raises(KitError, match="no split 'test'"):
        open_comparison(parser.parse_args(["--compare", str(root), "--compare-split", "test"]), start)
