"""Of several right answers the shortest stays."""

from __future__ import annotations

import random

from curate_rows import exchange
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.choose import not_shortest


def test_the_shortest_right_answer_stays_and_wrong_ones_are_not_chosen_between() -> None:
    rows = [
        exchange("a", "It is seven, I think."),
        exchange("b", "7"),
        exchange("c", "8"),
        exchange("d", "It is 7", prompt="Another"),
    ]
    assert not_shortest(rows, {"a", "b", "d"}, 1) == {"a": "longer than 1 other right answer"}
    assert not_shortest(rows, {"a", "b", "d"}, 2) == {}
    assert not_shortest(rows, set(), 1) == {}


def test_tokens_count_where_all_are_known_and_reasoning_is_length() -> None:
    known = [
        exchange("a", "7", response_token_ids=(1, 2, 3)),
        exchange("b", "seven", response_token_ids=(1, 2)),
    ]
    assert set(not_shortest(known, {"a", "b"}, 1)) == {"a"}
    mixed = [known[0], exchange("b", "seven")]
    assert set(not_shortest(mixed, {"a", "b"}, 1)) == {"b"}
    thought = [exchange("a", "7", reasoning="a long way"), exchange("b", "seven")]
    assert set(not_shortest(thought, {"a", "b"}, 1)) == {"a"}


@given(
    st.lists(st.tuples(st.sampled_from("pq"), st.text(max_size=3)), max_size=9),
    st.integers(1, 3),
    st.randoms(),
)
def test_as_many_stay_as_asked_and_order_decides_nothing(
    answers: list[tuple[str, str]], keep: int, rng: random.Random
) -> None:
    rows = [exchange(f"{i}", text, prompt=prompt) for i, (prompt, text) in enumerate(answers)]
    correct = {row.exchange_id for row in rows}
    dropped = not_shortest(rows, correct, keep)
    for prompt in "pq":
        own = [row for row in rows if row.messages[0]["content"] == prompt]
        stay = [row for row in own if row.exchange_id not in dropped]
        assert len(stay) == min(keep, len(own))
        key = [(len(row.response), row.exchange_id) for row in own]
        assert sorted((len(row.response), row.exchange_id) for row in stay) == sorted(key)[:keep]
    rng.shuffle(rows)
    assert not_shortest(rows, correct, keep) == dropped
