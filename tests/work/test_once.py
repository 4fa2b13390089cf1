"""A text is cut up once for whoever reads it, and never for one with other ids."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from learnt_stores import PLAN, past_rows, written
from potstill.errors import PotstillError
from potstill.models.conversation import Conversation
from potstill.models.conversation.fingerprint import fingerprint_of
from potstill.models.load import load_conversation
from potstill.work import once as module
from potstill.work.corpus import tokenised
from potstill.work.once import CutOnce

ROWS = past_rows()


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the exchanges that were cut up, each time that one was."""
    found: list[str] = []

    def counted(row: Any, spoken: Any, reasoning: Any) -> Any:
        found.append(row.exchange_id)
        return tokenised(row, spoken, reasoning)

    monkeypatch.setattr(module, "tokenised", counted)
    return found


@pytest.fixture(scope="module")
def spoken(nano_llama: Path) -> Conversation:
    return load_conversation(str(nano_llama))


def test_the_ids_are_those_of_cutting_anew(spoken: Conversation, cuts: list[str]) -> None:
    cut = CutOnce()
    expected = [tokenised(row, spoken, "keep") for row in ROWS]
    assert [cut(row, spoken, "keep") for row in ROWS] == expected
    assert [cut(row, spoken, "keep") for row in ROWS] == expected
    assert cuts == [row.exchange_id for row in ROWS]


def test_what_is_left_out_is_cut_apart(spoken: Conversation, cuts: list[str]) -> None:
    row = written(PLAN.train[0], "<think>\nthree\n</think>\n\nI count.")
    cut = CutOnce()
    kept, left = cut(row, spoken, "keep"), cut(row, spoken, "leave_out")
    assert len(kept.response_ids) > len(left.response_ids)
    assert kept == cut(row, spoken, "keep") and left == cut(row, spoken, "leave_out")
    assert len(cuts) == 2


def test_the_same_tokenizer_loaded_again_is_the_same_reader(
    nano_llama: Path, spoken: Conversation, cuts: list[str]
) -> None:
    cut = CutOnce()
    cut(ROWS[0], spoken, "keep")
    assert cut(ROWS[0], load_conversation(str(nano_llama)), "keep").response_ids
    assert len(cuts) == 1


def test_two_readers_are_remembered_the_latest_ones(
    nano_llama: Path, nano_qwen3: Path, spoken: Conversation, cuts: list[str]
) -> None:
    cut, row = CutOnce(), ROWS[0]
    other = load_conversation(str(nano_qwen3))
    for reader in (spoken, other, spoken):
        assert cut(row, reader, "keep") == tokenised(row, reader, "keep")
    assert len(cuts) == 2
    cut(row, spoken, "leave_out")  # a third: the one that was asked longest ago goes
    cut(row, spoken, "keep")
    assert len(cuts) == 3
    cut(row, other, "keep")
    assert len(cuts) == 4


def test_a_text_that_cannot_be_laid_out_is_refused_each_time(spoken: Conversation) -> None:
    broken = written(PLAN.train[0], "", tool_calls=json.dumps([{"no": "call"}]))
    cut = CutOnce()
    for _ in range(2):
        with pytest.raises(PotstillError):
            cut(broken, spoken, "keep")


def test_a_fingerprint_tells_apart_whatever_changes_ids(
    nano_llama: Path, nano_qwen3: Path, tmp_path: Path
) -> None:
    plain = load_conversation(str(nano_llama))
    dated = tmp_path / "dated"
    shutil.copytree(nano_llama, dated)
    template = "{{ strftime_now('%d %b %Y') }}" + str(plain.tokenizer.chat_template)
    (dated / "chat_template.jinja").write_text(template)
    spoken = [
        plain,
        load_conversation(str(nano_qwen3)),
        replace(plain, end=f"{plain.end} "),
        replace(plain, stop_ids=(*plain.stop_ids, 7)),
        load_conversation(str(dated), date="2026-01-01"),
        load_conversation(str(dated), date="2026-01-02"),
    ]
    assert len({fingerprint_of(s) for s in spoken}) == len(spoken)
    assert fingerprint_of(load_conversation(str(nano_llama))) == fingerprint_of(plain)
    # Whose template it is stands in errors alone.
    assert fingerprint_of(replace(plain, name="another")) == fingerprint_of(plain)
