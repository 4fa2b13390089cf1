"""Curation of answers that call tools: these are compared, looked through, not judged as prose."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from curate_rows import exchange

from potstill.curate.curate import curate
from potstill.curate.decontaminate import contaminated, evaluation_runs
from potstill.curate.duplicates import exact_duplicates, near_duplicates, shingled
from potstill.curate.filters import empty, invalid, refusing, repetitive, wrong_language
from potstill.curate.judge import question
from potstill.curate.kept_scores import answer_key
from potstill.exchanges.overlap import prompt_text
from potstill.recipe import CurateConfig


def calls(*named: tuple[str, Any], id: str | None = None) -> str:
    function = [{"name": name, "arguments": arguments} for name, arguments in named]
    ids = {"id": id} if id else {}
    return json.dumps([{**ids, "type": "function", "function": one} for one in function])


FIND = calls(("find", {"number": 7}), id="c1")
USER = {"role": "user", "content": "Where is parcel 7?"}
ASKED = (
    USER,
    {"role": "assistant", "content": "", "tool_calls": json.loads(FIND)},
    {"role": "tool", "content": "the parcel of Ada Lovelace lies in Rome", "tool_call_id": "c1"},
)


def test_an_answer_that_only_calls_passes_every_filter() -> None:
    row = exchange("a", "", tool_calls=FIND)
    assert invalid(row) is None and empty(row) is None
    assert refusing(row) is None and repetitive(row) is None
    assert wrong_language(row, languages=("en",), confidence=0.9) is None


def test_a_call_after_an_apology_is_no_refusal() -> None:
    said = "I'm sorry, I cannot help with that without looking it up."
    assert refusing(exchange("a", said)) is not None
    assert refusing(exchange("a", said, tool_calls=FIND)) is None


@pytest.mark.parametrize(
    "stored",
    ['[{"function":{"name":"f","arguments":"{\\"a\\": 1"}}]', '[{"name": 7}]', "x", "[7]"],
)
def test_stored_calls_that_cannot_be_read_are_dropped(stored: str) -> None:
    row = exchange("a", "Let me look.", tool_calls=stored)
    assert (invalid(row) or "").startswith("a tool call")


@pytest.mark.parametrize("bad", ["a\0b", "a\ud800"])
def test_a_tools_result_and_a_call_are_looked_through_for_what_no_tokenizer_should_see(bad) -> None:
    row = replace(exchange("a", "x"), messages=(*ASKED[:2], {**ASKED[2], "content": bad}))
    assert invalid(row) is not None


def test_calls_with_other_ids_are_the_same_answer_and_other_arguments_are_not() -> None:
    same = exchange("b", "", tool_calls=calls(("find", {"number": 7}), id="c9"))
    other = exchange("c", "", tool_calls=calls(("find", {"number": 8}), id="c1"))
    named = exchange("d", "", tool_calls=calls(("look", {"number": 7}), id="c1"))
    rows = [exchange("a", "", tool_calls=FIND), same, other, named]
    assert exact_duplicates(rows, with_reasoning=True) == {"b": "as a"}


def test_prompts_that_differ_in_a_result_or_a_call_are_no_duplicates() -> None:
    busy = (*ASKED[:2], {**ASKED[2], "content": "busy"})
    other = (USER, {**ASKED[1], "tool_calls": json.loads(calls(("find", {"number": 8})))}, ASKED[2])
    rows = [
        exchange(key, "x", messages=m) for key, m in zip("abc", (ASKED, busy, other), strict=True)
    ]
    assert exact_duplicates(rows, with_reasoning=True) == {}


def test_near_duplicates_see_the_calls() -> None:
    words = {"text": "the quick brown fox jumps over the lazy dog and runs far away from here"}
    rows = [
        exchange("a", "", prompt="One?", tool_calls=calls(("write", words))),
        exchange("b", "", prompt="Two?", tool_calls=calls(("write", words))),
        exchange("c", "", prompt="Three?", tool_calls=calls(("write", {"text": "other words"}))),
    ]
    assert near_duplicates(shingled(rows), 0.7) == {"b": "like a"}


def test_evaluation_texts_are_found_in_results_and_arguments() -> None:
    runs = evaluation_runs(["the parcel of Ada Lovelace lies in Rome"])
    told = calls(("write", {"notes": ["the parcel of Ada Lovelace lies in Rome"]}))
    rows = [exchange("a", "x", messages=ASKED), exchange("b", "", tool_calls=told)]
    assert set(contaminated([*rows, exchange("c", "x")], runs)) == {"a", "b"}


def test_a_prompts_text_has_its_calls_and_results() -> None:
    text = prompt_text(ASKED)
    assert "Ada Lovelace" in text and '"number":7' in text and "c1" not in text


def test_a_call_is_not_verified_but_kept_and_said() -> None:
    rows = [
        exchange("a", "It is 4.", prompt="2 + 2?"),
        exchange("b", "It is 5.", prompt="2 + 2?"),
        exchange("c", "Let me see.", prompt="2 + 2?", tool_calls=FIND),
    ]
    config = CurateConfig(verify={"kind": "number"})
    gold = {rows[0].prompt_id: "4"}
    found = curate(rows, config, gold=gold, text_only=True)
    assert {mark.exchange_id for mark in found.marks if mark.kept} == {"a", "c"}
    assert "1 of 3 training responses call a tool, which is not verified: kept" in found.notes


def test_a_judge_sees_calls_and_results_and_its_score_is_of_the_call() -> None:
    row = exchange("a", "Let me look.", messages=ASKED, tool_calls=FIND)
    material = question(row.messages, row.answer, "Good?")[1]["content"]
    conversation, _, response = material.partition("RESPONSE")
    assert '"name":"find"' in conversation and "[tool]\nthe parcel" in conversation
    assert 'Let me look.\n{"arguments":{"number":7},"name":"find"}' in response
    other = exchange("a", "Let me look.", messages=ASKED, tool_calls=calls(("find", {"number": 8})))
    assert answer_key(row) != answer_key(other)
