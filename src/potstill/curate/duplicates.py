"""Exchanges that say the same as another, exactly or nearly.

Near-duplicates are proposed by MinHash (Broder 1997) in bands (Leskovec, Rajaraman and Ullman,
*Mining of Massive Datasets*, chapter 3), and each proposal is compared for real: chance can miss
a pair, and cannot make one. Of exchanges that are alike the one with the lowest exchange_id stays,
so the order of rows decides nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.overlap import (
    TEMPLATE_COUNT,
    TEMPLATE_SHARE,
    prompt_text,
)
from potstill.extras import extra_package
from potstill.text.forms import same_spacing
from potstill.text.reasoning import answer_of
from potstill.text.shingles import shingles_of
from potstill.text.tool_calls import Call, calls_text, with_calls
from potstill.text.words import words_of

Hashes = NDArray[np.uint64]

_PERMUTATIONS = 128
_SEED = 1
# How much a missed pair weighs against a proposal in vain, which only costs a comparison.
_WEIGHTS = (0.1, 0.9)


def exact_duplicates(rows: Sequence[Exchange], *, with_reasoning: bool) -> dict[str, str]:
    """Return the id of each exchange that repeats another one, and which.

    Messages, answer and tool calls are compared, but for case and spacing; reasoning only where
    it is trained on.
    """
    first: dict[bytes, str] = {}
    found = {}
    for row in sorted(rows, key=lambda row: row.exchange_id):
        keeper = first.setdefault(_content(row, with_reasoning), row.exchange_id)
        if keeper != row.exchange_id:
            found[row.exchange_id] = f"as {keeper[:12]}"
    return found


@dataclass(frozen=True)
class Shingled:
    """An exchange's shingles, as sorted hashes, and the bands' MinHash of them."""

    exchange_id: str
    prompt_id: str
    hashes: Hashes


def shingled(rows: Sequence[Exchange]) -> list[Shingled]:
    """Return the shingles of prompt and answer of each row, those of a template left out.

    A template's are in over 5% of all prompts, and over 20. An exchange that has no others keeps
    them all.
    """
    hashes = [_shingle_hashes(row) for row in rows]
    typical = _typical([row.prompt_id for row in rows], hashes)
    own = [np.setdiff1d(some, typical, assume_unique=True) for some in hashes]
    return [
        Shingled(row.exchange_id, row.prompt_id, some if len(some) else every)
        for row, some, every in zip(rows, own, hashes, strict=True)
    ]


def near_duplicates(rows: Sequence[Shingled], threshold: float) -> dict[str, str]:
    """Return the id of each row that is nearly one of the rows that stay, and which.

    Samples of one prompt are not compared with one another. Raises PotstillError where datasketch
    is not installed.
    """
    datasketch = extra_package("datasketch", "curate.near_duplicates")
    bands = _bands(threshold)
    index = datasketch.MinHashLSH(num_perm=_PERMUTATIONS, params=bands)
    blank = datasketch.MinHash(_PERMUTATIONS, seed=_SEED, hashfunc=int)
    kept: dict[str, Shingled] = {}
    found = {}
    for row in sorted(rows, key=lambda row: row.exchange_id):
        sketch = blank.copy()
        sketch.update_batch((row.hashes >> np.uint64(32)).tolist())
        alike = [
            key
            for key in index.query(sketch)
            if kept[key].prompt_id != row.prompt_id
            and _jaccard(kept[key].hashes, row.hashes) >= threshold
        ]
        if alike:
            found[row.exchange_id] = f"like {min(alike)[:12]}"
        else:
            kept[row.exchange_id] = row
            index.insert(row.exchange_id, sketch)
    return found


@lru_cache
def _bands(threshold: float) -> tuple[int, int]:
    """Return how many bands of how many hashes propose pairs of that similarity best."""
    datasketch = extra_package("datasketch", "curate.near_duplicates")
    index = datasketch.MinHashLSH(threshold, num_perm=_PERMUTATIONS, weights=_WEIGHTS)
    return index.b, index.r


def _content(row: Exchange, with_reasoning: bool) -> bytes:
    answer = f"{row.reasoning or ''}\n{row.response}" if with_reasoning else answer_of(row)
    parts = [[m["role"], *_said(m["content"], m.get("tool_calls") or ())] for m in row.messages]
    parts.append(_said(answer, row.calls))
    # Not canonical_json: half a surrogate pair has no UTF-8.
    text = "\0".join(f"{len(value)}:{value}" for part in parts for value in part)
    return blake3(text.encode("utf-8", "surrogatepass")).digest(length=16)


def _said(text: str, calls: Sequence[Call]) -> list[str]:
    # Without the calls' ids, which every answer has of its own.
    return [same_spacing(text), calls_text(calls)]


def _shingle_hashes(row: Exchange) -> Hashes:
    words = words_of(f"{prompt_text(row.messages)}\n{with_calls(answer_of(row), row.calls)}")
    digests = [
        blake3(" ".join(shingle).encode("utf-8", "surrogatepass")).digest(length=8)
        for shingle in shingles_of(words)
    ]
    return np.unique(np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64))


def _typical(prompt_ids: Sequence[str], hashes: Sequence[Hashes]) -> Hashes:
    """Return the shingles that a template puts into many prompts; samples of one count once."""
    by_prompt: dict[str, list[Hashes]] = {}
    for prompt_id, some in zip(prompt_ids, hashes, strict=True):
        by_prompt.setdefault(prompt_id, []).append(some)
    if not by_prompt:
        return np.zeros(0, dtype=np.uint64)
    every = np.concatenate([np.unique(np.concatenate(some)) for some in by_prompt.values()])
    shingles, counts = np.unique(every, return_counts=True)
    return shingles[counts > max(TEMPLATE_COUNT, TEMPLATE_SHARE * len(by_prompt))]


def _jaccard(one: Hashes, other: Hashes) -> float:
    shared = len(np.intersect1d(one, other, assume_unique=True))
    return shared / (len(one) + len(other) - shared)
