"""Few values for weights: k-means on known numbers, counts of values, sizes, and what arrives in the int8 file."""

from __future__ import annotations

import argparse
import gzip
import itertools
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from quant_networks import PLAIN, inputs, pictures, settled
from tiny_checkpoint import save, tiny
from torch import Tensor, nn

from pspnet_kit import checkpoint
from pspnet_kit.commands import codebook as command
from pspnet_kit.commands import quantise as quantise_command
from pspnet_kit.compress.codebook import Settings, codebook
from pspnet_kit.compress.kmeans import huffman_bits, kmeans
from pspnet_kit.errors import KitError
from pspnet_kit.export.runner import TfliteRunner
from pspnet_kit.export.tflite import export_tflite
from pspnet_kit.export.tflite_reader import read
from pspnet_kit.quant.graph import trace
from pspnet_kit.quant.ptq import Settings as PtqSettings
from pspnet_kit.quant.ptq import quantise
from pspnet_kit.quant.quantised import quantise_graph
from pspnet_kit.quant.refine import Refinement
from pspnet_kit.quant.simulate import simulate

SIZE = (48, 64)


def error(values: np.ndarray, weights: np.ndarray, centres: np.ndarray) -> float:
    return float((weights * ((values[:, None] - centres) ** 2).min(1)).sum())


def test_kmeans_finds_clusters() -> None:
    values = np.array([5.0, -1.0, 0.0, 1.0, 4.0, 6.0, 10.0])
    assert kmeans(values, np.ones(7), 3).tolist() == [0.0, 5.0, 10.0]
    # A weight pulls its centre along.
    assert kmeans(np.array([0.0, 1.0, 9.0]), np.array([3.0, 1.0, 1.0]), 2).tolist() == [0.25, 9.0]


def test_few_values_are_their_own_centres() -> None:
    assert kmeans(np.array([2.0, -1.0, 2.0]), np.ones(3), 2).tolist() == [-1.0, 2.0]
    assert kmeans(np.zeros(5), np.ones(5), 8).tolist() == [0.0]


def test_kmeans_is_near_the_best_partition() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        values, weights = np.sort(random.normal(size=9)), random.uniform(0.1, 2, 9)
        best = min(
            sum(
                error(values[a:b], weights[a:b], np.array([np.average(values[a:b], weights=weights[a:b])]))
                for a, b in itertools.pairwise((0, *cuts, 9))
            )
            for cuts in itertools.combinations(range(1, 9), 2)
        )
        assert best - 1e-12 <= error(values, weights, kmeans(values, weights, 3)) < 2 * best + 1e-12


def test_huffman_by_hand() -> None:
    # Lengths 1, 2, 3, 3.
    assert huffman_bits([4, 2, 1, 1]) == 4 + 4 + 3 + 3
    assert huffman_bits([0, 7, 0]) == 7
    assert huffman_bits([]) == 0
    assert huffman_bits([8] * 8) == 64 * 3


def values_of(model: nn.Module, name: str) -> list[int]:
    """How many values the weights of each output channel take, then of all together."""
    weight = model.get_submodule(name).weight
    return [*(len(row.unique()) for row in weight.flatten(1)), len(weight.unique())]


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("shown", [False, True])
def test_weights_take_at_most_so_many_values(bits: int, shown: bool) -> None:
    model = settled(PLAIN)
    for scope in ("layer", "channel"):
        coded, report = codebook(model, SIZE, Settings(bits, scope), inputs(2) if shown else None)
        assert len(report.layers) > 5
        for layer in report.layers:
            *rows, whole = values_of(coded, layer.name)
            assert max(rows) <= 2**bits
            if scope == "layer" and "depthwise" not in layer.name:
                assert whole <= 2**bits
            # With pictures the outputs are what is kept, not the weights.
            assert 0 < layer.error < (1.5 if shown else 1)
            assert layer.huffman_bytes <= layer.bytes < layer.weights
        assert max(max(values_of(coded, layer.name)) for layer in report.layers) > 2**bits or scope == "layer"
    # The network that was given stays as it was.
    assert torch.equal(model.head.conv.weight, settled(PLAIN).head.conv.weight)


