"""Scores of short answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.evaluate.tasks import (
    TaskRow,
    same_answer,
    score_answer,
    score_task,
)
from potstill.recipe import TaskConfig
from potstill.work.scores import SMALLEST_SLICE, TaskScores

LABEL = TaskConfig(kind="label", labels=("yes", "no"), gold="g", slice="s")
TEXT = TaskConfig(kind="text", gold="g")
JSON = TaskConfig(
    kind="json",
    gold="g",
    json_schema={"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
)


def rows(*counted: tuple[int, TaskRow]) -> list[TaskRow]:
    return [row for count, row in counted for _ in range(count)]


# One answer


@pytest.mark.parametrize(
    ("answer", "gold", "exact", "f1"),
    [
        ("yes", "yes", True, 1.0),
        ("no", "yes", False, 0.0),
        (None, "yes", False, 0.0),
        ("the red car", "red car", False, 0.8),
        ("red red", "red", False, 2 / 3),
    ],
)
def test_texts_are_scored_by_their_words(answer, gold, exact, f1):
    found = score_answer(answer, gold)
    assert (found.exact, found.f1, found.fields) == (exact, pytest.approx(f1), {})


@pytest.mark.parametrize(
    ("answer", "exact", "f1", "fields"),
    [
        ({"a": 1, "b": "X"}, True, 1.0, [True, True]),
        ({"b": "x.", "a": 1.0}, True, 1.0, [True, True]),
        ({"a": 1}, False, 2 / 3, [True, False]),
        ({"a": 1, "b": "x", "c": 0}, False, 0.8, [True, True]),
        ({"a": True, "b": "x"}, False, 0.5, [False, True]),
        ({}, False, 0.0, [False, False]),
        (None, False, 0.0, [False, False]),
    ],
)
def test_objects_are_scored_by_their_fields(answer, exact, f1, fields):
    found = score_answer(answer, {"a": 1, "b": "x"})
    assert (found.exact, found.f1) == (exact, pytest.approx(f1))
    assert list(found.fields.values()) == fields


def test_an_empty_object_is_a_right_answer_only_where_it_is_given():
    assert score_answer({}, {}).exact
    assert score_answer({}, {}).f1 == 1
    assert not score_answer(None, {}).exact
    assert score_answer(None, {}).f1 == 0


def test_two_missing_answers_are_not_the_same():
    assert not same_answer(None, None)
    assert same_answer("a", "a")


# All rows


def test_labels_against_gold():
    scores = score_task(
        LABEL,
        rows(
            (60, TaskRow("yes", "Yes.", "yes", "a")),
            (30, TaskRow("no", "yes", "no", "b")),
            (10, TaskRow("yes", "neither", "no", "c")),
        ),
    )
    assert (scores.score, scores.n) == ("exact", 100)
    assert scores.teacher.exact is not None
    assert scores.student.exact is not None
    assert scores.teacher.exact.value == pytest.approx(0.9)
    assert scores.student.exact.value == pytest.approx(0.6)
    assert scores.student.readable.value == pytest.approx(0.9)
    assert scores.agreement.value == pytest.approx(0.6)
    assert scores.retention is not None
    assert scores.retention.value == pytest.approx(2 / 3)
    assert scores.comparison is not None
    assert scores.comparison.word == "worse"
    assert scores.comparison.difference == pytest.approx(-0.3)
    # c is the lowest too, but too small to be called the worst.
    assert [(s.name, s.n) for s in scores.slices] == [("b", 30), ("c", 10), ("a", 60)]
    assert scores.worst_slice == "b"
    assert TaskScores.model_validate_json(scores.model_dump_json()) == scores


def test_small_slices_are_never_the_worst():
    few = rows((SMALLEST_SLICE - 1, TaskRow("yes", "no", "yes", "small")))
    many = rows((SMALLEST_SLICE, TaskRow("yes", "yes", "yes", "large")))
    assert score_task(LABEL, few + many).worst_slice == "large"
    assert score_task(LABEL, few).worst_slice is None


def test_slices_apart_count_for_their_own_comparison_alone():
    like = rows(
        (60, TaskRow("yes", "yes", "yes", "like")), (10, TaskRow("no", "yes", "no", "like"))
    )
    unlike = rows((40, TaskRow("yes", "no", "yes", "unlike")))
    task = TaskConfig(kind="label", labels=("yes", "no"), slice="s", apart=("unlike",))
    scores, alone = score_task(task, like + unlike), score_task(LABEL, like)
    assert (scores.n, scores.apart) == (70, 40)
    for name in ("teacher", "student", "agreement", "comparison", "retention"):
        assert getattr(scores, name) == getattr(alone, name)
    worst, other = scores.slices
    assert scores.worst_slice == worst.name == "unlike"
    assert worst.comparison == score_task(LABEL, unlike).comparison
    assert worst.comparison is not None
    assert worst.comparison.word == "worse"
    assert other.comparison is None


@pytest.mark.parametrize(
    ("apart", "message"),
    [(("elsewhere",), "which no held-out row has in its column s"), (("a", "b"), "every slice")],
)
def test_slices_apart_that_do_not_fit_the_rows_are_refused(apart, message):
    task = TaskConfig(kind="label", labels=("yes", "no"), slice="s", apart=apart)
    mixed = rows((3, TaskRow("yes", "yes", "yes", "a")), (3, TaskRow("no", "no", "no", "b")))
    with pytest.raises(PotstillError, match=message):
        score_task(task, mixed)


def test_without_gold_only_agreement_is_known():
    scores = score_task(
        LABEL,
        rows((30, TaskRow("yes", "yes", slice="a")), (30, TaskRow("no", "what", slice="b"))),
    )
    assert scores.score is None
    assert scores.comparison is None
    assert scores.retention is None
    assert scores.teacher.exact is None
    assert scores.agreement.value == 0.5
    assert scores.worst_slice == "b"
    assert scores.slices[0].student is None


def test_json_has_validity_and_fields():
    scores = score_task(
        JSON,
        rows(
            (15, TaskRow('{"n": 1, "c": "x"}', 'Here: {"n": 1, "c": "y"}', {"n": 1, "c": "x"})),
            (5, TaskRow('{"n": 2}', '{"n": "2"}', {"n": 2})),
        ),
    )
    student = scores.student
    assert student.valid is not None
    assert student.valid.value == pytest.approx(0.75)
    assert student.fields is not None
    assert {k: (v.value, v.n) for k, v in student.fields.items()} == {
        "n": (0.75, 20),
        "c": (0.0, 15),
    }
    assert student.f1 is not None
    assert student.f1.value == pytest.approx(0.75 * 0.5)
    assert scores.slices == []


def test_text_is_compared_by_f1():
    scores = score_task(TEXT, rows((50, TaskRow("red car", "the red car", "red car"))))
    assert scores.score == "f1"
    assert scores.comparison is not None
    assert scores.comparison.difference == pytest.approx(-0.2)
    assert scores.student.valid is None
    assert scores.student.fields is None


def test_a_teacher_that_is_always_wrong_has_no_retention():
    scores = score_task(LABEL, rows((25, TaskRow("no", "yes", "yes"))))
    assert scores.retention is None
    assert scores.comparison is not None
    assert scores.comparison.word == "better"


@given(st.lists(st.tuples(st.sampled_from(["yes", "no", "?"]), st.sampled_from(["yes", "no"]))))
def test_a_model_compared_with_itself_is_never_called_different(pairs):
    if not pairs:
        return
    scores = score_task(LABEL, [TaskRow(answer, answer, gold) for answer, gold in pairs])
    assert scores.comparison is not None
    assert scores.comparison.word in ("inconclusive", "not worse")
    assert scores.comparison.difference == 0


@pytest.mark.parametrize("given_rows", [[], [TaskRow("a", "a", "yes"), TaskRow("a", "a")]])
def test_rows_that_cannot_be_scored_are_a_bug(given_rows):
    with pytest.raises(ValueError, match="at least one row"):
        score_task(LABEL, given_rows)
