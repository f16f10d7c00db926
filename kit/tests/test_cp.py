"""CP decompositions of kernels whose terms are known, and the chains of convolutions that they become."""

from __future__ import annotations

import argparse
from pathlib import Path

import inspected
import numpy as np
import pytest
import torch
from quant_networks import PLAIN, inputs, pictures, settled
from tiny_checkpoint import save, tiny
from torch import Tensor, nn

from pspnet_kit import checkpoint
from pspnet_kit.commands import factorise as command
from pspnet_kit.compress.cp import MOST_CANCELLED, parafac
from pspnet_kit.compress.lowrank import Report, Rule, decompose_apart, factorise
from pspnet_kit.compress.macs import count, totals
from pspnet_kit.compress.prune import prune
from pspnet_kit.errors import KitError
from pspnet_kit.export.runner import TfliteRunner
from pspnet_kit.export.tflite import export_tflite
from pspnet_kit.model import PSPNet, build
from pspnet_kit.model.surgery import fit_to
from pspnet_kit.quant.graph import trace
from pspnet_kit.quant.ptq import quantise
from pspnet_kit.quant.simulate import simulate


def of_rank(rank: int, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    factors = [torch.randn(size, rank, generator=generator, dtype=torch.float64) for size in shape]
    return torch.einsum("or,ir,hr,wr->oihw", *factors)


@pytest.mark.parametrize("shape", [(12, 10, 3, 3), (9, 16, 5, 5), (8, 7, 1, 3), (6, 6, 5, 3)])
def test_true_ranks_are_found(shape: tuple[int, ...]) -> None:
    weight = of_rank(4, *shape)
    terms = parafac(weight, 4)
    assert terms.error < 1e-5
    assert torch.allclose(terms.built(), weight, atol=1e-5 * float(weight.norm()))
    for factor in terms.factors:
        assert torch.allclose(factor.norm(dim=0), torch.ones(4, dtype=torch.float64))


def test_the_error_is_that_of_the_best_term() -> None:
    # Two terms that have nothing in common: one of them stays, of size 4, and the error is the other's share.
    weight = torch.zeros(2, 2, 3, 3)
    weight[0, 0, 1, 1], weight[1, 1, 0, 2] = 4, 3
    terms = parafac(weight, 1)
    assert terms.error == pytest.approx(0.6, abs=1e-3)
    assert float(terms.sizes) == pytest.approx(4, rel=1e-3)
    reduce, column, row, expand = (part.flatten() for part in terms.parts())
    assert float(reduce[0] * column[1] * row[1] * expand[0]) == pytest.approx(4, rel=1e-3)
    assert abs(float(reduce[0])) == pytest.approx(abs(float(expand[0])), rel=1e-6)


def test_the_same_seed_gives_the_same_terms() -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(5))
    first, second, other = (parafac(weight, 5, seed, 1) for seed in (0, 0, 1))
    assert torch.equal(first.built(), second.built())
    assert not torch.equal(first.built(), other.built())


def test_more_starts_and_more_terms_are_not_worse() -> None:
    weight = torch.randn(8, 6, 3, 3, generator=torch.Generator().manual_seed(5))
    assert parafac(weight, 6, restarts=3).error <= parafac(weight, 6, restarts=1).error
    errors = [parafac(weight, rank).error for rank in (2, 6, 18)]
    assert errors == sorted(errors, reverse=True)


def test_terms_do_not_grow_to_cancel_one_another() -> None:
    # aab + aba + baa has rank 3, and two terms of opposite signs come as near as they are large (de Silva, Lim 2008).
    a, b = torch.eye(2, dtype=torch.float64)
    weight = sum(torch.einsum("o,i,h->oih", *three) for three in ((a, a, b), (a, b, a), (b, a, a)))
    assert isinstance(weight, Tensor)
    terms = parafac(weight[..., None], 2)
    assert float(terms.sizes.square().sum() / weight.square().sum()) <= MOST_CANCELLED
    assert terms.error == pytest.approx(0.037, abs=0.005)