def test_a_depthwise_convolution_has_no_common_codebook() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 7, padding=3, groups=8))
    with torch.no_grad():
        model[1].weight *= torch.logspace(-3, 3, 8)[:, None, None, None]
    coded, report = codebook(model, SIZE, Settings(3), only=["1"])
    assert values_of(coded, "1") == [8] * 8 + [64]
    # 49 indices of 3 bits for each of 8 channels, and 8 bytes of codebook.
    assert (report.layers[0].bytes, report.left) == (8 * 49 * 3 // 8 + 8 * 8, 24)


def test_weights_of_few_values_stay_exactly() -> None:
    model = settled(PLAIN)
    with torch.no_grad():
        levels = torch.tensor([-0.5, -0.125, 0.25, 1.0])
        model.head.conv.weight.copy_(levels[torch.randint(0, 4, model.head.conv.weight.shape)])
    coded, report = codebook(model, SIZE, Settings(2), inputs(2), ["head.*"])
    assert torch.equal(coded.head.conv.weight, model.head.conv.weight)
    (layer,) = report.layers
    weights = model.head.conv.weight.numel()
    # A quarter of a byte for each index, four float32 in the codebook.
    assert (layer.name, layer.weights, layer.bytes, layer.error) == ("head.conv", weights, -(-weights // 4) + 16, 0.0)
    with torch.no_grad():
        assert torch.allclose(coded(inputs(1)), model(inputs(1)), atol=1e-4)


def noise(model: nn.Module, other: nn.Module) -> float:
    """The share of the logits' variance that lies between two networks, on pictures that neither was made with."""
    x = inputs(6)[3:]
    with torch.no_grad():
        return float((model(x) - other(x)).square().mean() / model(x).var())


def test_pictures_make_it_better() -> None:
    model = settled(PLAIN)
    for scope in ("layer", "channel"):
        blind, seeing = (codebook(model, SIZE, Settings(4, scope), x)[0] for x in (None, inputs(3)))
        assert noise(model, seeing) < 0.6 * noise(model, blind)


def test_more_bits_are_better() -> None:
    model = settled(PLAIN)
    errors = [noise(model, codebook(model, SIZE, Settings(bits), inputs(3))[0]) for bits in (2, 4, 6)]
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_biases_take_back_the_shift_of_means() -> None:
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1))
    x = inputs(3) + 1
    coded, _ = codebook(model, SIZE, Settings(1), x)
    with torch.no_grad():
        assert torch.allclose(coded(x).mean((0, 2, 3)), model(x).mean((0, 2, 3)), atol=1e-4)
        assert not torch.allclose(coded[0].bias, model[0].bias, atol=1e-3)


def test_what_saves_nothing_is_left_or_refused() -> None:
    # 3 weights of each channel: their codebooks would take more than they do.
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 64, 3))
    _, report = codebook(model, SIZE, Settings(2, "channel"))
    assert [layer.name for layer in report.layers] == ["1"] and report.left == 12
    with pytest.raises(KitError, match="take no less than int8"):
        codebook(model, SIZE, Settings(2, "channel"), only=["0"])
    with pytest.raises(KitError, match=r"no convolution is called head\.\*"):
        codebook(model, SIZE, Settings(2), only=["head.*"])


@pytest.mark.parametrize("bits", [0, 8])
def test_bits_out_of_range_are_refused(bits: int) -> None:
    with pytest.raises(KitError, match=f"{bits} bits: expected 1 to 7"):
        Settings(bits)
    with pytest.raises(KitError, match="scope 'pixel'"):
        Settings(4, "pixel")  # type: ignore[arg-type]


def int8_rows(weight: np.ndarray) -> int:
    return max(len(np.unique(row)) for row in weight.reshape(len(weight), -1))


def test_the_int8_file_keeps_the_values_and_runs_in_litert(tmp_path: Path) -> None:
    coded, report = codebook(settled(PLAIN), SIZE, Settings(3), inputs(3))
    graph = trace(coded, inputs(1))
    layers = [layer.name for layer in report.layers]
    kept = quantise(graph, pictures(3), PtqSettings(refinement=Refinement(kept=frozenset(layers))))
    # Rounding for the least change of outputs would spread them.
    spread, nearest = (quantise(graph, pictures(3), PtqSettings(refinement=Refinement(on))) for on in (True, False))
    refined = 0
    for node in graph.convolutions:
        same = np.array_equal(kept.weights[node.name].weight, nearest.weights[node.name].weight)
        if node.module in layers:
            assert same and int8_rows(kept.weights[node.name].weight) <= 8
        refined += not same
    assert 0 < refined <= len(graph.convolutions) - len(layers)
    assert int8_rows(spread.weights["head.conv"].weight) > 8
    export_tflite(kept, tmp_path / "model.tflite", "test")
    seen = np.stack(pictures(5)[3:])
    expected: Tensor = simulate(kept, torch.from_numpy(seen))[graph.output].permute(0, 2, 3, 1)
    got = TfliteRunner(tmp_path / "model.tflite").raw(seen).astype(int)
    assert len(np.unique(got)) > 20
    assert np.abs(got - expected.numpy()).max() <= 1


