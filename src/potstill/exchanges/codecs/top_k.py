"""The likeliest tokens as bytes: ids by Elias-Fano coding, log-probabilities as fp16.

Layout: log-probabilities, then the bits of the ids, which count from r times the width in row r.
"""

from __future__ import annotations

import numpy as np
import torch

from potstill.exchanges.codecs import integers
from potstill.exchanges.targets import LikeliestTokens


def to_bytes(likeliest: LikeliestTokens) -> bytes:
    """Return likeliest tokens as bytes."""
    ids_RK = likeliest.ids_RK.cpu().numpy().astype(np.int64)
    rows, _ = ids_RK.shape
    place_RK = np.arange(rows)[:, None] * likeliest.width + ids_RK
    bits = integers.ascending_bits(place_RK.ravel(), rows * likeliest.width)
    logp_RK = likeliest.logp_RK.cpu().float().numpy().astype("<f2")
    return logp_RK.tobytes() + integers.to_bytes(bits)


def from_bytes(rows: int, width: int, count: int, data: integers.Data) -> LikeliestTokens:
    """Return what `to_bytes` was given, log-probabilities as fp16 rounded them."""
    view = memoryview(data)
    number = rows * count
    logp_N = np.frombuffer(view[: 2 * number], "<f2").astype(np.float32)
    bits = integers.from_bytes(view[2 * number :])
    place_N, _ = integers.ascending_from(bits, number, rows * width)
    ids_RK = torch.from_numpy((place_N % max(1, width)).reshape(rows, count))
    return LikeliestTokens(ids_RK, torch.from_numpy(logp_N.reshape(rows, count)), width)
