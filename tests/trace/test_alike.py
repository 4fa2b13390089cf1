"""Answers that are alike: one opening, or one loop, from the answers alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.trace.alike import Likeness, clusters_of, likeness_of, loop_of


@given(
    st.lists(st.integers(10, 30), max_size=6),
    st.lists(st.integers(0, 5), min_size=1, max_size=5),
    st.integers(0, 40),
)
def test_a_loop_is_found_wherever_the_answer_is_cut(
    before: list[int], once: list[int], more: int
) -> None:
    size = max(2 * len(once), 8) + more
    round_and_round = list(itertools.islice(itertools.cycle(once), size))
    found, same = loop_of([*before, *round_and_round]), loop_of(round_and_round)
    assert found == same
    # The shortest round that gives the same text, turned to its least.
    period = next(p for p in range(1, len(once) + 1) if round_and_round[p:] == round_and_round[:-p])
    turns = [tuple(once[at:period] + once[:at]) for at in range(period)]
    assert found == min(turns)


@pytest.mark.parametrize(
    "ids", [[], [1, 2, 3, 4, 5, 6, 7, 7], [1, 2, 3, 4, 5, 6, 7, 8, 9], [3] * 7, [*[4, 5] * 8, 0]]
)
def test_what_goes_round_once_or_ends_is_no_loop(ids: list[int]) -> None:
    assert loop_of(ids) == ()


def test_openings_and_loops_link() -> None:
    answers = [[1, 2], [3, *[7, 8] * 6], [1, *[8, 7] * 6], [], [3, 9], [], [4]]
    assert clusters_of([likeness_of(ids) for ids in answers]) == (0, 0, 0, 1, 0, 1, 2)
    assert likeness_of([]) == Likeness() and clusters_of([]) == ()


def together(one: Likeness, other: Likeness) -> bool:
    return one.opening == other.opening or bool(one.loop and one.loop == other.loop)


@given(
    st.lists(
        st.builds(
            Likeness,
            opening=st.none() | st.integers(0, 4),
            loop=st.sampled_from([(), (), (0,), (1, 2), (3,)]),
        ),
        max_size=9,
    )
)
def test_clusters_are_what_likeness_links(likenesses: list[Likeness]) -> None:
    found = clusters_of(likenesses)
    numbers = list(range(len(likenesses)))
    # By passing the least number on until nothing changes.
    for _ in likenesses:
        for i, j in itertools.combinations(range(len(likenesses)), 2):
            if together(likenesses[i], likenesses[j]):
                numbers[i] = numbers[j] = min(numbers[i], numbers[j])
    assert found == tuple(list(dict.fromkeys(numbers)).index(n) for n in numbers)
