"""The likeliest tokens as bytes: ids by Elias-Fano coding, log-probabilities as fp32.

Layout: the number of the layout (one byte), the tokens' log-probabilities, the rest's, then the
bits of the ids, which count from r times the width in row r.

Layout 1, which has no such byte, held the tokens' log-probabilities in fp16 and nothing of the
rest. It is told apart by its length, which rows, tokens and width give. fp16 moves each by up to
2^-11 of itself, and a rest of less than what that moves the sum cannot be told from none.
"""

from __future__ import annotations

import numpy as np
import torch

from potstill.errors import PotstillError
from potstill.exchanges.codecs import integers
from potstill.exchanges.targets import LikeliestTokens, with_rest

_LAYOUT = 2
_FP16_STEP = 2.0**-11
# Below 6e-5 fp16's steps stay as they are.
_FP16_LEAST = 2.0**-25


def to_bytes(likeliest: LikeliestTokens) -> bytes:
    """Return likeliest tokens as bytes."""
    ids_RK = likeliest.ids_RK.cpu().numpy().astype(np.int64)
    rows, _ = ids_RK.shape
    place_RK = np.arange(rows)[:, None] * likeliest.width + ids_RK
    bits = integers.ascending_bits(place_RK.ravel(), rows * likeliest.width)
    parts = [bytes([_LAYOUT])]
    parts += [t.cpu().float().numpy().astype("<f4").tobytes() for t in _figures(likeliest)]
    return b"".join([*parts, integers.to_bytes(bits)])


def from_bytes(rows: int, width: int, count: int, data: integers.Data) -> LikeliestTokens:
    """Return what `to_bytes` was given; of layout 1 as fp16 rounded it, with the rest as far as it
    is known. Raises PotstillError for a layout of a later version."""
    view = memoryview(data)
    number = rows * count
    # Their bits are as many as rows, count and width say; of no tokens there are none.
    ids = _id_bytes(rows, width, count)
    told = len(view) != 2 * number + ids
    if not told:
        logp_N = np.frombuffer(view[: 2 * number], "<f2").astype(np.float32)
        logp_RK = torch.from_numpy(logp_N.reshape(rows, count))
        logp_RK, rest_R = with_rest(logp_RK, _fp16_error(logp_RK), width)
    else:
        if view[0] != _LAYOUT:
            raise PotstillError(
                f"top-k targets have layout {view[0]}, which this version of potstill cannot read; "
                "read them with the version that wrote them, or newer"
            )
        figures_N = np.frombuffer(view[1 : len(view) - ids], "<f4").astype(np.float32)
        logp_RK = torch.from_numpy(figures_N[:number].reshape(rows, count))
        rest_R = torch.from_numpy(figures_N[number:])
    bits = integers.from_bytes(view[len(view) - ids :])
    place_N, _ = integers.ascending_from(bits, number, rows * width)
    ids_RK = torch.from_numpy((place_N % max(1, width)).reshape(rows, count))
    return LikeliestTokens(ids_RK, logp_RK, rest_R, width, told)


def _figures(likeliest: LikeliestTokens) -> tuple[torch.Tensor, torch.Tensor]:
    return likeliest.logp_RK, likeliest.rest_R


def _id_bytes(rows: int, width: int, count: int) -> int:
    return -(-integers.ascending_length(rows * count, rows * width) // 8)


def _fp16_error(logp_RK: torch.Tensor) -> torch.Tensor:
    """Return by how much fp16 may have moved the tokens' mass in each row."""
    exact_RK = logp_RK.double()
    step_RK = exact_RK.abs().mul(_FP16_STEP).clamp(min=_FP16_LEAST)
    return exact_RK.exp().mul(step_RK).sum(dim=-1)
