"""Marks in a suspect's text: which pairs count, against a plain walk through the answers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from traced_marks import DIGEST, VOCABULARY, green, gumbel, planned

from potstill.errors import PotstillError
from potstill.stats.evalues import running_log_e, sequential_log10_p
from potstill.trace.marks_in_text import (
    AnswerItem,
    MarksInTextPlanned,
    answer_scores,
    least_answers_of,
    marks_in_text_finding,
)
from potstill.watermark.detect import detect
from potstill.watermark.schemes import Scheme

Texts = Sequence[Sequence[int]]


def plan(scheme: Scheme, answers: int, **more: Any) -> MarksInTextPlanned:
    facts: dict[str, Any] = {"configuration": "c", "mark": planned(scheme), "collected": answers}
    return MarksInTextPlanned(**{**facts, **more})


def items(scheme: Scheme, texts: Texts) -> list[AnswerItem]:
    """Return answers; one without ids has failed."""
    return [
        AnswerItem(
            index=i, outcome="answered", ids=tuple(ids), scores=answer_scores(scheme, tuple(ids))
        )
        if ids
        else AnswerItem(index=i, outcome="refused")
        for i, ids in enumerate(texts)
    ]


def walked(scheme: Scheme, texts: Texts, shown: Texts, least_answers: int) -> list[float]:
    """Return the scores that count, one answer and one token after another."""
    k = scheme.window
    left_out = {tuple(s[i : i + k]) for s in shown for i in range(len(s) - k + 1)}
    stands_in: dict[tuple[int, ...], set[int]] = {}
    scores = []
    for number, ids in enumerate(texts):
        for at in range(k, len(ids)):
            pair = tuple(ids[at - k : at + 1])
            where = stands_in.setdefault(pair, set())
            before = len(where)
            where.add(number)
            if len(where) == least_answers > before and pair[:-1] not in left_out:
                scores.append(answer_scores(scheme, pair)[0])
    return scores


texts_of_few_tokens = st.lists(st.lists(st.integers(0, 4), max_size=9), min_size=1, max_size=6)


@given(
    texts=texts_of_few_tokens,
    shown=st.lists(st.lists(st.integers(0, 4), max_size=4), max_size=2),
    window=st.integers(1, 3),
    least_answers=st.integers(1, 3),
    sequential=st.booleans(),
)
def test_the_pairs_that_count_are_those_of_a_walk(
    texts: Texts, shown: Texts, window: int, least_answers: int, sequential: bool
) -> None:
    for scheme in (green(window=window), gumbel(window=window)):
        scores = walked(scheme, texts, shown, least_answers)
        asked = plan(
            scheme,
            len(texts),
            shown=tuple(map(tuple, shown)),
            least_answers=least_answers,
            sequential=sequential,
        )
        found = marks_in_text_finding(asked, items(scheme, texts), DIGEST)
        assert found.n == len(scores)
        assert found.statistic == math.fsum(scores)
        assert (found.void is None) == bool(scores)
        law = scheme.law
        if not sequential:
            assert found.p == float(law.p(found.statistic, found.n))
        else:
            expected = sequential_log10_p(running_log_e(law, scores)) if scores else 0
            assert found.log10_p == pytest.approx(expected, abs=1e-12)
        again = marks_in_text_finding(asked, items(scheme, texts), DIGEST, scheme)
        assert again == found


def marked_like(scheme: Scheme, count: int, length: int, seed: int) -> list[list[int]]:
    """Return texts that take the best of three tokens each time: a mark without a model."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(count):
        ids = rng.integers(0, VOCABULARY, scheme.window).tolist()
        for _ in range(length):
            tries = rng.integers(0, VOCABULARY, 3).tolist()
            window = ids[len(ids) - scheme.window :]
            ids.append(max(tries, key=lambda t: answer_scores(scheme, [*window, t])[0]))
        texts.append(ids)
    return texts


def test_it_is_a_detection_over_all_answers() -> None:
    for scheme in (green(), gumbel(window=2)):
        texts = marked_like(scheme, 12, 60, seed=1)
        found = marks_in_text_finding(plan(scheme, 12), items(scheme, texts), DIGEST)
        other = detect(scheme, texts)
        assert (found.n, found.p) == (other.scored, other.p)
        assert found.log10_p == pytest.approx(other.log10_p)
        assert found.effect == pytest.approx(other.mean)
        assert found.p < 1e-6
        assert found.log10_e is not None
        assert found.log10_e > 4
        assert found.tier == "proof"
        assert found.effect_low is not None
        assert found.effect_low > scheme.law.mean


def test_a_suspect_that_fails_is_counted_and_drops_nothing_else() -> None:
    scheme = gumbel()
    texts = marked_like(scheme, 6, 30, seed=2)
    whole = marks_in_text_finding(plan(scheme, 6), items(scheme, texts), DIGEST)
    holes = [texts[0], [], *texts[1:4], [], *texts[4:], []]
    found = marks_in_text_finding(plan(scheme, 9), items(scheme, holes), DIGEST)
    assert (found.p, found.n, found.coins) == (whole.p, whole.n, 0)
    assert any("gave no text: 3 of 9." in sentence for sentence in found.assumes)
    assert not any("failed" in sentence for sentence in whole.assumes)


