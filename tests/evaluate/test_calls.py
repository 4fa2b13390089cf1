"""Calls of student and teacher: equal as JSON, in any order, each once."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluate.calls import OUTCOMES, CallRow, outcome_of, score_calls
from potstill.work.scores import CallScores


def call(name: str = "find", arguments: Any = None, **more: Any) -> dict[str, Any]:
    function = {"name": name, "arguments": {} if arguments is None else arguments}
    return {**more, "type": "function", "function": function}


ONE = [call(arguments={"number": 7, "fast": True, "tags": ["a", "b"], "at": {"x": None}})]


@pytest.mark.parametrize(
    ("student", "outcome"),
    [
        (ONE, "right"),
        ([call(arguments=dict(reversed(ONE[0]["function"]["arguments"].items())))], "right"),
        ([{**ONE[0], "id": "another"}], "right"),
        ([call(arguments={**ONE[0]["function"]["arguments"], "number": 7.0})], "right"),
        ([call(arguments={**ONE[0]["function"]["arguments"], "number": "7"})], "other_arguments"),
        ([call(arguments={**ONE[0]["function"]["arguments"], "fast": 1})], "other_arguments"),
        (
            [call(arguments={**ONE[0]["function"]["arguments"], "tags": ["b", "a"]})],
            "other_arguments",
        ),
        ([call(arguments={**ONE[0]["function"]["arguments"], "at": {}})], "other_arguments"),
        ([call(arguments={**ONE[0]["function"]["arguments"], "more": None})], "other_arguments"),
        ([call(arguments='{"number": 7')], "other_arguments"),
        ([call("Find", ONE[0]["function"]["arguments"])], "other_name"),
        ([*ONE, *ONE], "other_name"),
        ([], "no_call"),
    ],
)
def test_a_call_is_right_where_name_and_arguments_are_equal(student, outcome) -> None:
    assert outcome_of(ONE, student) == outcome


PARALLEL = [call("a", {"n": 1}), call("a", {"n": 2}), call("b", {"n": 1})]


def test_calls_that_are_made_together_have_no_order() -> None:
    for order in itertools.permutations(PARALLEL):
        assert outcome_of(PARALLEL, order) == "right"


@pytest.mark.parametrize(
    ("student", "outcome"),
    [
        (PARALLEL[:2], "other_name"),
        ([*PARALLEL, call("b", {"n": 1})], "other_name"),
        ([PARALLEL[0], PARALLEL[0], PARALLEL[2]], "other_arguments"),
        ([call("a", {"n": 1}), call("b", {"n": 2}), call("b", {"n": 1})], "other_name"),
        ([call("a", {"n": 1}), call("a", {"n": 2}), call("b", {"n": 2})], "other_arguments"),
    ],
)
def test_each_counts_once(student, outcome) -> None:
    assert outcome_of(PARALLEL, student) == outcome


def text(*calls: Any) -> str:
    return json.dumps(list(calls))


def row(student: str | None, *teacher: str | None) -> CallRow:
    return CallRow(teacher, student)


def scored(*rows: CallRow) -> CallScores | None:
    return score_calls(rows, resamples=200, seed=1)


def test_shares_and_counts_are_of_prompts() -> None:
    seven, eight = text(call(arguments={"n": 7})), text(call(arguments={"n": 8}))
    found = scored(
        row(seven, seven),
        row(eight, seven),
        row(text(call("look")), seven),
        row(None, seven),
        row("no JSON", seven),
        row(eight, seven, None, eight),
        row(None, None),
        row(seven, None, None),
        row(None, "[]"),
    )
    assert found is not None
    assert (found.prompts, found.text_prompts) == (6, 3)
    counts = {"right": 2, "other_arguments": 1, "other_name": 1, "no_call": 2}
    assert found.outcomes == counts and tuple(found.outcomes) == OUTCOMES
    assert found.right.value == pytest.approx(2 / 6) and found.right.n == 6
    assert found.right.ci95[0] < 2 / 6 < found.right.ci95[1]
    assert found.text_kept is not None and found.text_kept.value == pytest.approx(2 / 3)


def test_nothing_is_scored_where_nothing_is_called() -> None:
    assert scored() is None
    assert scored(row(None, None), row(text(call()), None)) is None
    found = scored(row(None, text(call())))
    assert found is not None and found.text_kept is None and found.right.value == 0


NAMES = st.sampled_from(["a", "b"])
VALUES = st.none() | st.booleans() | st.integers(0, 2) | st.sampled_from([0.0, 1.0, "1", ""])
ARGUMENTS = st.dictionaries(st.sampled_from(["x", "y"]), VALUES | st.lists(VALUES, max_size=2))
CALLS = st.lists(st.builds(call, NAMES, ARGUMENTS), min_size=1, max_size=4)


def _spelling(value: Any) -> str:
    """Return a text that two values share where they are equal as JSON."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return json.dumps(value)
    if isinstance(value, list):
        return "[" + ",".join(map(_spelling, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_spelling(value[k])}" for k in sorted(value)) + "}"
    return repr(float(value))


@settings(deadline=None)
@given(CALLS, CALLS | st.just([]), st.randoms(use_true_random=False))
def test_right_is_what_equal_bags_of_spellings_say(teacher, student, random) -> None:
    def bag(calls: list[dict]) -> list[str]:
        return sorted(_spelling(one["function"]) for one in calls)

    shuffled = random.sample(student, len(student))
    assert (outcome_of(teacher, shuffled) == "right") is (bag(teacher) == bag(student))
    assert outcome_of(teacher, teacher[::-1]) == "right"
