"""A ridge for a linear map whose output passes a norm on its way to the residual stream.

With x_t the map's input at token t, y_t = W x_t, n_t = sqrt(mean y_t^2 + eps), u_t = y_t / n_t and
r_t what the stream lacks without the map's part, the block adds g * u_t, and the refit looks for

    L(W, g) = sum_t |r_t - g * u_t|^2  +  lambda sum_d c_d |w_d - w0_d|^2  +  mu |g - g0|^2

near the old W0 (rows w0_d) and g0, where c_d = g0_d^2 + tau mean g0^2 gives every row a pull in
proportion to its part of the output, lambda = ridge * mean diagonal of G at W0 with
G = sum_t x_t x_t^T / n_t^2, and mu = nu * tokens. In turns W and g are improved until L falls no
further. g is a least squares fit, one number a channel:

    g_d = (sum_t r_td u_td + mu g0_d) / (sum_t u_td^2 + mu)

W takes a step of Gauss and Newton, in which I - u u^T / D is what the norm lets through of each
direction (n times the derivative of y / n), and c_d (G + lambda I) stands for the Hessian of a row,
which has that projection in it. The step is halved until L falls:

    dw_d = (sum_t [(I - u_t u_t^T / D)(g * (r_t - g * u_t))]_d x_t / n_t - lambda c_d (w_d - w0_d))
           (c_d (G + lambda I))^-1

So one factor of one Gram matrix serves all rows and all steps. In the coordinates sqrt(c_d) dw_d
the first step is an ordinary ridge regression, by which texts that are held back say what share of
the ridge is best. Without a norm (n_t = 1, u_t = y_t, g = 1, no projection) L is quadratic and the
first step is the whole of it: the ridge regression of `potstill.shrink.heal`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.shrink.ridge import NormalEquations, chosen_ridge
from potstill.shrink.writing import RMSNorm

# tau: channels that hardly come through the norm are held by this share of the typical channel's.
_FLOOR = 0.01
# nu: the pull on a gain, as a share of a channel's mean energy after the norm, which is 1.
_GAIN_PULL = 0.01
_STEPS = 8
_HALVINGS = 6
# A step that wins less than this share of L is the last.
_LEAST_GAIN = 1e-3


@dataclass(frozen=True)
class Refit:
    """The map's new weight and the norm's new gain, in fp32, and L after each step."""

    weight_DF: Tensor
    gain_D: Tensor
    losses: tuple[float, ...]


def refit_normed(
    weight_DF: Tensor,
    bias_D: Tensor | None,
    norm: RMSNorm,
    inputs: Sequence[Tensor],
    wanted: Sequence[Tensor],
    ridge: float,
    back: Sequence[Tensor] | None = None,
) -> Refit:
    """Return the weight and gain that add most nearly what is wanted of the block.

    `inputs` holds input_NF of the map and `wanted` r_ND, in parts of some tokens. `back`, where
    given, says of each token whether it helps to choose the share of `ridge` taken. What the weight
    is multiplied with and added up over is fp32, the system is solved in float64.
    """
    problem = _Problem.of(weight_DF, bias_D, norm, inputs, wanted, ridge, back)
    weight_DF, gain_D = weight_DF.float(), problem.gain0_D
    outputs = [problem.output(weight_DF, part) for part in inputs]
    gain_D = problem.best_gain(outputs)
    losses = [problem.loss(outputs, weight_DF, gain_D)]
    for _ in range(_STEPS):
        step_DF = problem.step(outputs, weight_DF, gain_D)
        moves = [part.float() @ step_DF.T for part in inputs]
        for halving in range(_HALVINGS):
            share = 0.5**halving
            there = [o + share * move for o, move in zip(outputs, moves, strict=True)]
            there_DF = weight_DF + share * step_DF
            if problem.loss(there, there_DF, gain_D) < losses[-1]:
                break
        else:
            break
        outputs, weight_DF = there, there_DF
        gain_D = problem.best_gain(outputs)
        losses.append(problem.loss(outputs, weight_DF, gain_D))
        if losses[-2] - losses[-1] < _LEAST_GAIN * losses[-2]:
            break
    return Refit(weight_DF, gain_D, tuple(losses))


@dataclass(frozen=True)
class _Problem:
    """What L is made of. `factor_FF` is Cholesky's of G + lambda I, `pull_D` is lambda c."""

    bias_D: Tensor | None
    norm: RMSNorm
    inputs: Sequence[Tensor]
    wanted: Sequence[Tensor]
    weight0_DF: Tensor
    gain0_D: Tensor
    factor_FF: Tensor
    pull_D: Tensor
    hold_D: Tensor
    gain_pull: float

    @classmethod
    def of(
        cls,
        weight_DF: Tensor,
        bias_D: Tensor | None,
        norm: RMSNorm,
        inputs: Sequence[Tensor],
        wanted: Sequence[Tensor],
        ridge: float,
        back: Sequence[Tensor] | None,
    ) -> _Problem:
        weight0_DF, gain0_D = weight_DF.float().clone(), norm.gain_D.clone()
        hold_D = gain0_D.double().pow(2)
        hold_D = (hold_D + _FLOOR * hold_D.mean()).clamp(min=1e-12)
        outputs, features = weight0_DF.shape
        sums, held = (NormalEquations.empty(features, outputs, weight0_DF.device) for _ in range(2))
        back = back or [torch.zeros(len(p), dtype=torch.bool, device=p.device) for p in inputs]
        for input_NF, wanted_ND, back_N in zip(inputs, wanted, back, strict=True):
            length_N1, lacking_ND = _downhill(
                _linear(weight0_DF, bias_D, input_NF), wanted_ND, gain0_D, norm.eps
            )
            reads_NF, lacking_ND = input_NF.float() / length_N1, lacking_ND / hold_D.sqrt().float()
            sums.add(reads_NF[~back_N], lacking_ND[~back_N])
            held.add(reads_NF[back_N], lacking_ND[back_N])
        gram_FF = sums.plus(held).gram_FF.double()
        pull = chosen_ridge(sums, held, ridge) * gram_FF.diagonal().mean().clamp(min=1e-12)
        system_FF = gram_FF + pull * torch.eye(features, device=gram_FF.device).double()
        return cls(
            bias_D,
            norm,
            inputs,
            wanted,
            weight0_DF,
            gain0_D,
            torch.linalg.cholesky(system_FF),
            pull * hold_D,
            hold_D,
            _GAIN_PULL * sum(map(len, inputs)),
        )

    def output(self, weight_DF: Tensor, input_NF: Tensor) -> Tensor:
        """Return y_ND."""
        return _linear(weight_DF, self.bias_D, input_NF)

    def loss(self, outputs: Sequence[Tensor], weight_DF: Tensor, gain_D: Tensor) -> float:
        """Return L."""
        lost = sum(
            float((wanted_ND - gain_D * self.norm.unit(output_ND)).double().pow(2).sum())
            for output_ND, wanted_ND in zip(outputs, self.wanted, strict=True)
        )
        pulled = (self.pull_D[:, None] * (weight_DF - self.weight0_DF).double().pow(2)).sum()
        held = self.gain_pull * (gain_D - self.gain0_D).double().pow(2).sum()
        return lost + float(pulled + held)

    def best_gain(self, outputs: Sequence[Tensor]) -> Tensor:
        """Return the gain_D at which L is least, given the map's outputs."""
        energy_D = torch.full_like(self.hold_D, self.gain_pull)
        cross_D = self.gain_pull * self.gain0_D.double()
        for output_ND, wanted_ND in zip(outputs, self.wanted, strict=True):
            unit_ND = self.norm.unit(output_ND)
            energy_D += unit_ND.pow(2).sum(0)
            cross_D += (unit_ND * wanted_ND).sum(0)
        return (cross_D / energy_D).float()

    def step(self, outputs: Sequence[Tensor], weight_DF: Tensor, gain_D: Tensor) -> Tensor:
        """Return dw_DF."""
        cross_DF = torch.zeros_like(weight_DF)
        for input_NF, output_ND, wanted_ND in zip(self.inputs, outputs, self.wanted, strict=True):
            length_N1, lacking_ND = _downhill(output_ND, wanted_ND, gain_D, self.norm.eps)
            cross_DF.addmm_((lacking_ND / length_N1).T, input_NF.float())
        downhill_DF = cross_DF.double() - self.pull_D[:, None] * (weight_DF - self.weight0_DF)
        solved_DF = torch.cholesky_solve(downhill_DF.T, self.factor_FF).T
        return (solved_DF / self.hold_D[:, None]).float()


def _linear(weight_DF: Tensor, bias_D: Tensor | None, input_NF: Tensor) -> Tensor:
    output_ND = input_NF.float() @ weight_DF.T
    return output_ND if bias_D is None else output_ND + bias_D.float()


def _downhill(
    output_ND: Tensor, wanted_ND: Tensor, gain_D: Tensor, eps: float
) -> tuple[Tensor, Tensor]:
    """Return n_N1 and (I - u u^T / D)(g * (r - g * u))."""
    length_N1 = (output_ND.pow(2).mean(-1, keepdim=True) + eps).sqrt()
    unit_ND = output_ND / length_N1
    lacking_ND = gain_D * (wanted_ND - gain_D * unit_ND)
    return length_N1, lacking_ND - unit_ND * (unit_ND * lacking_ND).mean(-1, keepdim=True)