def test_a_kernel_of_zeros_stays_one() -> None:
    conv = nn.Conv2d(3, 4, 3, bias=False)
    nn.init.zeros_(conv.weight)
    chain, error = decompose_apart(conv, 2)
    assert error == 0.0 and float(chain(torch.ones(1, 3, 5, 5)).abs().max()) == 0.0


@pytest.mark.parametrize("how", [
    {"padding": 1},
    {"stride": 2, "padding": 2, "dilation": 2},
    {"stride": (2, 1), "padding": (0, 1)},
])  # fmt: skip
def test_a_chain_computes_what_the_convolution_did(how: dict[str, int]) -> None:
    conv = nn.Conv2d(10, 12, 3, **how)
    with torch.no_grad():
        conv.weight.copy_(of_rank(3, 12, 10, 3, 3) / 20)
    chain, error = decompose_apart(conv, 3)
    assert [tuple(part.weight.shape) for part in chain.children()] == [
        (3, 10, 1, 1), (3, 1, 3, 1), (3, 1, 1, 3), (12, 3, 1, 1)
    ]  # fmt: skip
    assert error < 1e-5
    x = torch.randn(2, 10, 9, 11)
    with torch.no_grad():
        assert torch.allclose(chain(x), conv(x), atol=1e-4)
    assert [part.bias is not None for part in chain.children()] == [False, False, False, True]


