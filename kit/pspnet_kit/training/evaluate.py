"""mIoU while training, at the pictures' own size. The judge measures more."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn

from ..data import VOID
from ..data.augment import resize_input
from ..data.samples import Sample
from ..judge.metrics import Confusion
from .device import Ranks, autocast
from .losses import upsample


@torch.no_grad()
def mean_iou(model: nn.Module, samples: Sequence[Sample], size: tuple[int, int], ranks: Ranks) -> float:
    """Per cent, over the classes that are in the labels or predicted. Shared among the ranks."""
    model.eval()
    # As wide as labels can be: a rank without pictures does not know the classes, and all ranks must agree.
    confusion = Confusion(VOID)
    for image, label in samples[ranks.rank :: ranks.ranks]:
        x = resize_input(image, *size)[None].to(ranks.device, memory_format=torch.channels_last)
        with autocast(ranks.device, False):
            logits = model(x)
        height, width = label.shape
        confusion.add(label, upsample(logits.float(), (height, width)).argmax(1)[0].cpu().numpy())
    if ranks.ranks > 1:
        counts = torch.from_numpy(confusion.counts).to(ranks.device)
        dist.all_reduce(counts)
        confusion.counts = counts.cpu().numpy()
    score = confusion.mean_iou() * 100
    return 0.0 if math.isnan(score) else score
