"""What vLLM's generator does, in plain steps: the other side of what detection scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from potstill.watermark.vllm_prf import (
    sbw_green,
    sbw_seeds,
    token_words,
    uniforms,
    window_state,
)

Logits = Callable[[int], NDArray[np.float32]]


def columns(window: Sequence[int], count: int = 1) -> list[NDArray[np.int64]]:
    """Return a window as the columns that the keyed functions take."""
    return [np.full(count, token, np.int64) for token in window]


def padded_windows(tokens: Sequence[int], width: int) -> list[tuple[int, ...]]:
    """Return the window of each token, -1 where nothing was generated yet."""
    all_of_them = [-1] * width + list(tokens)
    return [tuple(all_of_them[i : i + width]) for i in range(len(tokens))]


def first_windows(tokens: Sequence[int], width: int) -> list[int]:
    """Return where each window occurs first: what vLLM's detector scores of a text."""
    seen: dict[tuple[int, ...], int] = {}
    for i, window in enumerate(padded_windows(tokens, width)):
        seen.setdefault(window, i)
    return list(seen.values())


def gumbel(key: int, window: Sequence[int], logits_V: NDArray[np.float32]) -> int:
    """Return the token that a key draws after a window."""
    vocabulary = np.arange(len(logits_V))
    state = window_state(key, columns(window, len(logits_V)))
    u_V = uniforms(token_words(key, state, vocabulary))
    noise_V = -np.log(-np.log(u_V))
    return int(np.argmax(logits_V + noise_V))


def sbw(key: int, window: Sequence[int], logits_V: NDArray[np.float32]) -> int:
    """Return the likeliest token where green ones are 2 above what they were."""
    vocabulary = np.arange(len(logits_V))
    seeds = sbw_seeds(key, columns(window, len(logits_V)), vocabulary)
    return int(np.argmax(logits_V + 2 * sbw_green(seeds, vocabulary, 0.5)))


def generated(
    draw: Callable[[int, Sequence[int], NDArray[np.float32]], int],
    key: int,
    width: int,
    logits: Logits,
    length: int,
    scope: str = "single_turn",
) -> list[int]:
    """Return an answer; a window that occurred before takes the likeliest token, unmarked."""
    tokens: list[int] = []
    seen: set[tuple[int, ...]] = set()
    for i in range(length):
        window = tuple(([-1] * width + tokens)[-width:])
        skipped = (scope != "none" and window in seen) or (scope == "all" and i < width)
        seen.add(window)
        tokens.append(int(np.argmax(logits(i))) if skipped else draw(key, window, logits(i)))
    return tokens
