"""Reading mode: which positions are scored, which scores are coins, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from traced_marks import DIGEST, VOCABULARY, green, gumbel, planned

from potstill.errors import PotstillError
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarkedText,
    MarksInChoicesPlanned,
    choices_item,
    marks_in_choices_finding,
    planned_readings,
)
from potstill.watermark.schemes import Scheme


def text(prompt: Sequence[int], ids: Sequence[int], number: int = 0) -> MarkedText:
    return MarkedText(salt=f"{number:016}", prompt_ids=tuple(prompt), ids=tuple(ids))


def some_texts(count: int = 5, length: int = 30, seed: int = 0) -> list[MarkedText]:
    rng = np.random.default_rng(seed)
    return [
        text(
            rng.integers(0, VOCABULARY, 4).tolist(), rng.integers(0, VOCABULARY, length).tolist(), i
        )
        for i in range(count)
    ]


def plan(scheme: Scheme, texts: Sequence[MarkedText], n: int, **more: Any) -> MarksInChoicesPlanned:
    mark = planned(scheme)
    readings = planned_readings(texts, mark, n)
    return MarksInChoicesPlanned(configuration="c", mark=mark, readings=readings, n=n, **more)


def read(
    scheme: Scheme,
    asked: MarksInChoicesPlanned,
    texts: Sequence[MarkedText],
    best_of: int,
    seed: int,
) -> list[ChoiceItem]:
    """Return the items of a suspect that takes the best of some tokens, as one that was taught."""
    rng = np.random.default_rng(seed)
    items = []
    for index, (one, reading) in enumerate(zip(texts, asked.readings, strict=False)):
        choices = []
        for _ in reading.positions:
            choices.append(int(rng.integers(0, VOCABULARY)))
        item = choices_item(scheme, index, one, reading, choices)
        for _ in range(best_of - 1):
            tries = rng.integers(0, VOCABULARY, len(choices)).tolist()
            other = choices_item(scheme, index, one, reading, tries)
            pairs = zip(item.scores, other.scores, choices, tries, strict=True)
            choices = [b if (y or 0) > (x or 0) else a for x, y, a, b in pairs]
            item = choices_item(scheme, index, one, reading, choices)
        items.append(item)
    return items


def occurs_before(texts: Sequence[MarkedText], number: int, position: int, window: int) -> bool:
    """Tell, by looking everywhere, whether a position's window stands somewhere earlier."""
    streams = [(*t.prompt_ids, *t.ids) for t in texts[: number + 1]]
    streams[-1] = streams[-1][: len(texts[number].prompt_ids) + position]
    wanted = texts[number].ids[position - window : position]
    places = [
        (s, at)
        for s, stream in enumerate(streams)
        for at in range(len(stream) - window + 1)
        if stream[at : at + window] == wanted
    ]
    return places != [(number, len(streams[-1]) - window)]


ids = st.lists(st.integers(0, 3), max_size=8)


@given(texts=st.lists(st.tuples(ids, ids), min_size=1, max_size=5), window=st.integers(1, 3))
def test_positions_are_those_whose_window_stands_nowhere_before(
    texts: list[tuple[list[int], list[int]]], window: int
) -> None:
    made = [text(prompt, answer, i) for i, (prompt, answer) in enumerate(texts)]
    expected = [
        [t for t in range(window, len(one.ids)) if not occurs_before(made, number, t, window)]
        for number, one in enumerate(made)
    ]
    mark = planned(green(window=window))
    if not any(expected):
        with pytest.raises(PotstillError, match="no marked text has a window that is new"):
            planned_readings(made, mark, 100)
        return
    # Texts behind the last position are not read.
    while not expected[-1]:
        expected.pop()
    found = planned_readings(made, mark, 100)
    assert [list(reading.positions) for reading in found] == expected
    assert [reading.text for reading in found] == [one.digest for one in made[: len(expected)]]
    # Fewer of them are the first ones, and texts after the last one are left out.
    few = planned_readings(made, mark, 2)
    flat = [(i, t) for i, reading in enumerate(found) for t in reading.positions]
    assert [(i, t) for i, reading in enumerate(few) for t in reading.positions] == flat[:2]
    assert len(few) == flat[min(2, len(flat)) - 1][0] + 1