def run(*arguments: object, command: ModuleType = command) -> None:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out, folder = save(tmp_path / "a.pt", tiny()), tmp_path / "b.pt", tmp_path / "pictures"
    folder.mkdir()
    for index, picture in enumerate(pictures(3, (96, 96))):
        Image.fromarray(picture).save(folder / f"{index}.png")
    run(source, "--out", out, "--bits", "3", "--data", folder, "--pictures", "2")
    coded, meta = checkpoint.load_model(out)
    step = meta["history"][0]
    assert (step["command"], step["settings"], step["pictures"]) == ("codebook", {"bits": 3, "scope": "layer"}, 2)
    assert max(values_of(coded, "head.conv")) <= 8
    told = capsys.readouterr().out.splitlines()
    # What `kit quantise` writes takes as few values, until another step has changed the weights.
    for history, few in ((meta["history"], True), ([*meta["history"], {"command": "train"}], False)):
        checkpoint.save(tmp_path / "c.pt", {**meta, "model": coded.state_dict(), "history": history})
        run(tmp_path / "c.pt", "--out", tmp_path / "c.tflite", "--calibration", folder, command=quantise_command)
        operators = read(tmp_path / "c.tflite").operators
        constants = {tensor.name: tensor for operator in operators for tensor in operator.constants}
        weights = constants["head.conv/weights"]
        assert weights.data is not None
        assert (int8_rows(weights.data.view(np.int8).reshape(weights.shape)) <= 8) == few
    told = [line for line in told if not line.startswith("calibration")]
    # The sizes of the files are true: both are written as quantise --nearest does it.
    sizes = [
        [int(cell.replace(",", "")) for cell in line.split()[1:]]
        for line in told
        if line.startswith(("before", "after"))
    ]
    files = []
    for model in (tiny(), coded):
        graph = trace(model, torch.zeros(1, 3, 96, 96))
        groups = set(graph.range_groups().values()) - {graph.input.name}
        export_tflite(quantise_graph(graph, dict.fromkeys(groups, (-1.0, 1.0))), tmp_path / "file.tflite", "sizes")
        data = (tmp_path / "file.tflite").read_bytes()
        files.append([len(data), len(gzip.compress(data, 9))])
    assert [size[0] for size in sizes] == [file[0] for file in files]
    for told_sizes, file in zip(sizes, files, strict=True):
        assert told_sizes[1] == pytest.approx(file[1], rel=0.1)
    assert sizes[1][1] < sizes[0][1] and sizes[1][2] < sizes[0][2]
    total = next(line for line in told if line.startswith("all, bytes"))
    weights = sum(conv.weight.numel() for conv in trace(coded, torch.zeros(1, 3, 96, 96)).convolutions)
    assert total.split()[2] == f"{weights:,}"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bits", "9"], "9 bits: expected 1 to 7"),
        (["--bits", "4", "--pictures", "0"], "--pictures 0: expected at least 1"),
        (["--bits", "4", "--data", "nowhere"], "nowhere: no such folder|nowhere"),
        (["--bits", "4", "--only", "nothing"], "no convolution is called nothing"),
    ],
)
def test_mistakes_are_told_and_leave_nothing(tmp_path: Path, arguments: list[str], message: str) -> None:
    source = save(tmp_path / "a.pt", tiny())
    with pytest.raises(KitError, match=message):
        run(source, "--out", tmp_path / "b.pt", *arguments)
    assert not (tmp_path / "b.pt").exists()


def test_a_network_that_can_not_be_quantised_leaves_nothing(tmp_path: Path) -> None:
    model = tiny()
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
        model.head.bn.bias.fill_(3e38)
    with pytest.raises(KitError, match="computes infinities or NaN"):
        run(save(tmp_path / "a.pt", model), "--out", tmp_path / "b.pt", "--bits", "2")
    assert not (tmp_path / "b.pt").exists()
