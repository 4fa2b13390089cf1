"""Held-out text as a student reads it: the kind that a figure is made of, and what it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from held_out_stores import CONFIG, access_to, collected, corpus_on, prompts, written

from pipeline_runs import Noted
from potstill.evaluate.held_out import HeldOutRows, held_out, held_out_answers
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import CallsConfig, EndpointConfig
from potstill.work.access import PastCalls, Server
from potstill.work.corpus import Corpus

ASKED = prompts(4)
CALLS = PastCalls("past", CallsConfig(path="log.jsonl", source="mit"))
SERVER = Server("m", EndpointConfig(url="http://127.0.0.1:9/v1", provider="local"), False)


@pytest.fixture(scope="module")
def answered(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    corpus = collected(nano_llama, tmp_path_factory.mktemp("answered"), ASKED)
    yield corpus
    corpus.store.close()


def test_rows_are_told_apart_by_how_they_were_drawn(answered: Corpus) -> None:
    rows = HeldOutRows.of(answered)
    assert len(rows.every) == len(rows.kept) == 2 * len(ASKED) and rows.marks == ()
    drawn, greedy = rows.drawn(greedy=False), rows.drawn(greedy=True)
    assert {r.sampling["temperature"] for r in drawn} == {1.0}
    assert {r.sampling["temperature"] for r in greedy} == {0.0}
    assert {r.prompt_id for r in drawn} == {r.prompt_id for r in greedy}
    assert rows.drawn(greedy=None) == list(rows.kept)


def test_dropped_rows_are_read_but_not_kept(nano_llama: Path, tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    store.append([written(p, "Yes.", temperature=1.0) for p in ASKED[:3]])
    gone, unwanted = (row.exchange_id for row in store.read()[:2])
    store.mark([Mark(gone, "curate", False, "empty: x")])
    corpus = corpus_on(
        store,
        access_to(nano_llama, CALLS),
        "past",
        measured_on=lambda row: row.exchange_id != unwanted,
    )
    rows = HeldOutRows.of(corpus)
    assert len(rows.every) == 3 and len(rows.kept) == 1
    assert [mark.exchange_id for mark in rows.marks] == [gone]
    used = {row.prompt_id for row in rows.kept}
    left = rows.left_out(ASKED, used, greedy=False, unasked=3)
    # Three unasked, and one whose answer is not dropped and still not read.
    assert left == {"too_long": 4, "empty": 1, "no_answer": 1}
    assert rows.left_out(ASKED, used, greedy=True, unasked=0) == {"no_answer": 3}
    store.close()


def test_a_teacher_s_text_comes_with_its_own_states(answered: Corpus, nano_llama: Path) -> None:
    student = load(str(nano_llama), precision="fp32")
    rows = HeldOutRows.of(answered).drawn(greedy=False)[::-1]
    found = held_out(answered, rows, student, None, progress=Silent())
    states = response_hidden(answered.opened.teacher, [row.ids for row in rows])
    for text, row, right in zip(found, rows, states, strict=True):
        assert (text.teacher_prompt_ids, text.teacher_response_ids) == row.ids
        assert (text.prompt_ids, text.response_ids) == row.ids
        assert (text.prompt_id, text.response) == (row.prompt_id, row.response)
        assert text.teacher_hidden_RD is not None
        torch.testing.assert_close(text.teacher_hidden_RD.float(), right, atol=2e-2, rtol=1e-2)


@pytest.mark.parametrize(("author", "count"), [(CALLS, 4), (SERVER, 2)])
def test_of_a_server_only_drawn_text_is_measured_on(
    author: PastCalls | Server, count: int, nano_llama: Path, tmp_path: Path
) -> None:
    store = ExchangeStore(tmp_path)
    store.append([written(p, "one two", temperature=t) for p in ASKED[:2] for t in (0.0, 1.0)])
    corpus = corpus_on(store, access_to(nano_llama, author), "past")
    student = load(str(nano_llama), precision="fp32")
    rows = HeldOutRows.of(corpus)
    found = held_out_answers(corpus, rows, student, None, progress=Silent())
    assert len(found) == count
    for text in found:
        # Its own ids are not known.
        assert text.teacher_prompt_ids == text.teacher_response_ids == ()
        assert text.teacher_hidden_RD is None
        assert student.tokenizer.decode(text.response_ids).startswith("one two")
    store.close()


def test_what_a_student_cannot_read_is_said_and_left_out(nano_llama: Path, tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    store.append([written(ASKED[0], "one two"), written(ASKED[1], "one " * 900)])
    corpus = corpus_on(store, access_to(nano_llama, CALLS), "past")
    student, progress = load(str(nano_llama), precision="fp32"), Noted()
    rows = HeldOutRows.of(corpus)
    found = held_out_answers(corpus, rows, student, None, progress=progress)
    assert [text.prompt_id for text in found] == [ASKED[0].prompt_id]
    assert progress.notes == [
        "evaluate: 1 of 2 held-out answers are left out: longer than what the student reads at once"
    ]
    assert CONFIG.max_tokens == 12
    store.close()
