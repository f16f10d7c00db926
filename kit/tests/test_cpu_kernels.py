"""The fast kernels against PyTorch's own operators.

Whole numbers up to 256 are exact in bfloat16: where all sums are such numbers, results must be equal.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from needs import needs, suits
from torch import Tensor, nn

from pspnet_kit.model.blocks import ConvBN
from pspnet_kit.model.surgery import split, split_apart
from pspnet_kit.training import cpu_kernels
from pspnet_kit.training.cpu_kernels import NEEDED, _BatchNorm, _Depthwise, accelerate, load_kernels


@pytest.fixture(scope="module")
def kernels() -> Any:
    """Where the CPU has what they need."""
    flags = Path("/proc/cpuinfo").read_text().split()
    suits(set(NEEDED) <= set(flags), "the fast kernels need a processor with AVX-512")
    built = load_kernels()
    needs(built is not None, "the fast kernels can't be built here: they need a C++ compiler and ninja (kit/setup)")
    return built


def whole(*shape: int, most: int = 2, seed: int = 0) -> Tensor:
    """Random whole numbers from -most to most."""
    return torch.randint(-most, most + 1, shape, generator=torch.Generator().manual_seed(seed)).float()


@pytest.mark.parametrize("channels", [1, 7, 16, 19, 33])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_is_conv2d(kernels: Any, kernel: int, stride: int, channels: int) -> None:
    x, weight = whole(2, channels, 8, 10), whole(channels, 1, kernel, kernel, seed=1)
    # As TensorFlow pads: with stride 2 the odd zero goes right and below.
    total = kernel - stride
    before, after = total // 2, total - total // 2
    reference = [x.clone().requires_grad_(), weight.clone().requires_grad_()]
    wanted = F.conv2d(F.pad(reference[0], (before, after) * 2), reference[1], None, stride, groups=channels)
    own = [x.bfloat16().contiguous(memory_format=torch.channels_last).requires_grad_(), weight.clone().requires_grad_()]
    found = _Depthwise.apply(own[0], own[1], kernels, stride, before)
    assert found.dtype == torch.bfloat16 and found.shape == wanted.shape
    assert torch.equal(found.float(), wanted)
    gradient = whole(*wanted.shape, seed=2)
    mine = torch.autograd.grad(found, own, gradient.bfloat16())
    for one, other in zip(mine, torch.autograd.grad(wanted, reference, gradient), strict=True):
        assert torch.equal(one.float(), other)


@pytest.mark.parametrize("relu6", [True, False])
@pytest.mark.parametrize("channels", [5, 16, 35])
def test_batch_norm_is_torchs(kernels: Any, channels: int, relu6: bool) -> None:
    torch.manual_seed(channels)
    # Means far from zero, and so many cells that sums in one float32 would show.
    x = (torch.randn(3, channels, 20, 17) * 2 + 4).bfloat16().contiguous(memory_format=torch.channels_last)
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.3)
    with torch.no_grad():
        norm.weight.uniform_(-2, 3)
        norm.bias.uniform_(1, 4)
    theirs = copy.deepcopy(norm).double()
    reference = x.double().requires_grad_()
    wanted = theirs(reference)
    wanted = F.relu6(wanted) if relu6 else wanted
    own = x.clone().requires_grad_()
    found = _BatchNorm.apply(own, norm.weight, norm.bias, kernels, norm, relu6)
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-3)
    torch.testing.assert_close(norm.running_mean.double(), theirs.running_mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), theirs.running_var, rtol=1e-5, atol=1e-6)
    assert int(norm.num_batches_tracked) == 1
    gradient = torch.randn(wanted.shape).bfloat16()
    mine = torch.autograd.grad(found, [own, norm.weight, norm.bias], gradient)
    other = torch.autograd.grad(wanted, [reference, theirs.weight, theirs.bias], gradient.double())
    torch.testing.assert_close(mine[0].double(), other[0], rtol=2**-7, atol=5e-3)
    for a, b in zip(mine[1:], other[1:], strict=True):
        torch.testing.assert_close(a.double(), b, rtol=1e-4, atol=1e-3)


BLOCKS = {
    "pointwise": lambda: ConvBN(12, 20),
    "dense 3x3": lambda: ConvBN(12, 20, 3),
    "dilated": lambda: ConvBN(12, 20, 3, dilation=2),
    "stem": lambda: ConvBN(3, 20, 3, 2),
    "depthwise": lambda: ConvBN(12, 12, 5, 2, groups=12),
    "dilated depthwise": lambda: ConvBN(12, 12, 3, groups=12, dilation=2),
    "linear": lambda: ConvBN(12, 20, activation=None),
    "Tucker": lambda: factorised(ConvBN(12, 20, 3), 4, True, 6),
    "strided Tucker": lambda: factorised(ConvBN(12, 20, 3, 2), 4, True, 6),
    "CP": lambda: apart(ConvBN(12, 20, 3), 7),
    "strided CP": lambda: apart(ConvBN(12, 20, 3, 2), 7),
    "SVD": lambda: factorised(ConvBN(12, 20), 5, False, 5),
}


def factorised(block: ConvBN, reduce: int, core: bool, expand: int) -> ConvBN:
    block.conv = split(block.conv, reduce, core, expand)
    return block


def apart(block: ConvBN, rank: int) -> ConvBN:
    block.conv = split_apart(block.conv, rank)
    return block


@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_train_as_before(kernels: Any, name: str) -> None:
    torch.manual_seed(0)
    block = BLOCKS[name]()
    for parameter in block.conv.parameters():
        # Weights that bfloat16 holds exactly: what differs is the activations' rounding alone.
        parameter.data = parameter.data.bfloat16().float()
    fast = copy.deepcopy(block)
    assert accelerate(fast)
    inputs = next(block.conv.parameters()).shape[1] if "depthwise" not in name else 12
    x = torch.randn(4, inputs, 12, 14).bfloat16().float().contiguous(memory_format=torch.channels_last)
    ours, theirs = fast.train()(x), block.train()(x)
    assert ours.shape == theirs.shape
    # Three roundings to 8 bits of numbers up to 6.
    assert float((ours.float() - theirs).abs().max()) < 0.1 and float((ours.float() - theirs).abs().mean()) < 0.01
    weighed = torch.randn(theirs.shape)
    (ours.float() * weighed).sum().backward()
    (theirs * weighed).sum().backward()
    for (key, mine), (_, other) in zip(fast.named_parameters(), block.named_parameters(), strict=True):
        assert mine.grad is not None and mine.grad.dtype == torch.float32, key
        alike = F.cosine_similarity(mine.grad.flatten(), other.grad.flatten(), 0)
        assert float(alike) > 0.995, key
    torch.testing.assert_close(fast.bn.running_var, block.bn.running_var, rtol=0.02, atol=1e-3)


def test_evaluation_and_state_stay_as_they_are(kernels: Any) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(ConvBN(3, 8, 3, 2), ConvBN(8, 8, 3, groups=8), ConvBN(8, 4))
    model(torch.randn(4, 3, 8, 8))
    x = torch.randn(1, 3, 8, 8)
    wanted, names = model.eval()(x), list(model.state_dict())
    assert accelerate(model)
    assert torch.equal(model(x), wanted)
    assert list(model.state_dict()) == names
    assert model.train()(x).dtype == torch.bfloat16


def test_a_copy_runs_with_its_own_weights(kernels: Any) -> None:
    block = ConvBN(4, 4)
    accelerate(block)
    copied = copy.deepcopy(block).train()
    with torch.no_grad():
        copied.bn.weight.zero_()
        copied.bn.bias.fill_(2.0)
    assert (copied(torch.randn(2, 4, 6, 6)) == 2).all()
    assert int(copied.bn.num_batches_tracked) == 1 and int(block.bn.num_batches_tracked) == 0


def test_without_kernels_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_kernels, "NEEDED", ("no such instructions",))
    block = ConvBN(3, 4)
    assert not accelerate(block)
    assert "forward" not in vars(block)
