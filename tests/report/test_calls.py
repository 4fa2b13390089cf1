"""The page's table of tool calls, and calls among the samples."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from potstill.cli.run_view import _print_sample
from potstill.report.calls import tool_calls
from potstill.report.page import page
from potstill.report.view import samples

SECTION = {
    "prompts": 40,
    "right": {"value": 0.75, "ci95": [0.6, 0.875], "n": 40},
    "outcomes": {"right": 30, "other_arguments": 6, "other_name": 1, "no_call": 3},
    "text_prompts": 20,
    "text_kept": {"value": 0.9, "ci95": [0.75, 1.0], "n": 20},
}
CALL = {"type": "function", "function": {"name": "<b>find</b>", "arguments": {"q": "x"}}}


def test_the_table_says_what_the_student_did(evaluation, metrics) -> None:
    text = page({**evaluation, "tool_calls": SECTION}, metrics, "", {})
    assert "How it calls tools" in text
    for words in ("The same functions with other arguments", "75.0%", "15.0%", "90.0%"):
        assert words in text
    assert "How it calls tools" not in page(evaluation, metrics, "", {})


@pytest.mark.parametrize("section", [None, 7, [], "text"])
def test_no_section_gives_no_table(section: Any) -> None:
    assert tool_calls({"tool_calls": section}) is None


@pytest.mark.parametrize("left_out", [*SECTION, "n", "ci95"])
def test_any_part_may_be_missing(evaluation, metrics, left_out: str) -> None:
    section = copy.deepcopy(SECTION)
    if left_out in section:
        section[left_out] = None
    else:
        del section["right"][left_out]  # type: ignore[attr-defined]
    assert "How it calls tools" in page({**evaluation, "tool_calls": section}, metrics, "", {})


PAIR = {
    "messages": [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "in <i>Rome</i>", "tool_call_id": "c"},
    ],
    "teacher": "In Rome.",
    "student": "Rome.",
}


def test_calls_and_results_are_shown_as_text_that_cannot_act(evaluation, metrics) -> None:
    turns = samples({"samples": [PAIR]})["pairs"][0]["turns"]
    assert [role for role, _ in turns] == ["Prompt", "Earlier answer", "Tool's result"]
    assert '"name":"<b>find</b>"' in turns[1][1]
    text = page({**evaluation, "samples": [PAIR]}, metrics, "", {})
    assert "<b>find" not in text and "&lt;b&gt;find" in text and "<i>Rome" not in text


@pytest.mark.parametrize("calls", [None, 7, "text", [7], [{}], [{"function": 7}], {"a": 1}])
def test_calls_of_any_shape_are_shown(calls: Any) -> None:
    message = {"role": "assistant", "content": "So.", "tool_calls": calls}
    shown = samples({"samples": [{"messages": [message], "teacher": "", "student": ""}]})
    assert shown["pairs"][0]["turns"][0][1].startswith("So.")


def test_the_command_line_shows_them_too() -> None:
    from rich.console import Console

    console = Console(width=200, record=True)
    _print_sample(console, {"samples": [PAIR]})
    assert "find" in console.export_text()
