"""The chat-completions format: request bodies out, answers in. Pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from potstill.endpoint.labels import label_of, shown_label
from potstill.endpoint.turns import body_messages
from potstill.models.sampling import Sampling
from potstill.text.finish import Ending, Finish, ending_of, finish_of
from potstill.text.forms import says_something
from potstill.text.tool_calls import Flaw, calls_in, spelled

# Why an answer that is neither whole nor cut off is not used.
_NOT_USED = {
    Ending.REFUSED: "refused, or withheld by the server's content filter",
    Ending.FAILED: "the server gave the response up",
    Ending.UNSTATED: "no finish reason",
    Ending.UNKNOWN: "no known finish reason",
}
BLANK = "white space alone, no answer"
# Answers of a kind that the same question would get again, and be charged for again.
ANSWERED_IN_VAIN = frozenset({_NOT_USED[Ending.REFUSED], BLANK})
# An answer that was broken off, and those whose end nobody knows.
SERVER_GAVE_UP = _NOT_USED[Ending.FAILED]
NO_FINISH_REASON = frozenset({_NOT_USED[Ending.UNSTATED], _NOT_USED[Ending.UNKNOWN]})
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
_USAGE_DETAILS = (
    ("completion_tokens_details", "reasoning_tokens"),
    ("prompt_tokens_details", "cached_tokens"),
)
_ID_DIGITS = 9
_NUL = "a NUL byte in the response"
_NO_CALL = {Flaw.TEXT: "a NUL byte or a lone surrogate in a tool call"}


@dataclass(frozen=True)
class ChatRequest:
    """One prompt with its tools, and how many answers to it are wanted."""

    messages: tuple[Mapping[str, Any], ...]
    sampling: Sampling
    seed: int
    n: int = 1
    tools: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class ScoredToken:
    """One position of a response: its token, and the likeliest ones with their log-probabilities.

    Each is named by its id where the server tells it (-1 elsewhere) and by its text. `top` holds
    (id, text, log-probability in nats), `logp` is the token's own, None where it is not told
    apart. Figures are as the server gives them, NaN included.
    """

    token_id: int
    text: str
    top: tuple[tuple[int, str, float], ...]
    logp: float | None = None


@dataclass(frozen=True)
class ChatChoice:
    """One answer: text, calls of tools, or both.

    `tool_calls` is JSON text in the form of `text.tool_calls`; arguments that are no JSON object
    are kept as text. `scores` is None where the server did not tell the likeliest tokens at every
    position. `sampled` holds what it tells of the tokens themselves, for which their own
    log-probabilities are enough (`top` may be empty): None where it is not told of each. It is
    for who judges an answer's likelihood, and is not stored.
    """

    text: str
    finish: Finish
    reasoning: str | None = None
    tool_calls: str | None = None
    scores: tuple[ScoredToken, ...] | None = None
    sampled: tuple[ScoredToken, ...] | None = None


@dataclass(frozen=True)
class ChatAnswer:
    """What a response holds: choices that can be used, and for each other one the reason why not.

    `model` and `fingerprint` are what the server says of itself. `counts_one`: its usage is that
    of one of the answers.
    """

    choices: tuple[ChatChoice, ...]
    unusable: tuple[str, ...]
    usage: dict[str, int]
    model: str | None
    fingerprint: str | None
    counts_one: bool = False

    def says(self, word: str) -> bool:
        """Tell whether a word stands anywhere in it."""
        texts = [self.model, self.fingerprint]
        for choice in self.choices:
            texts += [choice.text, choice.reasoning, choice.tool_calls]
        return any(word in text for text in texts if text)


class UnreadableAnswer(ValueError):
    """A response with status 200 that is no answer; `reason` says why, in fixed words.

    `billed` tells whether text may have been generated for it.
    """

    def __init__(self, reason: str, *, billed: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.billed = reason, billed


def request_body(
    request: ChatRequest,
    model: str,
    *,
    top_logprobs: int = 0,
    spell_out: bool = False,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the JSON body of a request.

    `spell_out` also states what truncates nothing: llama.cpp, vLLM and SGLang truncate by
    defaults of their own unless told not to, while hosted APIs refuse fields that they do not
    know. `extra` is merged into it; a None there takes a field out.
    """
    sampling = request.sampling
    body: dict[str, Any] = {
        "model": model,
        "messages": body_messages(request.messages),
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": request.seed,
    }
    if request.tools:
        body["tools"] = list(request.tools)
    if request.n > 1:
        body["n"] = request.n
    if sampling.top_k or spell_out:
        body["top_k"] = sampling.top_k or -1
    if spell_out:
        body["min_p"] = 0.0
    if top_logprobs:
        body |= {"logprobs": True, "top_logprobs": top_logprobs}
    body |= dict(extra or {})
    return {name: value for name, value in body.items() if value is not None}


