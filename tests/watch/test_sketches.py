"""Sketches against their definition in plain Python, and against the similarity they estimate."""

from __future__ import annotations

import random
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from siphash_oracle import siphash

from potstill.watch.sketches import (
    BANDS,
    SLOTS,
    similarity,
    sketched,
    slots_of,
    text_hashes,
)
from potstill.watch.words import LONGEST_WORD, words_of

KEY = bytes(range(16))
M64 = 2**64 - 1
FIRST, SECOND, THIRD = 0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B


def words(text: str) -> list[bytes]:
    """The words of a text, found by a regular expression over its bytes."""
    lone = rb"[\xe3-\xe9]..|[\xf0-\xf4]..."
    part = rb"(?:[0-9A-Za-z\x80-\xe2\xea-\xef\xf5-\xff])+"
    found = []
    for word in re.findall(lone + rb"|" + part, text.encode(), re.DOTALL):
        folded = re.sub(rb"[0-9]", b"0", word)
        folded = bytes(b + 32 if 65 <= b <= 90 else b for b in folded)
        found += [folded[i : i + LONGEST_WORD] for i in range(0, len(folded), LONGEST_WORD)]
    return found


def mixed(state: int) -> int:
    state = state * FIRST & M64
    state ^= state >> 32
    state = state * SECOND & M64
    return state ^ state >> 29


def word_hash(word: bytes) -> int:
    state = len(word) * THIRD & M64
    for lane in range(0, len(word), 8):
        state = mixed(state ^ int.from_bytes(word[lane : lane + 8], "little"))
    return state >> 32


def shingles(hashes: list[int]) -> set[int]:
    found = set()
    for start in range(max(len(hashes) - 2, 1)):
        run = hashes[start : start + 3]
        state = sum((h + 1) * m for h, m in zip(run, (FIRST, SECOND, THIRD), strict=False)) & M64
        state ^= state >> 32
        found.add((state * FIRST & M64) >> 32)
    return found


def parameters() -> list[int]:
    state, drawn = 1, []
    for _ in range(2 * SLOTS):
        state = (state + 0x9E3779B97F4A7C15) & M64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 & M64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & M64
        drawn.append((z ^ z >> 31) >> 32)
    return drawn


DRAWN = parameters()


def oracle(text: str) -> list[int] | None:
    """The slots of a text, by the definition."""
    found = words(text)
    if not found:
        return None
    runs = shingles([word_hash(word) for word in found])
    slots = []
    for slot in range(SLOTS):
        a, b = DRAWN[slot] | 1, DRAWN[SLOTS + slot]
        least = min((run * a + b) % 2**32 for run in runs)
        message = slot.to_bytes(4, "little") + least.to_bytes(4, "little")
        slots.append(siphash(message, KEY) & 0xFFFF)
    return slots


TEXTS = st.lists(st.one_of(st.none(), st.text(max_size=90)), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(TEXTS)
def test_a_sketch_is_what_its_definition_says(texts: list[str | None]) -> None:
    found = sketched(pa.array(texts, pa.string()), KEY)
    for text, sketch, count in zip(
        texts, found.sketch.to_pylist(), found.words.to_pylist(), strict=True
    ):
        if text is None:
            assert sketch is None and count is None
            continue
        expected = oracle(text)
        assert count == len(words(text))
        if expected is None:
            assert sketch is None
        else:
            slots = slots_of(pa.array([sketch], pa.list_(pa.int64())))[0]
            assert slots.tolist() == expected


@pytest.mark.parametrize(
    "text",
    [
        "a" * 64 + "b" * 65 + " c",
        "東京は夜の七時 and so on ひらがな",
        "mixed漢字word 😀😀 Ӝ naïve",
        "x",
        "one two",
        "\x00 nul",
        "12 apples, 7 pears; ÀÉ",
    ],
)
def test_words_of_every_script_are_the_definitions(text: str) -> None:
    found = words_of(pa.array([text]))
    assert found.words_W.tolist() == [word_hash(word) for word in words(text)]


def test_a_slice_of_an_array_has_the_sketches_of_its_texts() -> None:
    texts = ["one two three four", None, "", "five six seven", "eight nine"]
    every = sketched(pa.array(texts), KEY)
    part = sketched(pa.array(texts).slice(2, 3), KEY)
    assert part.sketch.to_pylist() == every.sketch.to_pylist()[2:]
    assert part.tail.to_pylist() == every.tail.to_pylist()[2:]


def test_similarity_is_estimated_without_bias() -> None:
    drawn = random.Random(5)
    vocabulary = [f"w{''.join(drawn.choices('abcdefgh', k=5))}" for _ in range(3000)]
    pairs, true = [], []
    for _ in range(400):
        one = drawn.choices(vocabulary, k=60)
        other = list(one)
        for place in drawn.sample(range(60), drawn.randrange(0, 12)):
            other[place] = drawn.choice(vocabulary)
        runs = [{tuple(t[i : i + 3]) for i in range(58)} for t in (one, other)]
        true.append(len(runs[0] & runs[1]) / len(runs[0] | runs[1]))
        pairs.append((" ".join(one), " ".join(other)))
    first, second = (
        slots_of(sketched(pa.array([pair[side] for pair in pairs]), KEY).sketch) for side in (0, 1)
    )
    error = similarity(first, second) - np.array(true)
    spread = np.sqrt(np.mean(np.array(true) * (1 - np.array(true))) / SLOTS)
    # Four standard errors of the mean of 400.
    assert abs(error.mean()) < 4 * spread / 20
    assert error.std() == pytest.approx(spread, rel=0.25)


def test_another_key_gives_sketches_that_share_nothing() -> None:
    texts = pa.array(["write a story about a cat that sleeps all day"])
    one, other = sketched(texts, KEY), sketched(texts, bytes(16))
    assert similarity(slots_of(one.sketch), slots_of(other.sketch))[0] < 0.1
    assert one.whole != other.whole and one.head != other.head


def test_hashes_tell_equal_words_whatever_their_case_digits_and_marks() -> None:
    texts = ["Translate: 14 pages!", "translate 99 pages", "translate 99 page", None, "..."]
    found = text_hashes(pa.array(texts), KEY).to_pylist()
    assert found[0] == found[1] != found[2]
    assert found[3] is None and found[4] is None
    assert found == sketched(pa.array(texts), KEY).whole.to_pylist()


def test_the_order_of_words_counts() -> None:
    found = text_hashes(pa.array(["a b c d", "d c b a"]), KEY).to_pylist()
    assert found[0] != found[1]


def test_head_and_tail_are_of_eight_words() -> None:
    words_20 = [f"w{chr(97 + i)}" for i in range(20)]
    other = [*words_20[:8], *reversed(words_20[8:12]), *words_20[12:]]
    one, two = (sketched(pa.array([" ".join(t)]), KEY) for t in (words_20, other))
    assert one.head == two.head and one.tail == two.tail and one.whole != two.whole
    assert len(one.sketch.to_pylist()[0]) == BANDS
