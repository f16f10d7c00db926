"""Factors against convolutions whose rank and error are known."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pspnet_kit import checkpoint
from pspnet_kit.commands import factorise as command
from pspnet_kit.compress.lowrank import Rule, decompose, factorise, svd, tucker
from pspnet_kit.compress.macs import totals
from pspnet_kit.errors import KitError
from pspnet_kit.model import Architecture, build
from pspnet_kit.model.surgery import fit_to

SMALL = Architecture(4, stages=4, bins=(1, 2), bin_channels=16, head_channels=32)
SIZE = (32, 32)


def rebuilt(left: Tensor, core: Tensor, right: Tensor) -> Tensor:
    return torch.einsum("qrhw,ir,oq->oihw", core, left, right)


def of_rank(outputs: int, inputs: int, kernel: int, expand: int, reduce: int) -> Tensor:
    core = torch.randn(expand, reduce, kernel, kernel)
    weight = torch.einsum("qrhw,ir,oq->oihw", core, torch.randn(inputs, reduce), torch.randn(outputs, expand))
    return weight / weight.norm()


def test_svd_keeps_the_larger_singular_values() -> None:
    first, second = svd(torch.diag(torch.tensor([3.0, 0.0, 4.0])), 1)
    assert (first.shape, second.shape) == ((1, 3), (3, 1))
    assert torch.allclose(second @ first, torch.diag(torch.tensor([0.0, 0.0, 4.0])), atol=1e-6)
    matrix = torch.randn(5, 7)
    first, second = svd(matrix, 5)
    assert torch.allclose(second @ first, matrix, atol=1e-5)
    assert torch.allclose(first.norm(dim=1), second.norm(dim=0), rtol=1e-4)


def test_tucker_with_full_ranks_is_exact() -> None:
    weight = torch.randn(6, 5, 3, 3, dtype=torch.float64)
    left, core, right = tucker(weight, 5, 6)
    assert torch.allclose(rebuilt(left, core, right), weight, atol=1e-10)
    assert torch.allclose(left.T @ left, torch.eye(5, dtype=torch.float64), atol=1e-10)


def test_tucker_finds_the_true_ranks() -> None:
    torch.manual_seed(0)
    weight = of_rank(12, 10, 3, 4, 3).double()
    assert torch.allclose(rebuilt(*tucker(weight, 3, 4)), weight, atol=1e-7)


def test_sweeps_do_not_make_it_worse() -> None:
    torch.manual_seed(0)
    weight = torch.randn(16, 16, 3, 3, dtype=torch.float64)
    errors = [float((rebuilt(*tucker(weight, 4, 4, sweeps)) - weight).norm()) for sweeps in (1, 20)]
    assert errors[1] < errors[0]


def test_error_by_hand() -> None:
    conv = nn.Conv2d(2, 2, 3, bias=False)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 1, 1] = 4
        conv.weight[1, 1, 1, 1] = 3
    chain, error = decompose(conv, 1, 1)
    assert error == pytest.approx(0.6)
    assert [tuple(part.weight.shape) for part in chain.children()] == [(1, 2, 1, 1), (1, 1, 3, 3), (2, 1, 1, 1)]
    pointwise = nn.Conv2d(2, 2, 1, bias=False)
    with torch.no_grad():
        pointwise.weight.copy_(torch.diag(torch.tensor([4.0, 3.0]))[:, :, None, None])
    assert decompose(pointwise, 1, 1)[1] == pytest.approx(0.6)


@pytest.mark.parametrize(("reduce", "expand", "names"), [
    (3, 4, ["reduce", "core", "expand"]),
    (3, 12, ["reduce", "core"]),
    (10, 4, ["core", "expand"]),
])  # fmt: skip
def test_a_chain_computes_what_the_convolution_did(reduce: int, expand: int, names: list[str]) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(10, 12, 3, stride=2, padding=2, dilation=2)
    with torch.no_grad():
        conv.weight.copy_(of_rank(12, 10, 3, expand, reduce))
    chain, error = decompose(conv, reduce, expand)
    assert [name for name, _ in chain.named_children()] == names
    assert error < 1e-5
    x = torch.randn(2, 10, 9, 11)
    with torch.no_grad():
        assert torch.allclose(chain(x), conv(x), atol=1e-5)
    assert sum(part.bias is not None for part in chain.children()) == 1 and list(chain.children())[-1].bias is not None


def test_full_ranks_leave_a_convolution_as_it_is() -> None:
    conv = nn.Conv2d(4, 6, 3)
    assert decompose(conv, 4, 6) == (conv, 0.0)
    # Of a 1x1 convolution the full rank is a product of two matrices that gives the matrix back.
    strided = nn.Conv2d(4, 6, 1, stride=2)
    chain, error = decompose(strided, 4, 4)
    x = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        assert torch.allclose(chain(x), strided(x), atol=1e-5)
    assert error < 1e-6
    with pytest.raises(ValueError, match="one rank"):
        decompose(strided, 4, 3)


def single(outputs: int = 32, inputs: int = 32, kernel: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, inputs, 1), nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False))


def test_energy_takes_the_cheapest_ranks_that_keep_it() -> None:
    model = single()
    with torch.no_grad():
        model[1].weight.copy_(of_rank(32, 32, 3, 16, 8))
    result, report = factorise(model, (8, 8), Rule(energy=0.999999), ["1"])
    (split,) = report.splits
    assert split.ranks == (8, 16)
    # 64 pixels: 32 x 8 + 8 x 16 x 9 + 16 x 32.
    assert split.macs_after == 64 * (256 + 1152 + 512)
    assert split.macs_before == 64 * 32 * 32 * 9
    assert report.before.macs - report.after.macs == split.macs_before - split.macs_after
    x = torch.randn(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(result(x), model(x), atol=1e-5)
    assert isinstance(model[1], nn.Conv2d)


def test_saving_keeps_most_of_the_weights_within_its_budget() -> None:
    _, report = factorise(single(), (8, 8), Rule(saving=0.5), ["1"])
    (split,) = report.splits
    assert split.macs_after <= 0.5 * split.macs_before
    reduce, expand = split.ranks
    bigger = [(reduce + 8, expand), (reduce, expand + 8)]
    assert all(32 * r * (r < 32) + r * e * 9 + 32 * e * (e < 32) > 0.5 * 9216 for r, e in bigger if max(r, e) <= 32)


def test_ratio_and_multiple() -> None:
    _, report = factorise(single(48, 32), (8, 8), Rule(ratio=0.5), ["1"])
    assert report.splits[0].ranks == (16, 24)
    _, report = factorise(single(48, 32, 1), (8, 8), Rule(ratio=0.3, multiple=4), ["1"])
    assert report.splits[0].ranks == (8, 8)


def test_only_what_saves_is_split() -> None:
    # Rank 24 of a 32 x 32 matrix costs 1.5 times the matrix.
    with pytest.raises(KitError, match="worth splitting"):
        factorise(single(kernel=1), (8, 8), Rule(ratio=0.75), ["1"])
    with pytest.raises(KitError, match="worth splitting"):
        factorise(single(), (8, 8), Rule(energy=1.0))
    with pytest.raises(KitError, match="no convolution is called nothing"):
        factorise(single(), (8, 8), Rule(energy=0.5), ["nothing"])
    with pytest.raises(KitError, match="one of energy"):
        Rule(energy=0.5, saving=0.5)
    model = build(SMALL).eval()
    _, report = factorise(model, SIZE, Rule(saving=0.3, smallest=0.02))
    whole = totals(model, *SIZE).macs
    assert all(split.macs_before >= 0.02 * whole for split in report.splits)
    assert all(split.macs_after <= 0.7 * split.macs_before for split in report.splits)
    assert not any("depthwise" in split.name or "auxiliary" in split.name for split in report.splits)


def test_a_network_of_low_rank_computes_the_same_and_comes_back() -> None:
    torch.manual_seed(0)
    model = build(SMALL).eval()
    with torch.no_grad():
        model.head.conv.weight.copy_(of_rank(32, 112, 3, 16, 24) * 10)
    smaller, report = factorise(model, SIZE, Rule(energy=0.9999999), ["head.*"])
    assert [(split.name, split.ranks) for split in report.splits] == [("head.conv", (24, 16))]
    again = build(SMALL)
    fit_to(again, smaller.state_dict())
    again.load_state_dict(smaller.state_dict())
    x = torch.randn(1, 3, *SIZE)
    with torch.no_grad():
        assert torch.allclose(smaller(x), model(x), atol=1e-5)
        assert torch.equal(again.eval()(x), smaller(x))
    # A second time there is nothing left to split.
    with pytest.raises(KitError, match="worth splitting"):
        factorise(smaller, SIZE, Rule(saving=0.3), ["head.*"])


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "a.pt", tmp_path / "b.pt"
    content = {
        "architecture": SMALL.as_dict(),
        "model": build(SMALL).state_dict(),
        "classes": [{"name": name, "color": "#000000", "group": ""} for name in "abcd"],
        "input": {"height": 32, "width": 32},
        "metrics": {"miou": 50.0},
    }
    checkpoint.save(source, content)
    parser = argparse.ArgumentParser()
    command.configure(parser)
    command.run(parser.parse_args([str(source), "--out", str(out), "--saving", "0.4", "--only", "head.*"]))
    model, meta = checkpoint.load_model(out)
    assert isinstance(model.head.conv, nn.Sequential)
    assert meta["history"][0]["command"] == "factorise"
    assert meta["history"][0]["after"]["macs"] == totals(model, *SIZE).macs
    assert meta["metrics"] == {}
    assert "head.conv" in capsys.readouterr().out


def test_weights_that_can_not_be_decomposed_are_told_by_the_layer_s_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise torch.linalg.LinAlgError("linalg.eigh: the algorithm failed to converge")

    monkeypatch.setattr(torch.linalg, "eigh", fails)
    with pytest.raises(KitError, match=r"the weights of head\.conv can't be decomposed: linalg\.eigh"):
        factorise(build(SMALL), SIZE, Rule(energy=0.9, smallest=0), ("head.*",))
