"""Filters of single exchanges, each in both directions."""

from __future__ import annotations

import pytest
from curate_rows import exchange

from potstill.curate.filters import (
    empty,
    invalid,
    refusing,
    repetitive,
    truncated,
    wrong_language,
)

GERMAN = "Das Wetter ist heute sehr schön, und morgen soll es leider den ganzen Tag regnen."


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("a\0b", "a NUL character"),
        ("a\ud83d", "half a surrogate pair"),
        ("\N{GRINNING FACE} tab\t and line\n", None),
    ],
)
def test_invalid_text_in_a_response(response: str, reason: str | None) -> None:
    assert invalid(exchange("a", response)) == reason


def test_invalid_text_in_the_prompt_and_in_reasoning() -> None:
    assert invalid(exchange("a", "fine", prompt="a\0b")) == "a NUL character"
    assert invalid(exchange("a", "fine", prompt="\udc00")) == "half a surrogate pair"
    assert invalid(exchange("a", "fine", reasoning="\0")) == "a NUL character"


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "no answer"),
        (" \n\t\u200b\ufeff", "no answer"),
        ("<think>so it is 4</think>\n", "reasoning without an answer"),
        ("<think>so it is", "reasoning without an answer"),
        ("4", None),
        ("<think></think>4", None),
    ],
)
def test_empty(response: str, reason: str | None) -> None:
    assert empty(exchange("a", response)) == reason


def test_a_tool_call_is_an_answer() -> None:
    call = '[{"type":"function","function":{"name":"f","arguments":{}}}]'
    assert empty(exchange("a", "", tool_calls=call)) is None
    assert empty(exchange("a", "", tool_calls="[]")) == "no answer"
    assert empty(exchange("a", "", reasoning="hm")) == "reasoning without an answer"


@pytest.mark.parametrize(
    ("how", "text_only", "drops"),
    [
        ("auto", True, True),
        ("auto", False, False),
        ("drop", False, True),
        ("keep", True, False),
    ],
)
def test_truncated(how: str, text_only: bool, drops: bool) -> None:
    cut = exchange("a", "It is", finish_reason="length")
    whole = exchange("a", "It is.")
    found = truncated(cut, how=how, text_only=text_only)  # type: ignore[arg-type]
    assert (found is not None) is drops
    assert truncated(whole, how=how, text_only=text_only) is None  # type: ignore[arg-type]


def test_reasoning_is_not_judged_as_the_answer() -> None:
    assert refusing(exchange("a", "<think>I cannot help with this.</think>It is 4.")) is None
    assert refusing(exchange("a", "<think>It is 4.</think>I cannot help with this."))
    loop = "Wait, let me think. " * 20
    assert repetitive(exchange("a", f"<think>{loop}</think>It is 4.")) is None
    assert repetitive(exchange("a", f"<think>It is 4.</think>{loop}"))


def test_wrong_language() -> None:
    english = exchange("a", "The weather is fine today, but tomorrow it will rain all day long.")
    german = exchange("b", GERMAN)
    assert wrong_language(german, languages=("en",), confidence=0.8) == "in de"
    assert wrong_language(german, languages=("en", "de"), confidence=0.8) is None
    assert wrong_language(english, languages=("en",), confidence=0.8) is None


@pytest.mark.parametrize(
    "response",
    ["Ja, das stimmt.", "3.14", "", "```\n" + GERMAN + "\n```", "\ud800" * 50, "\0" * 50],
    ids=["short", "number", "empty", "code", "surrogates", "NUL"],
)
def test_text_whose_language_cannot_be_told_is_kept(response: str) -> None:
    assert wrong_language(exchange("a", response), languages=("en",), confidence=0.8) is None
