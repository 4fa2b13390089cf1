"""vLLM's keyed functions against its published vectors, and against plain Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from philox_oracle import plain
from scipy.special import gammaincc
from vllm_marking import first_windows, generated, gumbel, padded_windows, sbw

from potstill.watermark.vllm_prf import (
    derived_key,
    gumbel_scores,
    sbw_green,
    sbw_rate,
    sbw_seeds,
    token_words,
    uniforms,
    window_state,
)

FILE = Path(__file__).with_name("vllm_vectors.json")
VECTORS = json.loads(FILE.read_text(encoding="utf-8"))["vectors"]
TOKENS = st.integers(0, 2**20)


def number(value: str | float) -> float:
    return float.fromhex(value) if isinstance(value, str) else value


def scored(vector: dict[str, Any]) -> tuple[list[np.ndarray], np.ndarray]:
    """Return the windows and tokens of what vLLM's detector scores."""
    tokens, width = vector["tokens"], vector["width"]
    at = first_windows(tokens, width)
    if vector["deduplicate"] == "none":
        at = list(range(len(tokens)))
    windows = np.array(padded_windows(tokens, width))[at]
    return list(windows.T), np.array(tokens)[at]


def words(key: int, vector: dict[str, Any]) -> np.ndarray:
    windows_KN, tokens_N = scored(vector)
    return token_words(key, window_state(key, windows_KN), tokens_N)


def test_published_words() -> None:
    """`test_philox_raw_word_compatibility_vector` and `test_philox_compatibility_vector`."""
    windows_KN = list(np.array([[1, 2, 3, 4], [1, 2, 3, 4], [4, 5, 6, 7], [4, 5, 6, 7]]).T)
    found = token_words(42, window_state(42, windows_KN), np.array([7, 8, 7, 8]))
    assert found.tolist() == [425429266, 2706218805, 2494036831, 3424185538]
    mantissas = np.array([1661833, 10571167, 9742331, 13375724])
    assert (uniforms(found) == ((mantissas + 1) / (2**24 + 1)).astype(np.float32)).all()


@pytest.mark.parametrize("vector", [v for v in VECTORS if "keys" in v], ids=lambda v: v["id"])
def test_published_derived_keys(vector: dict[str, Any]) -> None:
    assert [derived_key(vector["key"], name) for name in (b"key_a", b"key_b")] == vector["keys"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["id"])
def test_published_detections(vector: dict[str, Any]) -> None:
    windows_KN, tokens_N = scored(vector)
    n, key = len(tokens_N), vector["detection_key"]
    assert n == vector["scored"]
    if vector["algorithm"] == "sbw":
        assert (
            sbw_green(sbw_seeds(key, windows_KN, tokens_N), tokens_N, 0.5).sum() == vector["score"]
        )
        return
    keys, weights = vector.get("keys", [key]), [1.0]
    if "keys" in vector:
        weights = [1 - vector["alpha"], vector["alpha"]]
    theirs = ours = 0.0
    for one, weight in zip(keys, weights, strict=True):
        u_N = uniforms(words(one, vector)).astype(np.float64)
        theirs += weight * float(-np.log1p(-u_N).sum())
        ours += weight * float(gumbel_scores(words(one, vector)).sum())
    assert theirs == pytest.approx(number(vector["score"]), rel=1e-9)
    # Ours is never larger, and smaller by what 24 bits leave open.
    assert theirs - n * 2**-23 <= ours <= theirs
    if "keys" not in vector:
        assert gammaincc(n, ours) == pytest.approx(number(vector["p"]), rel=1e-4)


