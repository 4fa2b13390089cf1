"""What measures students on validation prompts, without a run directory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import PLAN, corpus_on, past_rows, text_access, written
from potstill.evaluate import validation as module
from potstill.evaluate.validation import text_validation, validation
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import head_of
from potstill.models.score import response_hidden
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.text_needs import token_weights
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.work.corpus import Corpus


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """Who read how many texts, in order."""
    found: list[tuple[Any, int]] = []

    def counted(model: Any, pairs: Any, **options: Any) -> Any:
        found.append((model, len(pairs)))
        return response_hidden(model, pairs, **options)

    monkeypatch.setattr(module, "response_hidden", counted)
    return found


def test_a_student_that_is_its_teacher_has_lost_nothing(
    corpus: Corpus, reads: list[tuple[Any, int]]
) -> None:
    student, _ = pruned(corpus.opened.teacher, Cut())
    found = validation(corpus)(student, None)
    assert found["kl"] == pytest.approx(0, abs=1e-5) and found["agreement"] == 1
    # The teacher's states are stored: it reads nothing.
    assert reads == [(student, len(PLAN.validation))]
    shorter, _ = pruned(corpus.opened.teacher, Cut(blocks=(0,)))
    worse = validation(corpus)(shorter, None)
    assert worse["kl"] > 0.01 and worse["agreement"] < 1


def test_states_that_are_not_stored_are_read_once_for_each_vocabulary(
    corpus: Corpus, reads: list[tuple[Any, int]]
) -> None:
    """The same figures, to the rounding of stored states."""
    teacher = corpus.opened.teacher
    student, _ = pruned(teacher, Cut(blocks=(0,)))
    expected = validation(corpus)(student, None)["kl"]
    reads.clear()
    measure = validation(replace(corpus, author_identity="another"))
    for _ in range(2):
        assert measure(student, None)["kl"] == pytest.approx(expected, rel=1e-2)
    count = len(PLAN.validation)
    assert reads == [(teacher, count), (student, count), (student, count)]


def test_validation_reads_each_student_in_its_own_vocabulary(
    corpus: Corpus, reads: list[tuple[Any, int]]
) -> None:
    """A search goes back and forth between vocabularies."""
    teacher = corpus.opened.teacher
    merges = merges_of(teacher.tokenizer)
    weight_V = token_weights(corpus)
    kept = [tuple(choose_tokens(merges, weight_V, count)) for count in (300, 330)]
    measure = validation(corpus)
    students = [pruned(teacher, Cut(kept_tokens=tokens)) for tokens in (None, *kept)]
    first = [measure(*pair)["kl"] for pair in students]
    assert first[0] == pytest.approx(0, abs=1e-5)
    assert first[1] > first[2] > 0
    for index in (0, 2, 1, 2, 0):
        assert measure(*students[index])["kl"] == pytest.approx(first[index], rel=1e-5, abs=1e-6)
    # Back and forth between two, the teacher reads nothing again.
    reads.clear()
    for index in (2, 0, 2, 0):
        measure(*students[index])
    assert teacher not in [model for model, _ in reads]


def test_text_alone_is_measured_by_how_unlikely_it_is(nano_llama: Path, tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    rows = [*past_rows("validation"), *past_rows("train")]
    rows.append(written(PLAN.validation[0], "one " * 900, exchange_id="long"))
    store.append(rows)
    corpus = corpus_on(store, text_access(nano_llama), "past")
    student = corpus.opened.parent
    found = text_validation(corpus)(student, None)
    assert set(found) == {"nll"}
    total, tokens = 0.0, 0
    for text in corpus.texts(past_rows("validation"), student):
        (hidden_RD,) = response_hidden(student, [(text.prompt_ids, text.response_ids)])
        logp_RV = head_of(student).logits(hidden_RD).double().log_softmax(-1)
        total -= float(
            logp_RV[range(len(text.response_ids)), list(text.response_ids)].sum().detach()
        )
        tokens += len(text.response_ids)
    # What it cannot read is left out, and every token counts alike.
    assert found["nll"] == pytest.approx(total / tokens, rel=1e-4)
    worse, _ = pruned(student, Cut(blocks=(0, 1)))
    assert text_validation(corpus)(worse, None)["nll"] > found["nll"]
    assert torch.isfinite(torch.tensor(found["nll"]))
    store.close()
