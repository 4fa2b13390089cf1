"""The keyed function of the tokens that survive truncation, each row's behind its own window."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from potstill.watermark import torch_prf
from potstill.watermark.blocks import in_threads
from potstill.watermark.schemes import GreenList, Gumbel

OwnScheme = GreenList | Gumbel
Window = tuple[int, ...]

# Half a step of the numbers in [0, 1): what 0 stands for where a logarithm is taken.
_LEAST = 2.0**-54
# Tokens that one thread takes of a row at a time. Fewer than these of all rows are no work to
# share: then one call for all of them costs the least.
_PIECE = 24_576


def tilted(scheme: GreenList, weight_RV: Tensor, windows: Sequence[Window]) -> Tensor:
    """Return weight_RV of marked text, as float64: e^-delta times as much where a token is red.

    `weight_RV` are the weights that survive, each row's with its window.
    """
    row_P, token_P = weight_RV.nonzero(as_tuple=True)
    green_P = of_tokens(scheme, windows, row_P, token_P)
    tilted_RV = weight_RV.to(torch.float64, copy=True)
    tilted_RV[row_P, token_P] *= torch.where(green_P, 1.0, math.exp(-scheme.delta)).double()
    return tilted_RV


def winners(scheme: Gumbel, weight_RV: Tensor, windows: Sequence[Window]) -> Tensor:
    """Return token_R that the key chooses of those that survive, each row's with its window.

    That is the token with the largest u^(1/p), which is the least -ln(u) / p.
    """
    if weight_RV.device.type == "cpu":
        return torch.from_numpy(_winners(scheme, weight_RV.numpy(), windows))
    row_P, token_P = weight_RV.nonzero(as_tuple=True)
    u_P = of_tokens(scheme, windows, row_P, token_P)
    cost_RV = torch.full(weight_RV.shape, math.inf, dtype=torch.float64, device=weight_RV.device)
    weight_P = weight_RV[row_P, token_P].double()
    cost_RV[row_P, token_P] = -torch.log(u_P.clamp(min=_LEAST)) / weight_P
    return cost_RV.argmin(-1)


def of_tokens(
    scheme: OwnScheme, windows: Sequence[Window], row_P: Tensor, token_P: Tensor
) -> Tensor:
    """Return the bit (green list) or number of tokens, each behind the window of its row."""
    window_RK = torch.tensor(windows, device=token_P.device)
    if token_P.device.type == "cpu":
        columns = window_RK[row_P].T.numpy()
        return torch.from_numpy(_function(scheme)(scheme.inputs(list(columns), token_P.numpy())))
    hash_P = torch_prf.siphash([*window_RK[row_P].T, token_P], scheme.subkey)
    if isinstance(scheme, GreenList):
        return torch_prf.below(hash_P, scheme.gamma)
    return torch_prf.uniforms_of(hash_P)


def behind(scheme: OwnScheme, window: Window, tokens_N: NDArray[Any]) -> NDArray[Any]:
    """Return the bit or number of tokens that follow one window."""
    # Columns that are one number broadcast are hashed as one number.
    columns = [np.broadcast_to(np.int64(i), tokens_N.shape) for i in window]
    return _function(scheme)(scheme.inputs(columns, tokens_N))


def _function(scheme: OwnScheme) -> Callable[[Any], NDArray[Any]]:
    return scheme.green if isinstance(scheme, GreenList) else scheme.uniforms


def _winners(
    scheme: Gumbel, weight_RV: NDArray[Any], windows: Sequence[Window]
) -> NDArray[np.int64]:
    tokens_R = [np.flatnonzero(weight_V) for weight_V in weight_RV]
    pieces = [
        (row, tokens[start : start + _PIECE])
        for row, tokens in enumerate(tokens_R)
        for start in range(0, len(tokens), _PIECE)
    ]

    def least(at: int) -> tuple[float, int]:
        row, tokens_P = pieces[at]
        return _least(behind(scheme, windows[row], tokens_P), weight_RV[row], tokens_P)

    if sum(map(len, tokens_R)) > _PIECE:
        found = in_threads(least, range(len(pieces)))
    else:
        lengths = [len(tokens) for tokens in tokens_R]
        columns = [np.repeat(column, lengths) for column in zip(*windows, strict=True)]
        u_P = scheme.uniforms(scheme.inputs(columns, np.concatenate(tokens_R)))
        u_R = np.split(u_P, np.cumsum(lengths)[:-1])
        found = [_least(u, weight_RV[row], tokens_R[row]) for row, u in enumerate(u_R)]
        pieces = list(enumerate(tokens_R))
    best: dict[int, tuple[float, int]] = {}
    for (row, _), one in zip(pieces, found, strict=True):
        best[row] = min(best.get(row, one), one)
    return np.array([best[row][1] for row in range(len(windows))], np.int64)


def _least(
    u_P: NDArray[np.float64], weight_V: NDArray[Any], tokens_P: NDArray[np.int64]
) -> tuple[float, int]:
    """Return the least cost of some tokens of a row, and whose it is."""
    cost_P = -np.log(np.maximum(u_P, _LEAST)) / weight_V[tokens_P].astype(np.float64)
    at = int(cost_P.argmin())
    return float(cost_P[at]), int(tokens_P[at])