def test_a_suspect_that_never_answers_says_nothing() -> None:
    scheme = green()
    found = marks_in_text_finding(plan(scheme, 3), items(scheme, [[], [], []]), DIGEST, scheme)
    assert (found.n, found.p, found.log10_p, found.log10_e) == (0, 1, 0, 0)
    assert found.void is not None
    assert found.effect == scheme.law.mean


def test_a_sequential_plan_may_end_early_and_others_not() -> None:
    scheme = green()
    texts = marked_like(scheme, 4, 30, seed=3)
    some = items(scheme, texts)
    early = marks_in_text_finding(plan(scheme, 9, sequential=True), some, DIGEST)
    assert early.sequential
    assert early.log10_p < -2
    with pytest.raises(PotstillError, match="ends at record 4 of 9"):
        marks_in_text_finding(plan(scheme, 9), some, DIGEST)


def test_prompts_are_asked_in_rounds() -> None:
    scheme = green()
    asked = plan(scheme, 0, prompts=("a", "b", "c"), samples=2)
    assert asked.questions == 6
    assert asked.needs == {"answers"}
    assert plan(scheme, 1).needs == {"texts"}
    right = [AnswerItem(index=i, outcome="empty", prompt=i % 3, sample=i // 3) for i in range(6)]
    marks_in_text_finding(asked, right, DIGEST)
    wrong = [*right[:4], right[4].model_copy(update={"prompt": 2}), right[5]]
    with pytest.raises(PotstillError, match="record 4 of the raw log answers another question"):
        marks_in_text_finding(asked, wrong, DIGEST)


def test_a_plan_asks_or_was_given_texts() -> None:
    for wrong in ({}, {"prompts": ("a",), "collected": 3}):
        with pytest.raises(ValidationError, match="asked for by prompts or was collected"):
            plan(green(), 0, **wrong)


def test_an_answer_has_figures_and_a_failure_none() -> None:
    for wrong in (
        {"outcome": "answered"},
        {"outcome": "error", "ids": (1, 2)},
        {"outcome": "empty", "scores": (1.0,)},
    ):
        with pytest.raises(ValidationError, match="failed has no figures"):
            AnswerItem.model_validate({"index": 0, **wrong})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"ids": (1, VOCABULARY, 2)}, "record 1 .* outside the vocabulary of 40"),
        ({"ids": (1, -1, 2)}, "record 1 .* outside the vocabulary"),
        ({"scores": (1.0,)}, "record 1 .* one score for each whole window"),
        ({"scores": (1.0, 0.5)}, "record 1 .* a score that no mark of the plan has"),
        ({"index": 2}, "record 1 of the raw log is missing"),
    ],
)
def test_what_no_run_wrote_is_named(change: dict[str, Any], named: str) -> None:
    scheme = green()
    some = items(scheme, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    some[1] = some[1].model_copy(update=change)
    with pytest.raises(PotstillError, match=named):
        marks_in_text_finding(plan(scheme, 3), some, DIGEST)


def test_a_changed_score_is_found_without_the_key_where_a_pair_comes_again() -> None:
    scheme = gumbel()
    some = items(scheme, [[1, 2, 3], [4, 1, 2]])
    some[1] = some[1].model_copy(update={"scores": (some[1].scores[0], 9.0)})
    with pytest.raises(PotstillError, match=r"record 1 .* scores one pair in two ways"):
        marks_in_text_finding(plan(scheme, 2), some, DIGEST)


def test_a_changed_score_is_found_with_the_key() -> None:
    for scheme in (green(), gumbel()):
        some = items(scheme, [[1, 2, 3], [4, 5, 6]])
        changed = tuple(1.0 - s if s in (0, 1) else s + 1 for s in some[1].scores)
        some[1] = some[1].model_copy(update={"scores": changed})
        asked = plan(scheme, 2)
        marks_in_text_finding(asked, some, DIGEST)
        with pytest.raises(PotstillError, match=r"record 1 .* the key does not give"):
            marks_in_text_finding(asked, some, DIGEST, scheme)


def test_a_key_of_another_epoch_is_refused() -> None:
    some = items(green(), [[1, 2, 3]])
    with pytest.raises(PotstillError, match="not the key of the plan"):
        marks_in_text_finding(plan(green(), 1), some, DIGEST, green("two"))


@pytest.mark.parametrize("least_answers", [1, 2])
def test_the_null_holds_whatever_is_chosen_by_the_text(least_answers: int) -> None:
    """400 keys over texts that repeat themselves; an unanswered tenth changes nothing."""
    rng = np.random.default_rng([2030, least_answers])
    texts: list[list[int]] = [(rng.zipf(1.4, 25) % VOCABULARY).tolist() for _ in range(10)]
    texts[3] = []
    scheme, p = gumbel(), []
    for number in range(400):
        keyed = scheme.decoy(number)
        asked = plan(keyed, len(texts), least_answers=least_answers)
        p.append(marks_in_text_finding(asked, items(keyed, texts), DIGEST).p)
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_more_answers_ask_for_pairs_that_stand_in_more_of_them() -> None:
    assert [least_answers_of(n) for n in (0, 1, 300, 767, 768, 2_080)] == [2, 2, 2, 2, 3, 8]
