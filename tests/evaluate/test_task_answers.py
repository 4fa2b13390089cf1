"""Held-out answers of a teacher with weights are asked for once, and priced all the same."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from held_out_stores import CONFIG, SEED, access_to, collected, corpus_on, prompts, written

from pipeline_runs import Noted
from potstill.errors import PotstillError
from potstill.evaluate import task_answers
from potstill.evaluate.held_out import HeldOutRows
from potstill.evaluate.task_answers import TaskMeasure, mean_of, stored_answers, task_outcome
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import EndpointConfig, TaskConfig
from potstill.work.access import RightAnswers, Server
from potstill.work.corpus import Corpus
from potstill.work.stage_records import PricedByTime, PricedByTokens, TaskOutcome

HELD_OUT, PRICED = 12, 4
ASKED = prompts(HELD_OUT)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """(model, number of prompts) of every call for greedy texts."""
    calls: list[tuple[Any, int]] = []
    plain = task_answers.greedy_texts

    def counted(model: Any, prompts: Any, **options: Any) -> list[str]:
        calls.append((model, len(prompts)))
        return plain(model, prompts, **options)

    monkeypatch.setattr(task_answers, "greedy_texts", counted)
    monkeypatch.setattr(task_answers, "_PRICED_ROWS", PRICED)
    return calls


@pytest.fixture(scope="module")
def student(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), precision="fp32")


def measure(max_tokens: int = CONFIG.max_tokens) -> TaskMeasure:
    task = TaskConfig(kind="text", max_tokens=max_tokens)
    return TaskMeasure(task, CONFIG, machine_hour=2.0, seed=SEED)


def outcome(
    corpus: Corpus, student: LoadedModel, how: TaskMeasure, wanted: Any = ASKED, **options: Any
) -> TaskOutcome:
    options = {"unasked": 0, "progress": Silent(), **options}
    return task_outcome(how, wanted, HeldOutRows.of(corpus), student, corpus, **options)[0]


def test_the_very_same_answers_are_not_asked_for_again(
    nano_llama: Path, student: LoadedModel, tmp_path: Path, asked: list[tuple[Any, int]]
) -> None:
    corpus = collected(nano_llama, tmp_path, ASKED)
    found, teacher = outcome(corpus, student, measure()), corpus.opened.teacher
    assert found.scores.left_out == {}
    # The teacher is asked for a price alone, on rows that the student is priced on too.
    assert [n for model, n in asked if model is teacher] == [PRICED, 0]
    assert [n for model, n in asked if model is student] == [PRICED, HELD_OUT - PRICED]
    assert found.scores.agreement is not None and found.scores.agreement.value == 1
    for name in ("teacher", "student"):
        price = found.prices[name]
        assert isinstance(price, PricedByTime) and price.machine_hour == 2.0
        assert price.seconds_per_call > 0
    stored = stored_answers(measure(), ASKED, corpus.store.read("held_out"), corpus)
    assert stored == task_answers.asked(teacher, ASKED, max_tokens=CONFIG.max_tokens)
    assert len(stored) == HELD_OUT
    corpus.store.close()


def test_answers_that_curation_dropped_need_no_asking_either(
    nano_llama: Path, tmp_path: Path
) -> None:
    corpus = collected(nano_llama, tmp_path, ASKED[:3])
    rows = corpus.store.read("held_out")
    corpus.store.mark([Mark(row.exchange_id, "curate", False, "empty") for row in rows])
    assert HeldOutRows.of(corpus).kept == ()
    assert len(stored_answers(measure(), ASKED, HeldOutRows.of(corpus).every, corpus)) == 3
    corpus.store.close()


@pytest.mark.parametrize(("max_tokens", "greedy"), [(8, True), (CONFIG.max_tokens, False)])
def test_anything_else_is_asked_for(
    max_tokens: int,
    greedy: bool,
    nano_llama: Path,
    student: LoadedModel,
    tmp_path: Path,
    asked: list[tuple[Any, int]],
) -> None:
    config = CONFIG.model_copy(update={"greedy": greedy})
    corpus = collected(nano_llama, tmp_path, ASKED, config=config)
    found = outcome(corpus, student, measure(max_tokens))
    assert found.scores.agreement is not None and found.scores.agreement.value == 1
    assert [n for _, n in asked] == [HELD_OUT, 0] * 2
    corpus.store.close()


def test_right_answers_are_nobody_s_to_compare_with(
    nano_llama: Path, student: LoadedModel, tmp_path: Path, asked: list[tuple[Any, int]]
) -> None:
    corpus = corpus_on(ExchangeStore(tmp_path), access_to(nano_llama, RightAnswers("none")), "gold")
    found = outcome(corpus, student, measure(), prompts(HELD_OUT, gold=True), unasked=3)
    assert found.scores.teacher is None and found.scores.n == HELD_OUT
    assert found.scores.left_out == {"too_long": 3}
    assert set(found.prices) == {"student"}
    assert asked == [(student, HELD_OUT), (student, 0)]
    corpus.store.close()


def served(root: Path, directory: Path, usages: list[dict[str, int]], **prices: float) -> Corpus:
    """Return the corpus of a server's greedy answers, and of a drawn one that no task is about."""
    endpoint = EndpointConfig(provider="litellm", url="https://localhost/v1", **prices)  # type: ignore[arg-type]
    store = ExchangeStore(root)
    rows = [
        written(prompt, "one", temperature=0.0, usage=usage)
        for prompt, usage in zip(ASKED, usages, strict=False)
    ]
    store.append([*rows, written(ASKED[-1], "drawn")])
    return corpus_on(store, access_to(directory, Server("m", endpoint, False)), "endpoint/m")


