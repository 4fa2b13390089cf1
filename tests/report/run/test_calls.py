"""The page's table of tool calls, and calls among the samples."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from potstill.cli.run_view import _print_sample
from potstill.report.run.calls import tool_calls
from potstill.report.run.page import page
from potstill.report.run.view import samples
from potstill.work.evaluation import SamplePair
from potstill.work.evaluation_file import evaluation_of

SECTION = {
    "prompts": 40,
    "right": {"value": 0.75, "ci95": [0.6, 0.875], "n": 40},
    "outcomes": {"right": 30, "other_arguments": 6, "other_name": 1, "no_call": 3},
    "text_prompts": 20,
    "text_kept": {"value": 0.9, "ci95": [0.75, 1.0], "n": 20},
}
CALL = {"type": "function", "function": {"name": "<b>find</b>", "arguments": {"q": "x"}}}


def test_the_table_says_what_the_student_did(content, metrics) -> None:
    text = page(evaluation_of(content | {"tool_calls": SECTION}), metrics, "", {})
    assert "How it calls tools" in text
    for words in ("The same functions with other arguments", "75.0%", "15.0%", "90.0%"):
        assert words in text
    assert "How it calls tools" not in page(evaluation_of(content), metrics, "", {})


def test_no_calls_give_no_table() -> None:
    assert tool_calls(None) is None


@pytest.mark.parametrize("left_out", ["text_kept", "no_call", "ci95"])
def test_what_was_not_measured_is_left_out(content, metrics, left_out: str) -> None:
    section: Any = copy.deepcopy(SECTION)
    if left_out == "no_call":
        del section["outcomes"]["no_call"]
    else:
        (section if left_out in section else section["right"])[left_out] = None
    text = page(evaluation_of(content | {"tool_calls": section}), metrics, "", {})
    assert "How it calls tools" in text
    assert ("answered in text alone" in text) is (left_out != "text_kept")


def test_prompts_that_were_too_long_are_said(content) -> None:
    section = tool_calls(
        evaluation_of(content | {"tool_calls": SECTION | {"left_out": 2}}).tool_calls
    )
    assert section is not None
    said = " 2 more are left out: 2 longer than the student reads."
    assert section.lead.endswith("equal as JSON." + said)


PAIR = {
    "messages": [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "content": "in <i>Rome</i>", "tool_call_id": "c"},
    ],
    "teacher": "In Rome.",
    "student": "Rome.",
}


def test_calls_and_results_are_shown_as_text_that_cannot_act(content, metrics) -> None:
    turns = samples([SamplePair.model_validate(PAIR)]).pairs[0].turns
    assert [role for role, _ in turns] == ["Prompt", "Earlier answer", "Tool's result"]
    assert '"name":"<b>find</b>"' in turns[1][1]
    text = page(evaluation_of(content | {"samples": [PAIR]}), metrics, "", {})
    assert "<b>find" not in text and "&lt;b&gt;find" in text and "<i>Rome" not in text


@pytest.mark.parametrize("calls", [None, 7, "text", [7], [{}], [{"function": 7}], {"a": 1}])
def test_calls_of_any_shape_are_shown(calls: Any) -> None:
    message = {"role": "assistant", "content": "So.", "tool_calls": calls}
    shown = samples([SamplePair(messages=[message], teacher="", student="")])
    assert shown.pairs[0].turns[0][1].startswith("So.")


def test_the_command_line_shows_them_too(content) -> None:
    from rich.console import Console

    console = Console(width=200, record=True)
    _print_sample(console, evaluation_of(content | {"samples": [PAIR]}))
    assert "find" in console.export_text()
