"""SipHash-2-4 over token ids in torch, where logits are: the same bits as `prf` gives in numpy.

torch has no unsigned 64-bit arithmetic on every device. Sums and products of signed words have
the same bits; shifts to the right drag the sign along, which is masked off.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from potstill.watermark.prf import BITS, START, key_words

_WORD = 64


def siphash(columns: Sequence[Tensor], key: bytes) -> Tensor:
    """Return hash_N (int64, the bits of the unsigned word) of N messages; see `prf.siphash`."""
    k0, k1 = key_words(key)
    ids = [column.long() for column in columns]
    words = [a | (b << 32) for a, b in zip(ids[::2], ids[1::2], strict=False)]
    last = _signed((4 * len(ids) & 0xFF) << 56)
    words.append(ids[-1] | last if len(ids) % 2 else torch.full_like(ids[0], last))
    starts = [_signed(k ^ s) for k, s in zip((k0, k1, k0, k1), START, strict=True)]
    v0, v1, v2, v3 = (torch.full_like(ids[0], start) for start in starts)
    for word in words:
        v3 = v3 ^ word
        v0, v1, v2, v3 = _rounds(v0, v1, v2, v3, 2)
        v0 = v0 ^ word
    v0, v1, v2, v3 = _rounds(v0, v1, v2 ^ 0xFF, v3, 4)
    return v0 ^ v1 ^ v2 ^ v3


def uniforms_of(hash_N: Tensor) -> Tensor:
    """Return numbers in [0, 1) of hashes' upper 53 bits, as float64."""
    return _upper(hash_N).double() * 2.0**-BITS


def below(hash_N: Tensor, rate: float) -> Tensor:
    """Tell which of the hashes' numbers lie below a rate in (0, 1)."""
    return _upper(hash_N) < ceil(rate * 2.0**BITS)


def _upper(hash_N: Tensor) -> Tensor:
    return (hash_N >> (_WORD - BITS)) & ((1 << BITS) - 1)


def _rounds(
    v0: Tensor, v1: Tensor, v2: Tensor, v3: Tensor, count: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    for _ in range(count):
        v0 = v0 + v1
        v1 = _turned(v1, 13) ^ v0
        v0 = _turned(v0, 32)
        v2 = v2 + v3
        v3 = _turned(v3, 16) ^ v2
        v0 = v0 + v3
        v3 = _turned(v3, 21) ^ v0
        v2 = v2 + v1
        v1 = _turned(v1, 17) ^ v2
        v2 = _turned(v2, 32)
    return v0, v1, v2, v3


def _turned(word: Tensor, bits: int) -> Tensor:
    """Return words rotated to the left."""
    return (word << bits) | ((word >> (_WORD - bits)) & ((1 << bits) - 1))


def _signed(word: int) -> int:
    """Return the signed number of the same 64 bits."""
    return word - (1 << _WORD) if word >> (_WORD - 1) else word
