"""Keyed MinHash: what texts have in common, told without the texts.

Broder 1997, "On the resemblance and containment of documents"; Li and König 2010, "b-Bit Minwise
Hashing". A text is the set of its runs of three words, each a number s of 32 bits. Slot k of its
sketch comes of the least (a_k s + b_k) mod 2^32 over the set: two texts agree in a slot as often as
they share runs. Of that least number SipHash-2-4 under a secret key gives the 16 bits that are
stored: without the key nobody can try a guessed text against a sketch. Numbers are whole, so that
every engine and every version gets the same; `VERSION` names this definition.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.watch.words import MULTIPLIERS, TextWords, words_of
from potstill.watermark.prf import siphash

VERSION = 1
SLOTS = 64
SLOT_BITS = 16
SLOTS_A_BAND = 4
BANDS = SLOTS // SLOTS_A_BAND
SHINGLE = 3  # words
EDGE_WORDS = 8
_BLOCK = 1 << 15  # shingles whose numbers stay in a core's cache
_ONE = np.uint64(1)
_WHOLE, _HEAD, _TAIL = 1, 2, 3  # what of a text a hash is of


@dataclass(frozen=True)
class Sketched:
    """What is stored of N texts, null for a text without words.

    `sketch` has `BANDS` numbers of 64 bits a text, each four slots; `whole`, `head` and `tail` are
    keyed hashes of 64 bits of all words, the first eight and the last eight; `words` counts them.
    """

    sketch: pa.Array
    whole: pa.Array
    head: pa.Array
    tail: pa.Array
    words: pa.Array


def sketched(texts: pa.Array, key: bytes) -> Sketched:
    """Return the sketches and keyed hashes of texts under a key of 16 bytes."""
    found = words_of(texts)
    has = found.counts_N > 0
    there = TextWords(found.words_W, found.starts_N[has], found.counts_N[has])

    def hashed(first: NDArray[np.int64], count: NDArray[np.int64], use: int) -> pa.Array:
        return _spread(_keyed(_digests(there.words_W, first, count), use, key), has)

    few = np.minimum(there.counts_N, EDGE_WORDS)
    return Sketched(
        sketch=_listed(_bands(there, key), has),
        whole=hashed(there.starts_N, there.counts_N, _WHOLE),
        head=hashed(there.starts_N, few, _HEAD),
        tail=hashed(there.starts_N + there.counts_N - few, few, _TAIL),
        words=pa.array(
            found.counts_N.astype(np.int32), mask=np.asarray(texts.is_null()), type=pa.int32()
        ),
    )


def text_hashes(texts: pa.Array, key: bytes) -> pa.Array:
    """Return the keyed hash of all words of each text, as `Sketched.whole` has it."""
    found = words_of(texts)
    has = found.counts_N > 0
    digests = _digests(found.words_W, found.starts_N[has], found.counts_N[has])
    return _spread(_keyed(digests, _WHOLE, key), has)


def slots_of(sketches: pa.Array) -> NDArray[np.uint16]:
    """Return the slots of N sketches without nulls, as [N, SLOTS]."""
    bands = np.asarray(sketches.flatten()).reshape(-1, BANDS)
    return np.ascontiguousarray(bands.astype("<i8")).view("<u2").reshape(-1, SLOTS)


def similarity(one: NDArray[np.uint16], other: NDArray[np.uint16]) -> NDArray[np.float64]:
    """Return the estimated Jaccard similarity of texts, from their slots [..., SLOTS].

    Its standard error is at most 1 / (2 sqrt(SLOTS)), 0.0625; that slots agree by chance is taken
    out.
    """
    chance = 2.0**-SLOT_BITS
    agree = (one == other).mean(axis=-1)
    return np.asarray(np.clip((agree - chance) / (1 - chance), 0.0, 1.0))


def _bands(found: TextWords, key: bytes) -> NDArray[np.int64]:
    least = _least(found)
    count = least.shape[1]
    number = np.repeat(np.arange(SLOTS, dtype=np.uint32), count)
    stored = siphash((number, least.reshape(-1)), key).astype(np.uint16).reshape(SLOTS, count)
    return np.ascontiguousarray(stored.T).astype("<u2").view("<i8")


def _least(found: TextWords) -> NDArray[np.uint32]:
    """Return the least number of each slot and text, as [SLOTS, N]."""
    counts = np.maximum(found.counts_N - (SHINGLE - 1), 1)
    ends = np.cumsum(counts)
    least = np.empty((SLOTS, len(counts)), np.uint32)
    first = 0
    while first < len(counts):
        done = ends[first - 1] if first else 0
        last = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), first + 1)
        part = slice(first, last)
        shingles = _shingles(found.words_W, found.starts_N[part], found.counts_N[part])
        _fill(shingles, ends[part] - counts[part] - done, least[:, part])
        first = last
    return least


def _fill(
    shingles: NDArray[np.uint32], starts: NDArray[np.int64], least: NDArray[np.uint32]
) -> None:
    spare = np.empty_like(shingles)
    for slot, (multiplier, added) in enumerate(zip(_A, _B, strict=True)):
        np.multiply(shingles, multiplier, out=spare)
        np.add(spare, added, out=spare)
        least[slot] = np.minimum.reduceat(spare, starts)


def _shingles(
    words: NDArray[np.uint32], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Return the runs of three words as numbers, text by text; a shorter text is one run."""
    runs = np.maximum(counts - (SHINGLE - 1), 1)
    before = np.cumsum(runs) - runs
    place = np.arange(int(runs.sum())) + np.repeat(starts - before, runs)
    left = np.repeat(starts + counts, runs) - place
    state = np.zeros(len(place), np.uint64)
    for number in range(SHINGLE):
        at = np.minimum(place + number, len(words) - 1)
        word = words[at].astype(np.uint64) + _ONE
        if number:
            word *= left > number
        state += word * np.uint64(MULTIPLIERS[number])
    state ^= state >> np.uint64(32)
    state *= np.uint64(MULTIPLIERS[0])
    return (state >> np.uint64(32)).astype(np.uint32)