@pytest.mark.parametrize(
    "vector",
    [v for v in VECTORS if v.get("alpha", 0) == 0],
    ids=lambda v: v["id"],
)
def test_published_generations(vector: dict[str, Any]) -> None:
    """What we take to be the marking writes the tokens that vLLM publishes."""

    def logits(position: int) -> np.ndarray:
        values = (np.arange(vector["vocabulary"]) * 37 + position * 17) % 131 - 56
        if "dominant" in vector:
            token, more = vector["dominant"]
            values[token] += more
        return (values / 16).astype(np.float32)

    draw = sbw if vector["algorithm"] == "sbw" else gumbel
    key = vector.get("keys", [vector["key"]])[0]
    length = len(vector["tokens"])
    found = generated(draw, key, vector["width"], logits, length, vector["deduplicate"])
    assert found == vector["tokens"]


def plain_word(key: int, window: list[int], token: int) -> int:
    """`philox4x32-10-v1` in whole numbers."""
    low, high = key % 2**32, key // 2**32
    state = [0x574D4358, len(window), 0, 0]
    for begin in range(0, len(window), 4):
        block = [token % 2**32 for token in window[begin : begin + 4]]
        block += [2**32 - 1 - i for i in range(len(block), 4)]
        mixed = [a ^ b for a, b in zip(state, block, strict=True)]
        state = plain(mixed, [low ^ begin, high])
    last = plain([token // 4, *state[:3]], [low ^ state[3], high ^ 0x574D544B])
    return last[token % 4]


@given(
    st.integers(0, 2**64 - 1),
    st.integers(1, 9).flatmap(
        lambda k: st.lists(
            st.tuples(st.lists(st.integers(-1, 2**20), min_size=k, max_size=k), TOKENS),
            min_size=1,
            max_size=4,
        )
    ),
)
def test_words_equal_plain_python(key: int, rows: list[tuple[list[int], int]]) -> None:
    windows_KN = list(np.array([window for window, _ in rows]).T)
    tokens_N = np.array([token for _, token in rows])
    found = token_words(key, window_state(key, windows_KN), tokens_N)
    assert found.tolist() == [plain_word(key, window, token) for window, token in rows]


def signed(value: int, bits: int) -> int:
    value %= 2**bits
    return value - 2**bits if value >= 2 ** (bits - 1) else value


def plain_hash(token: int) -> int:
    i = signed(token + 1, 32)
    i = signed(i - (i << 6), 32)
    i ^= i >> 17
    i = signed(i - (i << 9), 32)
    i = signed(i ^ (i << 4), 32)
    i = signed(i - (i << 3), 32)
    i = signed(i ^ (i << 10), 32)
    return i ^ (i >> 15)


@given(
    st.integers(0, 2**64 - 1),
    st.lists(st.integers(-1, 2**20), min_size=1, max_size=6),
    TOKENS,
)
def test_sbw_equals_plain_python(key: int, window: list[int], token: int) -> None:
    hashed = plain_hash(token)
    products = [hashed * hashed, *(plain_hash(c) * hashed for c in window[1:])]
    seed = min(signed(key * product, 64) for product in products) % 2**64
    tokens_N = np.array([token])
    found = sbw_seeds(key, [np.array([c]) for c in window], tokens_N)
    assert found.tolist() == [seed]
    word = plain([token // 4, 0, 0, 0], [seed % 2**32, seed // 2**32])[token % 4]
    for gamma in (0.25, 0.5):
        green = word % 2**31 < int(gamma * (2**31 - 1))
        assert sbw_green(found, tokens_N, gamma).tolist() == [green]


def test_the_rate_of_green_is_what_the_bits_give() -> None:
    assert sbw_rate(0.5) == 1073741823 / 2**31


def test_scores_lie_below_the_exponential_that_they_are_compared_with() -> None:
    """24 bits rounded down: exactly (1 - 2^-24 j) or less of the mass lies above each value."""
    words_N = np.array([0, 255, 256, 2**31, 2**32 - 1], np.uint32)
    assert gumbel_scores(words_N).tolist() == pytest.approx(
        [0, 0, 2**-24, np.log(2), 24 * np.log(2)], rel=1e-7
    )
