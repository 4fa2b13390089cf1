"""Draws as bytes: ids by Elias-Fano coding, counts by Elias gamma codes, entropies as fp16.

All rows of a response form one ascending sequence, in which row r's ids count from r times the
width: so no row's length has to be stored, and an id costs about log2(width / ids in a row) + 2
bits. Layout: number of ids (4 bytes), entropies, then the bits of ids and counts.
"""

from __future__ import annotations

import numpy as np
import torch

from potstill.exchanges.codecs import integers
from potstill.exchanges.targets import Draws


def to_bytes(draws: Draws) -> bytes:
    """Return draws as bytes."""
    used_RU = (draws.count_RU > 0).cpu().numpy()
    row_N, _ = np.nonzero(used_RU)
    ids_N = draws.ids_RU.cpu().numpy().astype(np.int64)[used_RU]
    count_N = draws.count_RU.cpu().numpy().astype(np.int64)[used_RU]
    entropy_R = draws.entropy_R.cpu().float().numpy().astype("<f2")
    universe = len(draws) * draws.width
    ids = integers.ascending_bits(row_N * draws.width + ids_N, universe)
    bits = np.concatenate([ids, integers.count_bits(count_N)])
    number = len(ids_N).to_bytes(4, "little")
    return number + bytes(entropy_R.tobytes()) + integers.to_bytes(bits)


def from_bytes(rows: int, width: int, data: integers.Data) -> Draws:
    """Return the draws that `to_bytes` was given, their entropies as fp16 rounded them."""
    view = memoryview(data)
    number = int.from_bytes(view[:4], "little")
    entropy_R = np.frombuffer(view[4 : 4 + 2 * rows], "<f2").astype(np.float32)
    bits = integers.from_bytes(view[4 + 2 * rows :])
    place_N, end = integers.ascending_from(bits, number, rows * width)
    count_N, _ = integers.counts_from(bits[end:], number)
    row_N, id_N = np.divmod(place_N, max(1, width))
    ids_RU, count_RU = padded_rows(rows, row_N, id_N, count_N)
    return Draws(ids_RU, count_RU, torch.from_numpy(entropy_R), width)


def padded_rows(
    rows: int, row_N: integers.Ints, *values_N: integers.Ints
) -> tuple[torch.Tensor, ...]:
    """Return for each sequence of values a tensor with one row for each of `rows`, zeros behind.

    `row_N` ascends and says which row a value is in.
    """
    length_R = np.bincount(row_N, minlength=rows)
    place_N = np.arange(len(row_N)) - (np.cumsum(length_R) - length_R)[row_N]
    shape = (rows, int(length_R.max(initial=0)))
    filled = []
    for value_N in values_N:
        table_RU = np.zeros(shape, np.int64)
        table_RU[row_N, place_N] = value_N
        filled.append(torch.from_numpy(table_RU))
    return tuple(filled)
