"""Stored answers in the ids of who learns them: read once, marks heeded, targets in their place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import (
    CALLS,
    PLAN,
    Answered,
    corpus_on,
    past_rows,
    text_access,
    written,
)
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, HiddenStates, LikeliestTokens
from potstill.models.conversation import Reply
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.recipe import EndpointConfig
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.work.access import Access, RightAnswers, Server, Weights
from potstill.work.corpus import Corpus, Text, fitting, reply_in, reply_of, tokenised

TOP = TargetSpec("top-k", 4)
THOUGHT = "<think>\nthree\n</think>\n\nI count."


@pytest.fixture(scope="module")
def llama(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), precision="fp32")


@pytest.fixture(scope="module")
def trimmed(llama: LoadedModel, stored: Answered) -> tuple[LoadedModel, VocabularyMap]:
    """A student that lacks tokens of some rows, and none of the others."""
    store = ExchangeStore(stored.root)
    merges = merges_of(llama.tokenizer)
    weight_V = torch.zeros(llama.network.config.vocab_size, dtype=torch.float64)
    for row in store.read("train")[:3]:
        weight_V[list(row.ids[0] + row.ids[1])] = 1000.0
    store.close()
    tokens = tuple(choose_tokens(merges, weight_V, 340))
    student, vocabulary = pruned(llama, Cut(kept_tokens=tokens))
    assert vocabulary is not None
    return student, vocabulary


def test_a_split_is_read_once(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Any] = []
    plain = ExchangeStore.read

    def counted(self: ExchangeStore, split: Any = None) -> Any:
        read.append(split)
        return plain(self, split)

    monkeypatch.setattr(ExchangeStore, "read", counted)
    for _ in range(2):
        rows = corpus.exchanges("train")
        assert [r.exchange_id for r in rows] == sorted(r.exchange_id for r in rows)
        assert {r.prompt_id for r in rows} == {p.prompt_id for p in PLAN.train}
        assert corpus.parent_ids("train") == [row.ids for row in rows]
        assert len(corpus.exchanges("held_out")) == 2 * len(PLAN.held_out)
    assert read == ["train", "held_out"]
    # Dropped ones are among what was read.
    assert corpus.stored("train") == rows and len(read) == 2
    # Another stage's corpus sees what the store holds then, and what it is to measure on.
    none = replace(corpus, measured_on=lambda row: False)
    assert none.exchanges("held_out") == [] and len(none.stored("held_out")) == 6
    assert len(read) == 3


def test_what_curation_dropped_is_not_there(stored: Answered, tmp_path: Path) -> None:
    corpus = stored.corpus(tmp_path / "marked")
    first, second = corpus.store.read("train")[:2]
    corpus.store.mark(
        [
            Mark(first.exchange_id, "curate", False, "empty: nothing"),
            Mark(second.exchange_id, "curate", True, ""),
        ]
    )
    ids = [row.exchange_id for row in corpus.exchanges("train")]
    assert first.exchange_id not in ids and second.exchange_id in ids
    assert {row.exchange_id for row in corpus.stored("train")} == {*ids, first.exchange_id}
    assert len(ids) == len(PLAN.train) - 1
    corpus.store.close()


def test_only_held_out_answers_that_are_asked_for_now_count(stored: Answered) -> None:
    corpus = stored.corpus(measured_on=lambda row: row.sampling["temperature"] == 0)
    assert len(corpus.exchanges("held_out")) == len(PLAN.held_out)
    # It is asked about no others.
    assert len(corpus.exchanges("train")) == len(PLAN.train)
    assert len(corpus.exchanges("validation")) == len(PLAN.validation)
    corpus.store.close()


def test_a_student_of_the_same_tokens_learns_the_teacher_s_ids(
    corpus: Corpus, llama: LoadedModel
) -> None:
    rows = corpus.exchanges("train")
    assert corpus.texts(rows, llama) == [Text(row, *row.ids, True) for row in rows]


def test_a_trimmed_student_learns_the_same_text(
    corpus: Corpus, llama: LoadedModel, trimmed: tuple[LoadedModel, VocabularyMap]
) -> None:
    student, vocabulary = trimmed
    rows = corpus.exchanges("train")
    texts = corpus.texts(rows, student, vocabulary)
    for row, text in zip(rows, texts, strict=True):
        assert text.prompt_ids == student.conversation.prompt_ids(row.messages)
        assert student.tokenizer.decode(text.response_ids) == llama.tokenizer.decode(row.ids[1])
        one_to_one = tuple(
            teacher_ids_of(vocabulary, ids) for ids in (text.prompt_ids, text.response_ids)
        )
        assert text.unchanged == (one_to_one == row.ids)
    assert {text.unchanged for text in texts} == {True, False}, "both kinds should be there"


def test_states_come_in_the_order_asked_whatever_form_they_have(
    stored: Answered, tmp_path: Path, llama: LoadedModel
) -> None:
    corpus = stored.corpus(tmp_path / "mixed")
    rows = corpus.exchanges("train")[::-1]
    expected = response_hidden(llama, [row.ids for row in rows])
    for state, right in zip(corpus.hidden(rows), expected, strict=True):
        assert state is not None
        torch.testing.assert_close(state.float(), right, atol=2e-2, rtol=1e-2)
    lacking = written(PLAN.train[0], "Never scored.", exchange_id="zz")
    int8 = written(PLAN.train[1], "In bytes.", exchange_id="yy")
    corpus.store.append(
        [lacking, int8],
        [
            ExchangeTargets(
                "yy", corpus.author_identity, HIDDEN_INT8, HiddenStates(expected[0].half())
            )
        ],
    )
    found = corpus.hidden([rows[1], lacking, int8, rows[0]])
    assert [state is None for state in found] == [False, True, False, False]
    assert found[3] is not None and found[2] is not None
    torch.testing.assert_close(found[2].float(), found[3].float(), atol=0.1, rtol=0.1)
    # They are the author's: another's are none.
    other = replace(corpus, author_identity="another")
    assert other.hidden(rows) == [None] * len(rows)
    corpus.store.close()


def test_text_of_an_author_that_is_not_at_hand_is_cut_up_as_a_whole(
    nano_llama: Path, store: ExchangeStore, llama: LoadedModel
) -> None:
    asked: list[tuple[str, Any, str]] = []

    def cut(row: Exchange, spoken: Any, reasoning: Any) -> Text:
        asked.append((row.exchange_id, spoken, reasoning))
        return tokenised(row, spoken, reasoning)

    store.append(past_rows())
    corpus = corpus_on(store, text_access(nano_llama), "past", cut=cut, reasoning="leave_out")
    rows = corpus.exchanges("train")
    texts = corpus.texts(rows, llama)
    assert texts == [tokenised(row, llama.conversation, "leave_out") for row in rows]
    assert not any(text.unchanged for text in texts)
    assert asked == [(row.exchange_id, llama.conversation, "leave_out") for row in rows]
    assert corpus.parent_ids("train") == [(t.prompt_ids, t.response_ids) for t in texts]


def served(directory: Path, *, reads: bool, author: Any = None, targets: bool = True) -> Access:
    config = EndpointConfig(url="http://127.0.0.1:9/v1", provider="local", scores_text=reads)
    server = Server("m", config, targets)
    student = Weights(str(directory))
    return Access(author or server, server if targets else None, student, student)


def test_a_server_s_own_tokens_are_learnt_where_they_are_the_student_s(
    nano_llama: Path, store: ExchangeStore, llama: LoadedModel
) -> None:
    spoken = llama.conversation
    # Not how the tokenizer would cut the text: letter by letter.
    letters = tuple(i for c in "cat" for i in llama.tokenizer(c)["input_ids"])
    known = {"response_token_ids": letters, "tokenizer": llama.tokenizer_id}
    whole = written(PLAN.train[0], "cat", exchange_id="a", **known)
    others = written(PLAN.train[1], "cat", exchange_id="b", **{**known, "tokenizer": "another"})
    thought = written(PLAN.train[2], THOUGHT, exchange_id="c", **known)
    apart = written(PLAN.train[3], "cat", exchange_id="d", reasoning="hm", **known)
    store.append([whole, others, thought, apart])
    for reasoning in ("keep", "leave_out"):
        access = served(nano_llama, reads=False)
        corpus = corpus_on(store, access, "srv", spec=TOP, reasoning=reasoning)
        a, b, c, d = corpus.texts(corpus.exchanges("train"), llama)
        assert a == Text(whole, spoken.prompt_ids(whole.messages), letters, True)
        assert b == tokenised(others, spoken, reasoning) and not b.unchanged  # type: ignore[arg-type]
        assert d == tokenised(apart, spoken, reasoning)  # type: ignore[arg-type]
        # What is left out has no targets.
        assert c.unchanged == (reasoning == "keep")
    # Without targets nothing says that its tokens are those of the student.
    corpus = corpus_on(store, served(nano_llama, reads=False, targets=False), "srv")
    assert not any(t.unchanged for t in corpus.texts(corpus.exchanges("train"), llama))


def test_text_that_a_server_read_has_targets_at_the_tokens_it_is_cut_into(
    nano_llama: Path,
    store: ExchangeStore,
    llama: LoadedModel,
    trimmed: tuple[LoadedModel, VocabularyMap],
) -> None:
    access = served(nano_llama, reads=True, author=CALLS)
    corpus = corpus_on(store, access, "past", spec=TOP)
    server = access.scorer
    assert isinstance(server, Server)
    assert corpus.scorer_identity == server.identity != corpus.author_identity
    rows = past_rows()
    ids = tokenised(rows[0], llama.conversation, "keep").response_ids
    count = len(ids)
    values = LikeliestTokens(
        torch.tensor(ids)[:, None].expand(count, 4).contiguous() * 0 + torch.arange(4),
        torch.full((count, 4), -2.0),
        torch.full((count,), -1.0),
        512,
    )
    store.append(rows, [ExchangeTargets(rows[0].exchange_id, server.identity, TOP, values)])
    by_id = {t.exchange.exchange_id: t for t in corpus.texts(rows, llama)}
    assert {key for key, text in by_id.items() if text.unchanged} == {rows[0].exchange_id}
    assert by_id[rows[0].exchange_id].response_ids == ids
    # In other tokens they stand nowhere, and without the wish for them nobody looks.
    assert not any(t.unchanged for t in corpus.texts(rows, *trimmed))
    assert not any(t.unchanged for t in replace(corpus, spec=None).texts(rows, llama))


def test_whose_distributions_are_learnt(nano_llama: Path, store: ExchangeStore) -> None:
    asked = corpus_on(store, served(nano_llama, reads=False), "srv")
    assert asked.scorer_identity != "srv"
    for access in (text_access(nano_llama), text_access(nano_llama, RightAnswers("none"))):
        assert corpus_on(store, access, "past").scorer_identity == "past"


def test_an_answer_is_learnt_whole_where_nothing_of_it_is_left_out(
    nano_llama: Path, store: ExchangeStore
) -> None:
    keep = corpus_on(store, text_access(nano_llama), "past", reasoning="keep")
    leave = corpus_on(store, text_access(nano_llama), "past", reasoning="leave_out")
    plain, thought = (written(PLAN.train[0], text) for text in ("Yes.", THOUGHT))
    apart = replace(plain, reasoning="three")
    assert [keep.learnt_whole(row) for row in (plain, thought, apart)] == [True, True, False]
    assert [leave.learnt_whole(row) for row in (plain, thought, apart)] == [True, False, False]


@pytest.mark.parametrize(
    ("response", "reasoning", "expected"),
    [
        ("Yes.", None, Reply("Yes.")),
        (THOUGHT, None, Reply("I count.", "three")),
        ("<thinking>a</thinking>\n\n\n  b ", None, Reply("\n  b ", "a")),
        # The mark was opened in the prompt.
        ("three\n</think>\nI count.", None, Reply("I count.", "three")),
        ("I count.", "three", Reply("I count.", "three")),
        ("<think>b</think>c", "a", Reply("c", "a\nb")),
        # It speaks of a mark, or has tags of its own.
        ("Write </think> behind it.", None, Reply("Write </think> behind it.")),
        ("<reasoning>a</reasoning> b", None, Reply("<reasoning>a</reasoning> b")),
        ("Use <think>a</think> so.", None, Reply("Use <think>a</think> so.")),
        # It was cut off in its reasoning.
        ("<think>never closed", None, Reply("", "never closed")),
    ],
)
def test_reasoning_is_told_from_the_answer(
    response: str, reasoning: str | None, expected: Reply
) -> None:
    row = written(PLAN.train[0], response, reasoning=reasoning)
    assert reply_in(row) == expected
    if reasoning is None or expected.text == response:
        message = {"role": "assistant", "content": response, "reasoning_content": reasoning}
        assert reply_of(message) == expected


def test_calls_of_tools_stay_with_the_answer() -> None:
    calls = [{"type": "function", "function": {"name": "find", "arguments": {"n": 1}}}]
    row = written(PLAN.train[0], "", tool_calls=json.dumps(calls))
    assert reply_in(row) == Reply("", None, row.tool_calls)
    told = reply_of({"role": "assistant", "content": None, "tool_calls": calls})
    assert told.text == "" and told.tool_calls is not None
    assert json.loads(told.tool_calls)[0]["function"]["name"] == "find"


def test_an_answer_that_was_cut_off_has_no_end(llama: LoadedModel) -> None:
    row = written(PLAN.train[0], "I count.")
    whole = tokenised(row, llama.conversation, "keep")
    cut_off = tokenised(replace(row, finish_reason="length"), llama.conversation, "keep")
    ends = llama.conversation.end_ids
    assert whole.response_ids == (*cut_off.response_ids, *ends)
    assert whole.prompt_ids == llama.conversation.prompt_ids(row.messages)
    assert not whole.unchanged


def test_texts_that_are_too_long_are_left_out(llama: LoadedModel) -> None:
    room = llama.network.config.max_position_embeddings
    fits = Text(written(PLAN.train[0], ""), (1,) * 10, (2,) * (room - 10), True)
    longer = replace(fits, response_ids=(2,) * (room - 9))
    assert fitting([fits, longer, fits], llama) == ([fits, fits], 1)
    assert fitting([], llama) == ([], 0)
    with pytest.raises(PotstillError, match=f"all 2 answers are longer than the {room} tokens"):
        fitting([longer, longer], llama)


def test_forms_of_targets_are_told_apart(stored: Answered) -> None:
    assert stored.corpus().spec == HIDDEN_FP16
