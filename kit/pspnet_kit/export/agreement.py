"""Holds an exported network to PyTorch's: the same logits on real pictures, up to rounding."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ..data.augment import resize_input
from ..errors import KitError
from ..model import PSPNet

TOLERANCE = 1e-3
"""Largest difference of a logit."""
EQUAL_ARGMAX = 0.999
"""Smallest share of cells with the same class."""

Inputs = NDArray[np.float32]
"""`[n, 3, h, w]`, RGB, (pixel - 127) / 128."""
Runner = Callable[[Inputs], NDArray[np.float32]]
"""An exported network: Inputs to logits `[n, classes, h / s, w / s]`."""


@dataclass(frozen=True)
class Agreement:
    """How far an exported network is from PyTorch's."""

    pictures: int
    max_difference: float
    equal_argmax: float
    """Share of cells, 0..1."""

    def __str__(self) -> str:
        return (
            f"largest difference of a logit {self.max_difference:.1e}, same class in {100 * self.equal_argmax:.2f} % "
            f"of the cells of {self.pictures} pictures"
        )


def deployable(model: PSPNet) -> PSPNet:
    """A copy for exports: on the CPU, in evaluation mode, without the auxiliary classifier."""
    network = copy.deepcopy(model).cpu().eval()
    if network.architecture.auxiliary:
        del network.auxiliary
        network.architecture = replace(network.architecture, auxiliary=False)
    return network


def example(height: int, width: int) -> torch.Tensor:
    """An input to trace with; its values do not matter."""
    return torch.zeros(1, 3, height, width)


def network_inputs(pictures: Sequence[NDArray[np.uint8]], height: int, width: int) -> Inputs:
    """Pictures `[h, w, 3]` of any size as the network's input."""
    return torch.stack([resize_input(picture, height, width) for picture in pictures]).numpy()


def check_export(model: PSPNet, run: Runner, inputs: Inputs, path: Path) -> Agreement:
    """Compares `run`, what was written to `path`, with `model`, picture by picture.

    Raises:
        KitError: when the shapes differ, a logit differs by more than TOLERANCE or fewer than EQUAL_ARGMAX of the cells
            have the same class.
    """
    network = deployable(model)
    difference, equal, cells = 0.0, 0, 0
    for picture in inputs:
        with torch.no_grad():
            expected = network(torch.from_numpy(picture[None])).numpy()
        found = run(picture[None])
        if found.shape != expected.shape:
            raise KitError(f"{path}: gives logits of shape {found.shape}, PyTorch gives {expected.shape}")
        worst = float(np.abs(found - expected).max())
        # A NaN compares false with everything: it must not pass as a small difference.
        difference = max(difference, worst) if np.isfinite(worst) else float("inf")
        equal += int((found.argmax(1) == expected.argmax(1)).sum())
        cells += expected[:, 0].size
    agreement = Agreement(len(inputs), difference, equal / cells)
    if agreement.max_difference > TOLERANCE or agreement.equal_argmax < EQUAL_ARGMAX:
        raise KitError(f"{path}: is not the network that was exported: {agreement}")
    return agreement
