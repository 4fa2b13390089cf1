"""Scores read from a judge's words, and judges that may not judge."""

from __future__ import annotations

import pytest
from curate_rows import exchange
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.judge import Judge, question, refuse_partial_judge, score_in, scores
from potstill.errors import PotstillError


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("Score: 4", 4),
        ("It is correct.\n**Score:** 4/5", 4),
        ("**Score: 4**", 4),
        ("score = 4.5", 4.5),
        ("My rating is 2.", 2),
        ("Score: 3 out of 5", 3),
        ("Scores run up to 5. Score: 2", 2),
        ("Score: 2\nOn second thought: Score: 3", 3),
        ('{"score": 5}', 5),
        (" 4\n", 4),
        ("4/5", 4),
        ("Score: 1-5", None),
        ("Score: 1 to 5", None),
        ("Score: 1\N{EN DASH}5", None),
        ("Score: 10", None),
        ("Score: 0", None),
        ("Score: -4", None),
        ("Score: four", None),
        ("There are 4 errors.", None),
        ("", None),
    ],
)
def test_score(text: str, score: float | None) -> None:
    assert score_in(text) == score


@given(st.text(max_size=60))
def test_any_text_gives_a_score_in_range_or_none(text: str) -> None:
    assert score_in(text) is None or 1 <= score_in(text) <= 5  # type: ignore[operator]


@given(st.text(max_size=40), st.integers(1, 5))
def test_a_last_line_decides(text: str, score: int) -> None:
    assert score_in(f"{text}\nScore: {score}") == score


def test_scores_by_exchange() -> None:
    asked = []

    def ask(messages: object, response: str, rubric: str) -> str:
        asked.append((messages, response, rubric))
        return "Score: 5" if response == "good" else "no idea"

    rows = [exchange("a", "good"), exchange("b", "odd")]
    judge = Judge("maker/judge", "maker/judge@1", ask)
    assert scores(rows, judge, "Is it?") == {"a": 5, "b": None}
    assert asked[0] == (rows[0].messages, "good", "Is it?")
    assert scores([], judge, "Is it?") == {}


def test_a_judge_without_any_score_is_an_error() -> None:
    judge = Judge("maker/judge", "maker/judge@1", lambda *_: "Fine!")
    with pytest.raises(PotstillError, match="maker/judge gave no score from 1 to 5 for any of 1"):
        scores([exchange("a", "b")], judge, "Is it?")


@pytest.mark.parametrize("identity", ["maker/large@1", "maker/large@2", "Maker/Large"])
def test_the_teacher_may_not_judge_itself_unasked(identity: str) -> None:
    judge = Judge("somebody", identity, lambda *_: "")
    with pytest.raises(PotstillError, match="the judge somebody is the teacher itself"):
        refuse_partial_judge(judge, {"maker/large@1"}, allowed=False)
    refuse_partial_judge(judge, {"maker/large@1"}, allowed=True)
    refuse_partial_judge(judge, {"maker/larger@1"}, allowed=False)


def test_the_question_holds_the_material_and_the_form_of_the_answer() -> None:
    system, user = question([{"role": "user", "content": "2+2?"}], "It is 4.", "Is it right?")
    assert "Is it right?" in system["content"]
    assert "Score: N" in system["content"]
    assert "2+2?" in user["content"]
    assert "It is 4." in user["content"]
    # The question repeated as an answer is no score.
    assert score_in(system["content"]) is None
