"""mIoU while training, at the pictures' own size. The judge measures more."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from ..data.augment import resize_input
from ..data.samples import Sample
from .device import Ranks, autocast
from .losses import upsample


@torch.no_grad()
def mean_iou(model: nn.Module, samples: Sequence[Sample], size: tuple[int, int], ranks: Ranks) -> float:
    """Per cent, over the classes that are in the labels or predicted. Shared among the ranks."""
    model.eval()
    confusion = torch.zeros(256 * 256, dtype=torch.int64)
    for image, label in samples[ranks.rank :: ranks.ranks]:
        x = resize_input(image, *size)[None].to(ranks.device, memory_format=torch.channels_last)
        with autocast(ranks.device, False):
            logits = model(x)
        predicted = upsample(logits.float(), label.shape).argmax(1)[0].cpu().numpy()
        known = label != 255
        cells = label[known].astype(np.int64) * 256 + predicted[known]
        confusion += torch.from_numpy(np.bincount(cells, minlength=256 * 256))
    if ranks.ranks > 1:
        confusion = confusion.to(ranks.device)
        dist.all_reduce(confusion)
    matrix = confusion.cpu().view(256, 256).double()
    hit = matrix.diagonal()
    union = matrix.sum(0) + matrix.sum(1) - hit
    present = union > 0
    return float((hit[present] / union[present]).mean() * 100) if present.any() else 0.0