def single(rank: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(24, 32, 3, stride, padding=1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(of_rank(rank, 32, 24, 3, 3))
    return nn.Sequential(nn.Conv2d(3, 24, 1), conv)


def split_second(model: nn.Module, rule: Rule) -> Report:
    return factorise(model, (8, 8), rule, ["1"])[1]


@pytest.mark.parametrize("stride", [1, 2])
def test_macs_are_told_as_they_are_counted(stride: int) -> None:
    (split,) = (report := split_second(single(40, stride), Rule(ratio=0.5, method="cp"))).splits
    # Half of the larger side.
    assert (split.ranks, split.method) == ((16, 16), "cp")
    assert report.before.macs - report.after.macs == split.macs_before - split.macs_after
    height = 8 // stride
    assert split.macs_after == 16 * (24 * 64 + 3 * height * 8 + (3 + 32) * height**2)


def test_energy_takes_the_smallest_rank_that_keeps_it() -> None:
    (split,) = split_second(single(12), Rule(energy=0.9999, multiple=4, method="cp")).splits
    assert split.ranks == (12, 12) and split.error < 0.01
    with pytest.raises(KitError, match="worth splitting"):
        split_second(single(200), Rule(energy=0.9999, method="cp"))


def test_saving_takes_the_largest_rank_within_its_budget() -> None:
    (split,) = split_second(single(40), Rule(saving=0.5, method="cp")).splits
    per_rank = split.macs_after // split.ranks[0]
    assert split.macs_after <= split.macs_before / 2 < split.macs_after + 8 * per_rank
    with pytest.raises(KitError, match="worth splitting"):
        split_second(single(40), Rule(saving=0.99, method="cp"))
    with pytest.raises(KitError, match="method 'svd'"):
        Rule(saving=0.5, method="svd")  # type: ignore[arg-type]


def exact() -> PSPNet:
    """A network whose head has rank 8, so that its chain can be exact."""
    model = settled(PLAIN)
    with torch.no_grad():
        model.head.conv.weight.copy_(of_rank(8, *model.head.conv.weight.shape) / 10)
    return model


def test_a_network_computes_the_same_comes_back_and_can_be_pruned() -> None:
    model = exact()
    smaller, report = factorise(model, (48, 64), Rule(energy=0.99999, method="cp"), ["head.*"])
    assert [(split.name, split.ranks) for split in report.splits] == [("head.conv", (8, 8))]
    again = build(PLAIN)
    fit_to(again, smaller.state_dict())
    again.load_state_dict(smaller.state_dict())
    x = inputs(2)
    with torch.no_grad():
        assert torch.allclose(smaller(x), model(x), atol=1e-3)
        assert torch.equal(again.eval()(x), smaller(x))
    with pytest.raises(KitError, match="worth splitting"):
        factorise(smaller, (48, 64), Rule(saving=0.3, method="cp"), ["head.*"])
    from pspnet_kit.compress.importance import magnitude
    from pspnet_kit.compress.prune import Settings

    target = round(0.6 * totals(smaller, 48, 64).macs)
    thin, _ = prune(smaller, (48, 64), magnitude(1), target, Settings(multiple=2, minimum=2))
    back = build(PLAIN)
    fit_to(back, thin.state_dict())
    assert {layer.name: layer.outputs for layer in count(back, 48, 64)} == {
        layer.name: layer.outputs for layer in count(thin, 48, 64)
    }


@pytest.mark.parametrize("gone", ["reduce", "column", "row", "expand"])
def test_a_chain_that_lacks_a_factor_is_refused(gone: str) -> None:
    smaller, _ = factorise(exact(), (48, 64), Rule(ratio=0.2, method="cp"), ["head.*"])
    state = smaller.state_dict()
    del state[f"head.conv.{gone}.weight"]
    with pytest.raises(KitError, match=r"no splitting of head\.conv"):
        fit_to(build(PLAIN), state)
    whole = {**smaller.state_dict(), "head.conv.row.weight": torch.zeros(8, 1, 1, 5)}
    with pytest.raises(KitError, match=r"head\.conv\.row\.weight: is 8x1x1x5"):
        fit_to(build(PLAIN), whole)


def test_int8_of_a_chain_runs_in_litert_and_on_the_edge_tpu(tmp_path: Path) -> None:
    smaller, _ = factorise(exact(), (48, 64), Rule(energy=0.99999, method="cp"), ["head.*"])
    ir = quantise(trace(smaller.eval(), inputs(1)), pictures(3))
    export_tflite(ir, tmp_path / "model.tflite", "test")
    seen = np.stack(pictures(5)[3:])
    runner = TfliteRunner(tmp_path / "model.tflite")
    expected = simulate(ir, torch.from_numpy(seen))[ir.graph.output].permute(0, 2, 3, 1).numpy()
    assert len(np.unique(expected)) > 20
    assert np.abs(runner.raw(seen).astype(int) - expected).max() <= 1
    with torch.no_grad():
        exactly = smaller(inputs(5)[3:]).permute(0, 2, 3, 1).numpy()
    assert ((runner(seen) - exactly) ** 2).mean() < 0.02 * exactly.var()
    verdict = inspected.judged(tmp_path / "model.tflite")
    assert verdict.passes
    named = {tensor.name for placement in verdict.placements for tensor in placement.operator.outputs}
    assert {f"head.conv.{part}" for part in ("reduce", "column", "row")} <= named


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = save(tmp_path / "a.pt", tiny()), tmp_path / "b.pt"
    parser = argparse.ArgumentParser()
    command.configure(parser)
    given = [str(source), "--out", str(out), "--method", "cp", "--saving", "0.5", "--only", "head.*"]
    command.run(parser.parse_args(given))
    model, meta = checkpoint.load_model(out)
    assert [name for name, _ in model.head.conv.named_children()] == ["reduce", "column", "row", "expand"]
    assert meta["history"][0]["rule"]["method"] == "cp"
    assert meta["history"][0]["after"]["macs"] == totals(model, 96, 96).macs
    assert "head.conv" in capsys.readouterr().out
    out.unlink()
    with pytest.raises(KitError, match="--seed -1: expected 0"):
        command.run(parser.parse_args([*given, "--seed", "-1"]))
    assert not out.exists()
