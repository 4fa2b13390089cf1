"""Ridge regression from sums over tokens, and how strong its pull is to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.models.precision import fast_products
from potstill.shrink.streams import gram_of

# Shares of the recipe's ridge that are tried where text says how strong the pull is to be.
_PULLS = (1.0, 0.3, 0.1, 0.03, 0.01, 0.003)


@dataclass
class NormalEquations:
    """Sums over tokens: gram_FF = x^T x, cross_DF = residual^T x, in fp32."""

    gram_FF: Tensor
    cross_DF: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, features: int, outputs: int, device: torch.device) -> NormalEquations:
        """Return sums over nothing."""
        return cls(
            torch.zeros(features, features, device=device),
            torch.zeros(outputs, features, device=device),
        )

    def add(self, input_NF: Tensor, residual_ND: Tensor) -> None:
        """Add tokens: what the map reads, and what its output lacks."""
        gram_of(input_NF, into=self.gram_FF)
        # Where maps compute in bf16 their residuals are rounded to it: the noise of single tokens.
        with fast_products(bf16=input_NF.dtype == torch.bfloat16):
            self.cross_DF.addmm_(residual_ND.float().T, input_NF.float())
        self.tokens += len(input_NF)

    def plus(self, other: NormalEquations) -> NormalEquations:
        """Return the sums over both texts."""
        return NormalEquations(
            self.gram_FF + other.gram_FF,
            self.cross_DF + other.cross_DF,
            self.tokens + other.tokens,
        )

    def loss(self, delta_DF: Tensor) -> float:
        """Return sum |residual - delta x|^2 - sum |residual|^2."""
        delta_DF = delta_DF.double()
        explained = (delta_DF * self.cross_DF).sum()
        return float((delta_DF @ self.gram_FF.double() * delta_DF).sum() - 2 * explained)

    def correction(self, ridge: float, widths: Sequence[int] | None = None) -> Tensor:
        """Return delta_DF to add to the weight; float64 inside.

        `widths` are the maps' inputs that lie end to end, each with a pull of its own; inputs
        beyond them are pulled by nothing. Without, all are one map's.
        """
        gram_FF = self.gram_FF.double()
        pull_F = torch.zeros_like(gram_FF[0])
        end = 0
        for width in widths or [len(gram_FF)]:
            begin, end = end, end + width
            pull_F[begin:end] = ridge * gram_FF.diagonal()[begin:end].mean().clamp(min=1e-12)
        factor_FF = torch.linalg.cholesky(gram_FF + pull_F.diag())
        return torch.cholesky_solve(self.cross_DF.double().T, factor_FF).T.float()


def held_back(real_BT: Tensor) -> Tensor:
    """Return which tokens say how strong a pull is to be: those of every eighth text."""
    number_B1 = torch.arange(1, len(real_BT) + 1, device=real_BT.device)[:, None]
    return real_BT & (number_B1 % 8 == 0)


def chosen_ridge(
    sums: NormalEquations,
    held: NormalEquations,
    ridge: float,
    widths: Sequence[int] | None = None,
) -> float:
    """Return the share of `ridge` whose fit to `sums` does best on `held`; all if that is empty."""
    if held.tokens == 0:
        return ridge
    pulls = [ridge * share for share in _PULLS]
    return min(pulls, key=lambda pull: held.loss(sums.correction(pull, widths)))