def test_windows_of_prompts_count_as_seen_and_are_never_scored() -> None:
    mark = planned(green(window=2))
    made = [text([7, 8, 9], [8, 9, 1, 2, 3], 0), text([1, 2, 5], [2, 3, 4, 6], 1)]
    found = planned_readings(made, mark, 100)
    # (8, 9) is in the prompt; (9, 1) and (1, 2) are new. In the second (2, 3) has occurred, where
    # no token of the first follows it.
    assert [reading.positions for reading in found] == [(3, 4), (3,)]


def test_a_digest_depends_on_salt_prompt_and_answer() -> None:
    one = text([1, 2], [3, 4])
    others = [text([1, 2], [3, 4], 1), text([1], [2, 3, 4]), text([1, 2], [3, 5])]
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_a_suspect_that_was_taught_is_found_and_another_is_not() -> None:
    for scheme in (green(window=2), gumbel(window=2)):
        texts = some_texts(20, 40)
        asked = plan(scheme, texts, 300)
        guilty = marks_in_choices_finding(asked, read(scheme, asked, texts, 3, seed=1), DIGEST)
        assert guilty.n == 300
        assert guilty.coins == 0
        assert guilty.log10_p < -6
        assert guilty.effect_low is not None
        assert guilty.effect_low > scheme.law.mean
        clean = marks_in_choices_finding(asked, read(scheme, asked, texts, 1, seed=1), DIGEST)
        assert clean.p > 1e-3


def test_level_two_makes_the_scores_again() -> None:
    for scheme in (green(), gumbel(window=2)):
        texts = some_texts()
        asked = plan(scheme, texts, 60)
        some = read(scheme, asked, texts, 2, seed=4)
        level_1 = marks_in_choices_finding(asked, some, DIGEST)
        assert marks_in_choices_finding(asked, some, DIGEST, scheme, texts) == level_1
        assert marks_in_choices_finding(asked, some, DIGEST, None, texts) == level_1
        first, *rest = some[0].scores
        changed = 1.0 - first if first in (0, 1) else (first or 0) + 1
        some[0] = some[0].model_copy(update={"scores": (changed, *rest)})
        marks_in_choices_finding(asked, some, DIGEST)
        with pytest.raises(PotstillError, match=r"record 0 .* the key does not give"):
            marks_in_choices_finding(asked, some, DIGEST, scheme, texts)


def test_missing_positions_are_coins_of_the_plan() -> None:
    """n is what was planned, however few windows are new and whatever fails."""
    for scheme in (green(), gumbel()):
        texts = some_texts(4, 30)
        asked = plan(scheme, texts, 200)
        there = sum(len(reading.positions) for reading in asked.readings)
        assert there < 200
        some = read(scheme, asked, texts, 1, seed=2)
        some[1] = ChoiceItem(index=1, outcome="refused")
        first = some[0]
        some[0] = first.model_copy(
            update={
                "choices": (None, *first.choices[1:]),
                "scores": (None, *first.scores[1:]),
            }
        )
        found = marks_in_choices_finding(asked, some, DIGEST, scheme, texts)
        assert found.n == 200
        gone = len(asked.readings[1].positions)
        assert found.coins == 200 - there + gone + 1
        # Coins stand at the places of what is missing, and are those of the plan's digest.
        at = len(first.scores)
        missing = [0, *range(at, at + gone), *range(there, 200)]
        coins = [asked.mark.coin(DIGEST, "watermark-reading", "c", i) for i in missing]
        real = [s for item in some for s in item.scores if s is not None]
        assert found.statistic == pytest.approx(math.fsum([*coins, *real]))
        assert found.effect == pytest.approx(math.fsum(real) / len(real))
        others = {marks_in_choices_finding(asked, some, d * 64).statistic for d in "bcdef"}
        assert len(others) > 1


def test_a_suspect_that_never_answers_is_all_coins() -> None:
    scheme = green()
    texts = some_texts()
    asked = plan(scheme, texts, 80)
    nothing = [ChoiceItem(index=i, outcome="error") for i in range(len(asked.readings))]
    found = marks_in_choices_finding(asked, nothing, DIGEST, scheme, texts)
    assert (found.n, found.coins) == (80, 80)
    assert found.void is not None
    assert found.effect == scheme.law.mean


def test_a_sequential_plan_may_end_early() -> None:
    scheme = gumbel(window=2)
    texts = some_texts(20, 40)
    asked = plan(scheme, texts, 900, sequential=True)
    some = read(scheme, asked, texts, 3, seed=3)
    early = marks_in_choices_finding(asked, some[:6], DIGEST, scheme, texts)
    assert early.n == sum(len(reading.positions) for reading in asked.readings[:6])
    assert early.log10_p < -4
    assert marks_in_choices_finding(asked, some, DIGEST).log10_p <= early.log10_p
    with pytest.raises(PotstillError, match="ends at record 6"):
        marks_in_choices_finding(plan(scheme, texts, 900), some[:6], DIGEST)


