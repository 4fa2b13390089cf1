"""The keyed functions behind the marks that vLLM writes, as its documents and vectors have them.

Facts, each from vLLM's own material, none of its code:

- vLLM 0.33.0, the documentation "Text watermarking" and `WatermarkConfig`: one keyed function,
  `philox` of version `philox4x32-10-v1`, with a 64-bit key; `dual_key_gumbel` makes two keys of
  the one it is given. The project's tests (`tests/watermarking`) hold the vectors that ours are
  tested on.
- `sbw` is in no release: it is as pull request 56859 has it, with the vectors of its branch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from potstill.watermark.philox import Words, philox4x32

Ids = NDArray[Any]
State = tuple[Words, Words, Words, Words]

_CONTEXT_DOMAIN, _TOKEN_DOMAIN = 0x574D4358, 0x574D544B
_LOW = 0xFFFFFFFF
_INT31_MAX = 2**31 - 1
_MANTISSAS = 2**24


def derived_key(key: int, domain: Literal[b"key_a", b"key_b"]) -> int:
    """Return one of the two keys that `dual_key_gumbel` makes of the one it is given."""
    digest = hashlib.sha256(domain + key.to_bytes(8, "big")).digest()
    return int.from_bytes(digest[:8], "big")


def window_state(key: int, windows_KN: Sequence[Ids]) -> State:
    """Return the four words that Philox makes of each of N windows, the oldest token's ids first.

    The window goes through it four tokens at a time, chained by exclusive or. Up to four tokens
    this maps windows one to one. -1 is no token.
    """
    width, n = len(windows_KN), len(windows_KN[0])
    low, high = np.uint32(key & _LOW), np.uint32(key >> 32)
    state = tuple(np.full(n, word, np.uint32) for word in (_CONTEXT_DOMAIN, width, 0, 0))
    for begin in range(0, width, 4):
        block = [
            windows_KN[begin + i].astype(np.uint32)  # -1 becomes 2^32 - 1
            if begin + i < width
            else np.full(n, _LOW - i, np.uint32)  # a block that is not full
            for i in range(4)
        ]
        mixed = [word ^ more for word, more in zip(state, block, strict=True)]
        counter = (mixed[0], mixed[1], mixed[2], mixed[3])
        state = philox4x32(counter, (np.asarray(low ^ np.uint32(begin)), np.asarray(high)))
    return state[0], state[1], state[2], state[3]


def token_words(key: int, state: State, tokens_N: Ids) -> Words:
    """Return the 32-bit word that each token has after its window.

    Window state and token are the counter and the key of one more call; the token's lowest two bits
    choose among its four words.
    """
    low, high = np.uint32(key & _LOW), np.uint32(key >> 32)
    second = np.full(len(tokens_N), high ^ np.uint32(_TOKEN_DOMAIN), np.uint32)
    return _chosen(tokens_N, state[:3], (low ^ state[3], second))


def uniforms(words_N: Words) -> NDArray[np.float32]:
    """Return what the generator draws with: 24 bits of each word as a float within (0, 1)."""
    mantissa_N = (words_N >> np.uint32(8)).astype(np.float64)
    return ((mantissa_N + 1.0) / (_MANTISSAS + 1)).astype(np.float32)


def gumbel_scores(words_N: Words) -> NDArray[np.float64]:
    """Return -ln(1 - u) of each word, u being its 24 bits rounded down.

    Rounded down, a score is never above that of a uniform number that begins with these bits: the
    sum of n stays below a Gamma(n, 1) in distribution, so its tail is a valid p-value.
    """
    floor_N = (words_N >> np.uint32(8)).astype(np.float64) / _MANTISSAS
    return -np.log1p(-floor_N)


def sbw_seeds(key: int, windows_KN: Sequence[Ids], tokens_N: Ids) -> NDArray[np.uint64]:
    """Return the 64-bit Philox key that `sbw` (selfhash) has for each token after its window.

    The least, as signed numbers, of key x h(token)^2 and key x h(c) x h(token) over the tokens c of
    the window but its oldest. The window enters by one token at a time, so many windows share a
    seed: positions are told apart by seed and token, never by window.
    """
    with np.errstate(over="ignore"):
        hashed_N = _token_hash(tokens_N)
        keyed_N = np.uint64(key).astype(np.int64) * hashed_N
        least_N = keyed_N * hashed_N
        for ids_N in windows_KN[1:]:
            np.minimum(least_N, keyed_N * _token_hash(ids_N), out=least_N)
    return least_N.astype(np.uint64)


def sbw_green(seeds_N: NDArray[np.uint64], tokens_N: Ids, gamma: float) -> NDArray[np.bool_]:
    """Return whether each token is green under its seed."""
    zero = np.zeros(tokens_N.size, np.uint32)
    low_N = (seeds_N & np.uint64(_LOW)).astype(np.uint32)
    high_N = (seeds_N >> np.uint64(32)).astype(np.uint32)
    word_N = _chosen(tokens_N, (zero, zero, zero), (low_N, high_N))
    green_N: NDArray[np.bool_] = (word_N & np.uint32(_INT31_MAX)) < np.uint32(_below(gamma))
    return green_N


def sbw_rate(gamma: float) -> float:
    """Return the chance that a token is green, which rounding puts a little below gamma."""
    return _below(gamma) / 2**31


def _below(gamma: float) -> int:
    return int(gamma * _INT31_MAX)


def _chosen(tokens_N: Ids, rest: tuple[Words, Words, Words], key: tuple[Words, Words]) -> Words:
    """Return the word of the counter (token / 4, rest) that the token's lowest bits choose."""
    token_N = tokens_N.astype(np.uint32)
    drawn = philox4x32((token_N >> np.uint32(2), *rest), key)
    return np.choose(token_N & np.uint32(3), drawn)


def _token_hash(tokens: Ids) -> NDArray[np.int64]:
    """Return `sbw`'s signed 32-bit hash of token ids (Bob Jenkins's, of the id plus one)."""
    mixed = (tokens.astype(np.int64) + 1).astype(np.int32)
    with np.errstate(over="ignore"):
        mixed = mixed - (mixed << np.int32(6))
        mixed = mixed ^ (mixed >> np.int32(17))
        mixed = mixed - (mixed << np.int32(9))
        mixed = mixed ^ (mixed << np.int32(4))
        mixed = mixed - (mixed << np.int32(3))
        mixed = mixed ^ (mixed << np.int32(10))
        mixed = mixed ^ (mixed >> np.int32(15))
    return mixed.astype(np.int64)
