"""CP decomposition of a convolution's weights: `[outputs, inputs, kh, kw]` as a sum of products of four vectors.

The convolution becomes 1x1, kh x 1 depthwise, 1 x kw depthwise, 1x1 (Lebedev et al. 2015). Plain least squares can end
in large terms that cancel one another, which int8 cannot hold. Here a ridge on the terms' squares keeps them small, and
falls as long as they stay so.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RESTARTS = 3
"""One start from the unfoldings' singular vectors, the others at random."""
RIDGES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-6, 1e-9)
"""Of the weights' squared norm, one after another."""
SWEEPS = 100
"""At most, for each ridge."""
STALLED = 1e-4
"""A ridge is done when a sweep lowers its loss by less than this share."""
EXACT = 1e-14
"""Squared error, of the weights' squared norm, that is taken for none."""
MOST_CANCELLED = 4.0
"""The terms' squared norms together, over the weights' own: 1 where the terms are orthogonal."""


@dataclass(frozen=True)
class Terms:
    """`rank` products of unit vectors, each times its size."""

    factors: tuple[Tensor, Tensor, Tensor, Tensor]
    """`[outputs, rank]`, `[inputs, rank]`, `[kh, rank]`, `[kw, rank]`."""
    sizes: Tensor
    """`[rank]`"""
    error: float
    """Norm of the difference from the weights, over the norm of the weights."""

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights of the chain: reduce `[rank, inputs, 1, 1]`, column `[rank, 1, kh, 1]`, row `[rank, 1, 1, kw]` and
        expand `[outputs, rank, 1, 1]`. The terms' sizes are shared out between first and last, as svd() does."""
        outputs, inputs, column, row = self.factors
        root = self.sizes.sqrt()
        return (
            (inputs * root).T[:, :, None, None],
            column.T[:, None, :, None],
            row.T[:, None, None, :],
            (outputs * root)[:, :, None, None],
        )

    def built(self) -> Tensor:
        """The weights that the terms add up to."""
        outputs, inputs, column, row = self.factors
        return torch.einsum("or,ir,hr,wr->oihw", outputs * self.sizes, inputs, column, row)


def parafac(weight: Tensor, rank: int, seed: int = 0, restarts: int = RESTARTS) -> Terms:
    """The best of `restarts` fits by alternating least squares; the same seed gives the same terms."""
    weight = weight.detach().double()
    norm = float(weight.norm())
    if norm == 0:
        empty = [torch.zeros(size, rank, dtype=torch.float64) for size in weight.shape]
        return Terms((empty[0], empty[1], empty[2], empty[3]), torch.zeros(rank, dtype=torch.float64), 0.0)
    target = weight / norm
    best: Terms | None = None
    for attempt in range(restarts):
        generator = torch.Generator().manual_seed(seed + attempt)
        terms = _fit(target, _start(target, rank, generator, attempt == 0))
        if best is None or terms.error < best.error:
            best = terms
        if best.error**2 <= EXACT:
            break
    assert best is not None
    return Terms(best.factors, best.sizes * norm, best.error)


def _start(target: Tensor, rank: int, generator: torch.Generator, spectral: bool) -> list[Tensor]:
    """Unit columns; `spectral` ones begin with the singular vectors of the unfoldings, as far as there are any."""
    factors = []
    for mode, size in enumerate(target.shape):
        factor = torch.randn(size, rank, generator=generator, dtype=torch.float64)
        if spectral:
            unfolded = target.transpose(0, mode).flatten(1)
            vectors = torch.linalg.eigh(unfolded @ unfolded.T)[1].flip(1)[:, :rank]
            factor[:, : vectors.shape[1]] = vectors
        factors.append(factor / factor.norm(dim=0))
    return factors


def _fit(target: Tensor, factors: list[Tensor]) -> Terms:
    """Sweeps under a falling ridge, until the fit is exact or the terms begin to cancel one another."""
    kept: Terms | None = None
    for ridge in RIDGES:
        terms = _sweep(target, list(factors), ridge)
        if kept is not None and float(terms.sizes.square().sum()) > MOST_CANCELLED:
            break
        kept, factors = terms, list(terms.factors)
        if terms.error**2 <= EXACT:
            break
    assert kept is not None
    return kept


def _sweep(target: Tensor, factors: list[Tensor], ridge: float) -> Terms:
    """Minimises |target - sum|^2 + ridge * (the terms' squared sizes), one factor after another."""
    rank = factors[0].shape[1]
    eye = torch.eye(rank, dtype=torch.float64)
    loss, residual = float("inf"), 1.0
    sizes = torch.ones(rank, dtype=torch.float64)
    for _ in range(SWEEPS):
        for mode in range(4):
            others = [factor for other, factor in enumerate(factors) if other != mode]
            gram = torch.stack([factor.T @ factor for factor in others]).prod(0)
            # The Khatri-Rao product of the other three, in the order of the unfolding's columns.
            product = torch.einsum("ar,br,cr->abcr", *others).flatten(0, 2)
            projected = target.movedim(mode, 0).flatten(1) @ product
            solved = torch.linalg.solve(gram + ridge * eye, projected.T).T
            sizes = solved.norm(dim=0)
            factors[mode] = solved / sizes.clamp_min(1e-300)
        # After the last mode: the squared error from what is known, without building the sum.
        overlap = float((projected * solved).sum())
        residual = max(1.0 - 2 * overlap + float((gram * (solved.T @ solved)).sum()), 0.0)
        now = residual + ridge * float(sizes.square().sum())
        if loss - now <= STALLED * now or residual <= EXACT:
            break
        loss = now
    return Terms((factors[0], factors[1], factors[2], factors[3]), sizes, residual**0.5)


__all__ = ["Terms", "parafac"]