def test_what_is_disclosed_has_to_be_the_plan_s() -> None:
    scheme = green()
    texts = some_texts()
    asked = plan(scheme, texts, 60)
    some = read(scheme, asked, texts, 1, seed=5)
    with pytest.raises(PotstillError, match="give the texts with the key"):
        marks_in_choices_finding(asked, some, DIGEST, scheme)
    with pytest.raises(PotstillError, match="marked text 1 is not the one of the plan"):
        marks_in_choices_finding(asked, some, DIGEST, scheme, [texts[0], texts[0], *texts[2:]])
    with pytest.raises(PotstillError, match="are given; give them all"):
        marks_in_choices_finding(asked, some, DIGEST, scheme, texts[:1])
    with pytest.raises(PotstillError, match="not the key of the plan"):
        marks_in_choices_finding(asked, some, DIGEST, green("two"), texts)


def test_a_plan_that_chose_its_positions_otherwise_is_refused() -> None:
    """Leaving out what does not fit is what the rule is there against."""
    scheme = green()
    texts = some_texts()
    asked = plan(scheme, texts, 60)
    first = asked.readings[0]
    fewer = first.model_copy(update={"positions": first.positions[:-1]})
    chosen = asked.model_copy(update={"readings": (fewer, *asked.readings[1:])})
    some = read(scheme, chosen, texts, 1, seed=6)
    marks_in_choices_finding(chosen, some, DIGEST)
    with pytest.raises(PotstillError, match="not those that its rule chooses"):
        marks_in_choices_finding(chosen, some, DIGEST, None, texts)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"choices": (1,), "scores": (1.0,)}, "record 1 .* one choice for each position"),
        ({"choices": "strange"}, "record 1 .* outside the vocabulary of 40"),
        ({"scores": "strange"}, "record 1 .* a score that no mark of the plan has"),
        ({"index": 3}, "record 1 of the raw log is missing"),
        ({"index": 77}, "record 77 belongs to no question of the plan"),
    ],
)
def test_what_no_run_wrote_is_named(change: dict[str, Any], named: str) -> None:
    scheme = green()
    texts = some_texts()
    asked = plan(scheme, texts, 80)
    some = read(scheme, asked, texts, 1, seed=7)
    strange: dict[str, Any] = {
        "choices": (VOCABULARY, *some[1].choices[1:]),
        "scores": (0.25, *some[1].scores[1:]),
    }
    update = {k: strange[k] if v == "strange" else v for k, v in change.items()}
    some[1] = some[1].model_copy(update=update)
    with pytest.raises(PotstillError, match=named):
        marks_in_choices_finding(asked, some, DIGEST)


def test_ids_of_another_vocabulary_are_refused_in_a_plan() -> None:
    mark = planned(green())
    for made in (text([1, VOCABULARY], [2, 3, 4]), text([1], [2, 3, VOCABULARY + 5])):
        with pytest.raises(PotstillError, match="marked text 0 has token ids outside"):
            planned_readings([made], mark, 10)
    with pytest.raises(PotstillError, match="no marked text has a window"):
        planned_readings([], mark, 10)


@pytest.mark.parametrize(
    ("positions", "n", "why"),
    [
        ((1, 2, 3), 2, "more positions than the plan scores"),
        ((2, 2), 9, "positions ascend"),
        ((0, 1), 9, "never reaches into the prompt"),
    ],
)
def test_a_plan_holds_its_own_rules(positions: tuple[int, ...], n: int, why: str) -> None:
    reading = {"text": "x", "positions": positions}
    with pytest.raises(ValidationError, match=why):
        MarksInChoicesPlanned.model_validate(
            {"configuration": "c", "mark": planned(green()), "readings": [reading], "n": n}
        )


def test_a_choice_has_a_score_and_a_failure_none() -> None:
    for wrong in (
        {"outcome": "error", "choices": (1,), "scores": (1.0,)},
        {"outcome": "answered", "choices": (1, 2), "scores": (1.0,)},
        {"outcome": "answered", "choices": (1, None), "scores": (1.0, 0.0)},
    ):
        with pytest.raises(ValidationError, match=r"failed has no figures|has one score"):
            ChoiceItem.model_validate({"index": 0, **wrong})
