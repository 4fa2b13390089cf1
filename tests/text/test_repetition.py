"""Repetition: shares against plain definitions, loops wherever they are cut."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.text.repetition import loops, repeated_share, repetition, top_share

words = st.lists(st.sampled_from(["a", "bb", "ccc"]), max_size=30)


@given(words, st.integers(2, 6))
def test_repeated_share_is_of_the_characters_that_stood_before(text: list[str], size: int) -> None:
    grams = [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]
    covered = {
        at
        for start, gram in enumerate(grams)
        if gram in grams[:start]
        for at in range(start, start + size)
    }
    total = sum(map(len, text))
    expected = sum(len(text[at]) for at in covered) / max(1, total)
    assert repeated_share(text, size) == pytest.approx(expected)


@given(words, st.integers(2, 4))
def test_top_share_is_that_of_the_most_frequent_gram(text: list[str], size: int) -> None:
    grams = Counter(tuple(text[i : i + size]) for i in range(len(text) - size + 1))
    share = top_share(text, size)
    assert 0 <= share <= 1
    most = max(grams.values(), default=0)
    assert (share > 0) is (most > 1)
    if most > 1:
        characters = [most * len("".join(gram)) for gram, n in grams.items() if n == most]
        assert share == pytest.approx(min(1, max(characters) / sum(map(len, text))))


@given(
    st.lists(st.sampled_from("abcdef"), max_size=10),
    st.lists(st.sampled_from("uvwxyz"), min_size=1, max_size=8),
    st.integers(12, 20),
    st.integers(0, 7),
)
def test_a_loop_is_found_wherever_its_last_round_is_cut(
    before: list[str], unit: list[str], rounds: int, cut: int
) -> None:
    assert loops(before + unit * rounds + unit[: cut % len(unit)])


@given(st.lists(st.integers(), unique=True, max_size=80))
def test_different_words_never_loop(numbers: list[int]) -> None:
    assert not loops([str(number) for number in numbers])


def test_a_long_response_is_read_in_little_time_and_depth() -> None:
    assert repetition("a" * 200_000) == "ends in a loop"
    assert repetition(" ".join(str(i) for i in range(20_000))) is None