def parse_answer(content: bytes, n: int) -> ChatAnswer:
    """Return what a response with status 200 holds, at most `n` choices.

    Raises UnreadableAnswer where it is no answer at all: no JSON, an error, a page.
    """
    found = json_object(content)
    if found.get("error"):
        raise UnreadableAnswer("an error with status 200")
    choices = found.get("choices")
    if not isinstance(choices, list) or not choices:
        raise UnreadableAnswer("no choices in the response")
    read = [_choice(choice) for choice in choices[:n]]
    return ChatAnswer(
        choices=tuple(choice for choice in read if isinstance(choice, ChatChoice)),
        unusable=tuple(reason for reason in read if isinstance(reason, str)),
        usage=usage_of(found.get("usage")),
        model=shown_label(found.get("model")),
        fingerprint=shown_label(found.get("system_fingerprint")),
        counts_one=_counts_one(found, len(read)),
    )


def offered_models(content: bytes) -> list[str] | None:
    """Return the names in a list of models, aliases included; None where it is no such list.

    The list may stand by itself, and hold bare names. One of which nothing can be read is None.
    """
    try:
        found = json_value(content)
    except UnreadableAnswer:
        return None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        return None
    named: list[Any] = []
    for row in rows:
        aliases = row.get("aliases") if isinstance(row, dict) else None
        named += [row.get("id") if isinstance(row, dict) else row]
        named += aliases if isinstance(aliases, list) else []
    names = [name for name in map(label_of, named) if name]
    return list(dict.fromkeys(names)) if names or not rows else None


def error_fields(content: bytes) -> dict[str, Any]:
    """Return the error object of a response that is no success; empty where there is none.

    It may quote the prompt or the key: never show it as it is.
    """
    try:
        found = json_object(content)
    except UnreadableAnswer:
        return {}
    error = found.get("error", found)
    return error if isinstance(error, dict) else {"message": error}


