"""Duplicates: what is alike, which of them stays, and that order decides nothing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from curate_rows import exchange
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.curate.duplicates import exact_duplicates, near_duplicates, shingled
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.overlap import TEMPLATE_COUNT
from potstill.text.shingles import jaccard, shingles_of
from potstill.text.words import words_of

STORY = (
    "The harbour lies in a wide bay that opens to the west. Fishing boats leave before dawn and "
    "come back in the afternoon, when the market is set up along the quay."
)
short = st.lists(
    st.builds(
        lambda number, prompt, response: exchange(f"id-{number:02d}", response, prompt=prompt),
        st.integers(0, 30),
        st.sampled_from(["one", "two", "TWO"]),
        st.sampled_from(["yes", "Yes", " no", "no\n"]),
    ),
    unique_by=lambda row: row.exchange_id,
    max_size=12,
)


def near(rows: list[Exchange], threshold: float = 0.7) -> dict[str, str]:
    return near_duplicates(shingled(rows), threshold)


def test_case_and_spacing_make_no_difference_and_the_lowest_id_stays() -> None:
    rows = [exchange("b", "It is  four.\n"), exchange("a", "it is four."), exchange("c", "five")]
    assert exact_duplicates(rows, with_reasoning=True) == {"b": "as a"}


@pytest.mark.parametrize(
    "other",
    [
        exchange("b", "x - 1"),
        exchange("b", "x + 1", prompt="And this?"),
        exchange("b", "x + 1", tool_calls='[{"name":"f"}]'),
        exchange("b", "x + 1", messages=({"role": "system", "content": "What is it?"},)),
        exchange("b", "x + 1", reasoning="Because."),
    ],
    ids=["sign", "prompt", "tool", "role", "reasoning"],
)
def test_other_content_is_no_duplicate(other: Exchange) -> None:
    assert exact_duplicates([exchange("a", "x + 1"), other], with_reasoning=True) == {}


def test_reasoning_that_is_left_out_makes_no_difference() -> None:
    rows = [exchange("a", "<think>so</think>4"), exchange("b", "4", reasoning="thus")]
    assert exact_duplicates(rows, with_reasoning=False) == {"b": "as a"}
    assert exact_duplicates(rows, with_reasoning=True) == {}


@given(short, st.integers(31, 60), st.text(max_size=20))
def test_an_unrelated_row_never_brings_a_duplicate_back(
    rows: list[Exchange], number: int, response: str
) -> None:
    before = exact_duplicates(rows, with_reasoning=True)
    more = [*rows, exchange(f"id-{number:02d}", response, prompt="other")]
    assert before.items() <= exact_duplicates(more, with_reasoning=True).items()


@settings(deadline=None)  # the first call loads datasketch
@given(short, st.randoms())
def test_order_decides_nothing(rows: list[Exchange], rng: random.Random) -> None:
    shuffled = list(rows)
    rng.shuffle(shuffled)
    assert exact_duplicates(rows, with_reasoning=True) == exact_duplicates(
        shuffled, with_reasoning=True
    )
    assert near(rows) == near(shuffled)


def test_one_changed_word_is_near_and_another_text_is_not() -> None:
    rows = [
        exchange("b", STORY, prompt="Describe the harbour of a town in the north."),
        exchange("a", STORY, prompt="Describe the harbour of a town in the south."),
        exchange("c", "Sheep graze on the hills.", prompt="Describe some farm far from the sea."),
    ]
    assert near(rows) == {"b": "like a"}


def test_samples_of_one_prompt_are_not_compared() -> None:
    rows = [exchange("a", STORY + " One."), exchange("b", STORY + " Two.")]
    assert near(rows) == {}


def test_rows_under_one_template_are_not_near() -> None:
    shell = "Read the following customer review with care and say whether it is good or bad: {}"
    rng = random.Random(1)
    rows = [
        exchange(
            f"{i:03d}",
            "good",
            prompt=shell.format(" ".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7))),
        )
        for i in range(4 * TEMPLATE_COUNT)
    ]
    assert near(rows) == {}
    leaked = replace(rows[5], exchange_id="zzz", prompt_id="another")
    assert near([*rows, leaked]) == {"zzz": "like 005"}


@settings(deadline=None)
@given(
    st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9), max_size=8),
    st.sampled_from([0.3, 0.5, 0.7, 0.95]),
)
def test_dropped_rows_are_near_a_row_that_stays_and_no_chain_forms(
    texts: list[list[str]], threshold: float
) -> None:
    rows = [
        exchange(f"id-{i}", " ".join(text), prompt=" ".join(reversed(text)), prompt_id=f"p-{i}")
        for i, text in enumerate(texts)
    ]
    own = {
        row.exchange_id: shingles_of(words_of(f"{row.messages[0]['content']}\n{row.response}"))
        for row in rows
    }
    found = near(rows, threshold)
    for dropped, why in found.items():
        kept = why.removeprefix("like ")
        assert kept < dropped
        assert kept not in found
        assert jaccard(own[kept], own[dropped]) >= threshold


def test_equal_texts_are_always_proposed() -> None:
    rows = [exchange(f"{i}", STORY, prompt_id=f"p-{i}") for i in range(5)]
    for threshold in (0.3, 0.6, 0.8, 0.95):
        assert near(rows, threshold) == {f"{i}": "like 0" for i in range(1, 5)}


def test_nothing_and_odd_text() -> None:
    assert near([]) == {}
    odd = [exchange("a", "\ud800"), exchange("b", "\0"), exchange("c", "")]
    assert exact_duplicates(odd, with_reasoning=True) == {}
    near(odd)
