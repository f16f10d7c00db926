"""Where a run computes: CPU or GPU, alone or as one of several processes that torchrun started."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import torch
import torch.distributed as dist


@dataclass(frozen=True)
class Ranks:
    """This process among those of the run."""

    device: torch.device
    rank: int = 0
    ranks: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0


def join() -> Ranks:
    """Takes a GPU if there is one, and meets the other processes where torchrun's environment names them."""
    local = int(os.environ.get("LOCAL_RANK", 0))
    device = torch.device("cuda", local) if torch.cuda.is_available() else torch.device("cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = True
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        return Ranks(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Ranks(device, dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Parts from the other processes."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def autocast(device: torch.device, wanted: bool) -> contextlib.AbstractContextManager[None]:
    """Mixed precision in bfloat16: always on a GPU, on a CPU only if `wanted` (it pays only with the fast kernels)."""
    if device.type == "cuda" or wanted:
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()
