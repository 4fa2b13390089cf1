"""Scores read from a judge's words, and judges that may not judge."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from curate_rows import exchange, judge_that
from hypothesis import given
from hypothesis import strategies as st

from potstill.curate.judge import Judge, question, refuse_partial_judge, score_in, scores
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange


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


def good_or_odd(row: Exchange) -> str:
    return "Score: 5" if row.response == "good" else "no idea"


def test_scores_by_exchange() -> None:
    rows = [exchange("a", "good"), exchange("b", "odd")]
    asked = []

    def ask(given: Sequence[Exchange], rubric: str) -> list[dict[str, str]]:
        asked.append((list(given), rubric))
        return [{"b": "no idea", "a": "Score: 5"}]

    judge = Judge("maker/judge", "maker/judge@1", ask)
    assert scores(rows, judge, "Is it?") == {"a": 5, "b": None}
    assert asked == [(rows, "Is it?")]
    assert scores([], judge, "Is it?") == {}
    assert len(asked) == 1


def test_a_judge_without_any_score_is_an_error() -> None:
    judge = judge_that(lambda _: "Fine!")
    with pytest.raises(PotstillError, match="maker/judge gave no score from 1 to 5 for any of 1"):
        scores([exchange("a", "b")], judge, "Is it?")


@pytest.mark.parametrize("stopped_at", ["a", "b", "d"])
def test_what_was_scored_before_a_stop_is_not_asked_again(stopped_at: str, tmp_path: Path) -> None:
    rows = [exchange(key, text) for key, text in zip("abcd", ["good", "odd"] * 2, strict=True)]
    asked: list[str] = []
    kept = tmp_path / "state" / "scores"

    def stops(row: Exchange) -> str:
        if row.exchange_id == stopped_at:
            raise KeyboardInterrupt
        return says(row)

    def says(row: Exchange) -> str:
        asked.append(row.exchange_id)
        return good_or_odd(row)

    with pytest.raises(KeyboardInterrupt):
        scores(rows, judge_that(stops, kept=kept), "Is it?")
    assert asked == list("abcd"[: "abcd".index(stopped_at)])
    plain = scores(rows, judge_that(good_or_odd), "Is it?")
    assert scores(rows, judge_that(says, kept=kept), "Is it?") == plain
    assert asked == list("abcd")
    written = kept.read_bytes()
    assert scores(rows, judge_that(says, kept=kept), "Is it?") == plain
    assert asked == list("abcd") and kept.read_bytes() == written


def test_half_a_line_is_asked_again_and_cut_off(tmp_path: Path) -> None:
    rows = [exchange(key, "good") for key in "ab"]
    kept = tmp_path / "scores"
    plain = scores(rows, judge_that(good_or_odd, kept=kept), "Is it?")
    whole = kept.read_bytes()
    kept.write_bytes(whole[:-5])
    assert scores(rows, judge_that(good_or_odd, kept=kept), "Is it?") == plain
    assert kept.read_bytes() == whole
    first, second = whole.splitlines(keepends=True)
    kept.write_bytes(b"\0" * 9 + b"\n" + second)
    assert scores(rows, judge_that(good_or_odd, kept=kept), "Is it?") == plain
    assert kept.read_bytes().endswith(second + first)


@pytest.mark.parametrize("change", ["judge", "rubric", "response"])
def test_another_judge_rubric_or_response_is_asked_for(change: str, tmp_path: Path) -> None:
    kept, asked = tmp_path / "scores", []

    def says(row: Exchange) -> str:
        asked.append(row.exchange_id)
        return "Score: 4"

    scores([exchange("a", "good")], judge_that(says, kept=kept), "Is it?")
    other = judge_that(says, "j", "j@2" if change == "judge" else "maker/judge@1", kept)
    rows = [exchange("a", "better" if change == "response" else "good")]
    scores(rows, other, "Is it short?" if change == "rubric" else "Is it?")
    assert asked == ["a", "a"]
    # What the first was asked is still known.
    scores([exchange("a", "good")], judge_that(says, kept=kept), "Is it?")
    assert asked == ["a", "a"]


def test_no_text_is_kept(tmp_path: Path) -> None:
    row = exchange("a", "a secret answer", prompt="a secret question")
    scores([row], judge_that(lambda _: "secret. Score: 4", kept=tmp_path / "s"), "secret rubric")
    assert b"secret" not in (tmp_path / "s").read_bytes()


@pytest.mark.parametrize("identity", ["maker/large@1", "maker/large@2", "Maker/Large"])
def test_the_teacher_may_not_judge_itself_unasked(identity: str) -> None:
    judge = judge_that(lambda _: "", "somebody", identity)
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