def shares(total: int, weights: Sequence[int]) -> list[int]:
    """Return whole numbers that add up to `total`, about in proportion to the weights."""
    whole = sum(weights) or len(weights)
    parts = [weight if sum(weights) else 1 for weight in weights]
    ends = [round(total * sum(parts[: i + 1]) / whole) for i in range(len(parts))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


def json_object(content: bytes) -> dict[str, Any]:
    """Return the object that a body holds; raises UnreadableAnswer where it holds none."""
    found = json_value(content)
    if not isinstance(found, dict):
        raise UnreadableAnswer("no choices in the response")
    return found


def json_value(content: bytes) -> Any:
    """Return what a body says in JSON; raises UnreadableAnswer where that is not what it is."""
    start = content[:256].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        raise UnreadableAnswer("an HTML page")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise UnreadableAnswer("no JSON, or JSON cut short", billed=True) from None


def _counts_one(body: Mapping[str, Any], choices: int) -> bool:
    """Tell whether a response's usage is that of one of its answers, as llama.cpp's is.

    It times one of them, and gives that one's length as the usage of all.
    """
    timings, usage = body.get("timings"), body.get("usage")
    if choices < 2 or not isinstance(timings, dict) or not isinstance(usage, dict):
        return False
    one = timings.get("predicted_n")
    return one is not None and one == usage.get("completion_tokens")


def _choice(raw: Any) -> ChatChoice | str:
    """Return a choice, or why it cannot be used."""
    message = raw.get("message") if isinstance(raw, dict) else None
    if not isinstance(message, dict):
        return "no message in the response"
    if raw.get("error"):
        return "an error in place of the response"
    ending = ending_of(raw.get("finish_reason"))
    finish = finish_of(ending)
    if finish is None:
        return _NOT_USED[ending]
    calls = calls_in(message.get("tool_calls") or message.get("function_call"), keep_text=True)
    if isinstance(calls, Flaw):
        return _NO_CALL.get(calls, str(calls))
    if ending is Ending.CALLS and not calls:
        return "a response that ended to call a tool, without the call"
    reasoning = message.get("reasoning_content") or message.get("reasoning") or None
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        return "a response that is no text"
    sampled = _sampled(raw.get("logprobs"))
    choice = ChatChoice(
        text=content or "",
        finish=finish,
        reasoning=reasoning if isinstance(reasoning, str) else None,
        tool_calls=spelled(calls),
        scores=sampled if sampled and all(token.top for token in sampled) else None,
        sampled=sampled,
    )
    parts = (choice.text, choice.reasoning)
    flaw = next((bad for part in parts if part and (bad := _flaw(part))), None)
    return flaw or _nothing_in(choice, message) or choice


def _nothing_in(choice: ChatChoice, message: Mapping[str, Any]) -> str | None:
    """Return why a choice is no answer: curating judges reasoning that led to none."""
    if says_something(choice.text) or choice.reasoning or choice.tool_calls:
        return None
    return _NOT_USED[Ending.REFUSED] if message.get("refusal") else BLANK


def _flaw(text: str) -> str | None:
    """Return why a text cannot be stored."""
    if "\0" in text:
        return _NUL
    try:
        text.encode()
    except UnicodeEncodeError:
        return "a lone surrogate in the response"
    return None


def _sampled(raw: Any) -> tuple[ScoredToken, ...] | None:
    """Return the tokens of an answer, None unless each has a log-probability of its own.

    Their `top` is empty where a likeliest token is not told as one.
    """
    rows = raw.get("content") if isinstance(raw, dict) else None
    if not isinstance(rows, list) or not rows:
        return None
    scored = []
    for row in rows:
        top = row.get("top_logprobs") if isinstance(row, dict) else None
        entries = [_entry(entry) for entry in top] if isinstance(top, list) else []
        own = _entry(row)
        if own is None:
            return None
        told = tuple(entry for entry in entries if entry is not None)
        top = told if len(told) == len(entries) else ()
        scored.append(ScoredToken(own[0], own[1], top, own[2]))
    return tuple(scored)


def _entry(raw: Any) -> tuple[int, str, float] | None:
    """Return (id or -1, text, log-probability) of one token."""
    if not isinstance(raw, dict):
        return None
    text, logp, token_id = raw.get("token"), raw.get("logprob"), raw.get("id")
    if not isinstance(text, str) or not is_number(logp):
        return None
    named = text.removeprefix("token_id:")
    if named != text and is_id(named):  # vLLM's return_tokens_as_token_ids
        token_id = int(named)
    if not isinstance(token_id, int) or isinstance(token_id, bool):
        token_id = -1
    return max(-1, token_id), text, as_float(logp)


def usage_of(raw: Any) -> dict[str, int]:
    """Return the token counts that are whole numbers of tokens."""
    if not isinstance(raw, dict):
        return {}
    found = {name: raw.get(name) for name in _USAGE}
    for group, name in _USAGE_DETAILS:
        details = raw.get(group)
        found[name] = details.get(name) if isinstance(details, dict) else None
    return {
        name: int(count)
        for name, count in found.items()
        if is_number(count) and 0 <= count < 2**31 and int(count) == count
    }


def is_id(text: str) -> bool:
    """Tell whether a text is a token's id in digits."""
    return text.isdecimal() and len(text) <= _ID_DIGITS


def as_float(number: float) -> float:
    """Return a JSON number as a float, NaN where it is too long to be one."""
    try:
        return float(number)
    except OverflowError:
        return math.nan


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tell whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
