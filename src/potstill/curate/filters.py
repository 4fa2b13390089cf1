"""What is wrong with one exchange, whatever the others are.

Each filter returns why it drops an exchange, or None where it keeps it. Reasons never quote text.
Of an answer that calls tools its text alone is judged: calls are neither prose nor a refusal.
"""

from __future__ import annotations

from typing import Literal

from potstill.exchanges.exchange import Exchange
from potstill.text.forms import says_something
from potstill.text.language import identified
from potstill.text.reasoning import answer_of
from potstill.text.refusal import refuses
from potstill.text.repetition import repetition
from potstill.text.tool_calls import Flaw, calls_in, strings_in


def invalid(exchange: Exchange) -> str | None:
    """Drop what no tokenizer should see, NUL characters and halves of surrogate pairs, and calls
    of tools that cannot be read."""
    called = calls_in(exchange.tool_calls)
    if isinstance(called, Flaw):
        return str(called)
    texts = [exchange.response, exchange.reasoning or ""]
    texts += [text for message in exchange.messages for text in strings_in(message)]
    if any("\0" in text for text in texts):
        return "a NUL character"
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return "half a surrogate pair"
    return None


def empty(exchange: Exchange) -> str | None:
    """Drop an exchange without an answer; a call of a tool is one."""
    if exchange.calls or says_something(answer_of(exchange)):
        return None
    said = says_something(exchange.response) or says_something(exchange.reasoning or "")
    return "reasoning without an answer" if said else "no answer"


def truncated(
    exchange: Exchange, *, how: Literal["auto", "drop", "keep"], text_only: bool
) -> str | None:
    """Drop an answer that ended at the token limit, unless targets exist for what there is."""
    drops = how == "drop" or (how == "auto" and text_only)
    return "ended at the token limit" if drops and exchange.finish_reason == "length" else None


def refusing(exchange: Exchange) -> str | None:
    """Drop an answer that begins with a refusal; one that calls a tool does what it can."""
    if exchange.calls:
        return None
    return "begins with a refusal" if refuses(answer_of(exchange)) else None


def repetitive(exchange: Exchange) -> str | None:
    """Drop an answer that repeats itself or ends in a loop."""
    return repetition(answer_of(exchange))


def wrong_language(
    exchange: Exchange, *, languages: tuple[str, ...], confidence: float
) -> str | None:
    """Drop an answer that is in none of `languages`; one too short or too mixed to tell is kept."""
    found = identified(answer_of(exchange), needed_by="curate.languages")
    if found is None or found.language in languages or found.probability < confidence:
        return None
    return f"in {found.language}"