def _digests(
    words: NDArray[np.uint32], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.uint64]:
    """Return 64 bits of each run of words: the sum of its words by their places, mixed."""
    before = np.cumsum(counts) - counts
    number = np.arange(int(counts.sum())) - np.repeat(before, counts)
    word = words[number + np.repeat(starts, counts)].astype(np.uint64)
    value = word + (number.astype(np.uint64) << np.uint64(32)) + _ONE
    value *= np.uint64(MULTIPLIERS[0])
    value ^= value >> np.uint64(32)
    value *= np.uint64(MULTIPLIERS[1])
    return np.add.reduceat(value, before) if len(counts) else np.zeros(0, np.uint64)


def _keyed(digests: NDArray[np.uint64], use: int, key: bytes) -> NDArray[np.int64]:
    low = (digests & np.uint64(0xFFFFFFFF)).astype(np.uint32)
    high = (digests >> np.uint64(32)).astype(np.uint32)
    # Beyond the slots' numbers, so that no message of one kind is one of another.
    kind = np.full(len(digests), SLOTS + use, np.uint32)
    return siphash((kind, low, high), key).view(np.int64)


def _spread(values: NDArray[np.int64], has: NDArray[np.bool_]) -> pa.Array:
    """Return values for the texts that have one, and null for the others."""
    every = np.zeros(len(has), np.int64)
    every[has] = values
    return pa.array(every, mask=~has)


def _listed(bands: NDArray[np.int64], has: NDArray[np.bool_]) -> pa.Array:
    offsets = np.concatenate(([0], np.cumsum(has * BANDS))).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(bands.reshape(-1)), mask=pa.array(~has)
    )


def _parameters(count: int) -> tuple[list[np.uint32], list[np.uint32]]:
    """Return what multiplies and shifts in each slot: SplitMix64's first numbers, seed 1.

    Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators".
    """
    state, drawn = 1, []
    for _ in range(2 * count):
        state = (state + 0x9E3779B97F4A7C15) & (2**64 - 1)
        z = state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & (2**64 - 1)
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & (2**64 - 1)
        drawn.append((z ^ (z >> 31)) >> 32)
    odd = [np.uint32(number | 1) for number in drawn[:count]]
    return odd, [np.uint32(number) for number in drawn[count:]]


_A, _B = _parameters(SLOTS)