def test_a_server_s_calls_are_priced_by_their_tokens(
    nano_llama: Path, student: LoadedModel, tmp_path: Path
) -> None:
    usages = [{"prompt_tokens": 10, "completion_tokens": count} for count in (2, 4)]
    corpus = served(tmp_path, nano_llama, usages, price_in=0.5, price_out=1.5)
    found = outcome(corpus, student, measure())
    assert found.scores.n == 2 and found.scores.left_out == {"no_answer": HELD_OUT - 2}
    assert found.prices["teacher"] == PricedByTokens(
        prompt_tokens=10, response_tokens=3, prompt_million=0.5, response_million=1.5
    )
    corpus.store.close()


@pytest.mark.parametrize("priced", [True, False])
def test_a_price_that_nobody_knows_is_none(
    priced: bool, nano_llama: Path, student: LoadedModel, tmp_path: Path
) -> None:
    prices = {"price_in": 0.5, "price_out": 1.5} if priced else {}
    corpus = served(tmp_path, nano_llama, [{"prompt_tokens": 10}], **prices)
    progress = Noted()
    found = outcome(corpus, student, measure(), progress=progress)
    assert set(found.prices) == {"student"}
    said = [note for note in progress.notes if "did not say how many tokens" in note]
    assert len(said) == int(priced)
    corpus.store.close()


def test_a_task_without_any_answer_of_the_teacher_is_refused(
    nano_llama: Path, student: LoadedModel, tmp_path: Path
) -> None:
    corpus = served(tmp_path, nano_llama, [])
    with pytest.raises(PotstillError, match="12 held-out rows are all missing; run `potstill"):
        outcome(corpus, student, measure())
    corpus.store.close()


@pytest.mark.parametrize(
    ("usages", "mean"),
    [
        ([{"completion_tokens": 4}, {"completion_tokens": 8}], 6.0),
        ([{"completion_tokens": 4}, {}], None),
        ([{}, {"prompt_tokens": 9}], None),
        ([], None),
    ],
)
def test_usage_that_a_server_did_not_state_is_no_0(
    usages: list[dict[str, int]], mean: float | None
) -> None:
    rows: Any = [SimpleNamespace(usage=usage) for usage in usages]
    assert mean_of(rows, "completion_tokens") == mean
