"""Faster training on a few x86-64 cores: bfloat16 activations, and kernels for what PyTorch does slowly there.

Built at first use by the machine's C++ compiler; where that or AVX-512 is missing, training goes on without it. Nothing
else in the kit knows of it: `accelerate` swaps the forward pass of a model's convolutions while it trains.
"""

from __future__ import annotations

import logging
import types
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..model.blocks import ConvBN, SamePad

NEEDED = ("avx512f", "avx512bw", "avx512vl")
log = logging.getLogger(__name__)


def load_kernels() -> Any | None:
    """The compiled module; None, with the reason logged, where it can't be had."""
    try:
        flags = Path("/proc/cpuinfo").read_text().split("flags", 1)[-1].split("\n", 1)[0].split()
    except OSError:
        flags = []
    if not set(NEEDED) <= set(flags):
        log.info("no fast CPU kernels: the processor lacks AVX-512")
        return None
    try:
        from torch.utils.cpp_extension import load

        return load(
            "pspnet_kit_cpu",
            [str(Path(__file__).with_suffix(".cpp"))],
            extra_cflags=["-O3", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mfma"],
        )
    except (RuntimeError, OSError, ImportError) as error:
        reasons = [line for line in str(error).splitlines() if "error:" in line] or str(error).splitlines()
        log.info("no fast CPU kernels, training is slower: they do not build here (%s)", reasons[0].strip())
        return None


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, kernels: Any, stride: int, pad: int) -> Tensor:
        flat = weight.reshape(weight.shape[0], -1).t().contiguous()
        ctx.save_for_backward(x, flat)
        ctx.kernels, ctx.stride, ctx.pad, ctx.kernel = kernels, stride, pad, weight.shape[-1]
        height, width = (-(-size // stride) for size in x.shape[-2:])
        return kernels.depthwise(x, flat, height, width, stride, pad)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        x, flat = ctx.saved_tensors
        dx, dw = ctx.kernels.depthwise_backward(gradient.to(torch.bfloat16), x, flat, ctx.stride, ctx.pad)
        return dx, dw.t().reshape(-1, 1, ctx.kernel, ctx.kernel), None, None, None


class _BatchNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, kernels: Any, norm: nn.BatchNorm2d, relu6: bool
    ) -> Tensor:
        mean, variance = kernels.statistics(x)
        with torch.no_grad():
            count = x.numel() // x.shape[1]
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * (count / max(count - 1, 1)), norm.momentum)
            norm.num_batches_tracked += 1
        inverse = torch.rsqrt(variance + norm.eps)
        scale = weight.detach() * inverse
        shift = bias.detach() - mean * scale
        ctx.save_for_backward(x, scale, shift, mean, inverse)
        ctx.kernels, ctx.relu6 = kernels, relu6
        return kernels.scale_shift(x, scale, shift, relu6)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
        dx, gamma, beta = ctx.kernels.batch_norm_backward(gradient.to(torch.bfloat16), *ctx.saved_tensors, ctx.relu6)
        return dx, gamma, beta, None, None, None


def _forward(block: ConvBN, kernels: Any, x: Tensor) -> Tensor:
    if not block.training:
        return type(block).forward(block, x)
    x = x.to(torch.bfloat16)
    if isinstance(block.conv, nn.Conv2d):
        y = _convolve(block.conv, block.pad, kernels, x)
    else:
        # A factorised convolution; zeros stay zeros through its first factor, so padding may come before it.
        y = block.pad(x)
        for factor in block.conv:
            y = _convolve(factor, None, kernels, y)
    relu6 = isinstance(block.act, nn.ReLU6)
    y = _BatchNorm.apply(y, block.bn.weight, block.bn.bias, kernels, block.bn, relu6)
    return y if relu6 else block.act(y)


def _convolve(conv: nn.Conv2d, pad: nn.Module | None, kernels: Any, x: Tensor) -> Tensor:
    """`pad`: what stands before the convolution, still to be done."""
    if conv.kernel_size[0] != conv.kernel_size[1]:
        x = pad(x) if pad else x
        return F.conv2d(x, conv.weight.to(torch.bfloat16), None, conv.stride, conv.padding, conv.dilation, conv.groups)
    kernel, stride = conv.kernel_size[0], conv.stride[0]
    if conv.groups == conv.in_channels > 1 and kernel in (3, 5) and conv.dilation[0] == 1:
        before = pad.before if isinstance(pad, SamePad) else conv.padding[0]
        return _Depthwise.apply(x, conv.weight, kernels, stride, before)
    if kernel == 1 and stride == 1:
        weight = conv.weight.flatten(1).to(torch.bfloat16)
        return F.linear(x.permute(0, 2, 3, 1), weight).permute(0, 3, 1, 2)
    x = pad(x) if pad else x
    return F.conv2d(x, conv.weight.to(torch.bfloat16), None, stride, conv.padding, conv.dilation, conv.groups)


def accelerate(model: nn.Module) -> bool:
    """Swaps the convolutions' training forward pass; False where the kernels can't be had.

    Evaluation, state dict and gradients' types stay as they were.
    """
    kernels = load_kernels()
    if kernels is None:
        return False
    for block in model.modules():
        if isinstance(block, ConvBN):
            forward = types.MethodType(lambda self, x: _forward(self, kernels, x), block)
            block.forward = forward  # type: ignore[method-assign]  # of this block alone
    return True
