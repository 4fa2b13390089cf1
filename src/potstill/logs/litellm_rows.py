"""What LiteLLM tells a callback of a call, as rows of a serving log.

LiteLLM knows what was asked and what came back. Which weights answered, by which engine and with
which mark, its owner says. Token ids come along where the server tells them (vLLM does, asked
with `return_token_ids`); of a streamed answer LiteLLM keeps the response's alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from pydantic import ValidationError

from potstill.canonical import canonical_json
from potstill.logs.accounts import of_litellm
from potstill.logs.serving import (
    ServedCall,
    ServedEngine,
    ServedMark,
    ServedSampling,
    served_row,
    turn_of,
)
from potstill.logs.values import as_dict, count, number, stamp
from potstill.request_fields import what_changes_draws
from potstill.text.tool_calls import spelled

_REDACTED = "redacted-by-litellm"
_CHATS = ("completion", "acompletion")
_LENGTHS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
# What has a place of its own in a row, or tells of an answer and changes none.
_PLACED = frozenset(
    (
        *("temperature", "top_p", "top_k", "seed", "n", "tools", "functions", "extra_body"),
        *("logprobs", "top_logprobs", "n_probs", *_LENGTHS),
    )
)


class NotLogged(StrEnum):
    """Why a call that LiteLLM tells of makes no row."""

    OTHER_MODEL = "of another model"
    NO_CHAT = "no chat"
    REDACTED = "redacted by LiteLLM, which is set not to log messages"
    INCOMPLETE = "without a complete answer"
    UNFIT = "that the schema cannot hold"
    TWICE = "told twice"


@dataclass(frozen=True)
class ServedBy:
    """What the owner states of the model that answers, since LiteLLM cannot know it.

    `models` are its names as LiteLLM calls it; calls of others are left out. None is not known.
    `watermark` is the mark that every answer carries, `none` where they carry none. `defaults` is
    what the server takes where a request does not say how to draw.
    """

    models: tuple[str, ...]
    watermark: ServedMark | Literal["none"] | None
    engine: ServedEngine | None = None
    snapshot: str | None = None
    dtype: str | None = None
    template: str | None = None
    tokenizer: str | None = None
    defaults: ServedSampling = ServedSampling()


def rows_of(
    told: Mapping[str, Any], response: Mapping[str, Any], by: ServedBy
) -> list[ServedCall] | NotLogged:
    """Return a row for each answer of a call, or why there is none.

    `told` is what LiteLLM gives a callback (its `kwargs`), `response` the response as JSON values.
    """
    payload = as_dict(told.get("standard_logging_object"))
    if not _names(told, payload) & set(by.models):
        return NotLogged.OTHER_MODEL
    if payload.get("call_type") not in _CHATS:
        return NotLogged.NO_CHAT
    messages, choices = told.get("messages"), response.get("choices")
    if not isinstance(messages, list) or not isinstance(choices, list) or not choices:
        return NotLogged.INCOMPLETE
    if any(_redacted(message) for message in messages) or any(
        _redacted(as_dict(choice).get("message")) for choice in choices
    ):
        return NotLogged.REDACTED
    rows = []
    asked = _asked(told, payload, response, messages, by)
    for index, choice in enumerate(choices):
        row = _row(asked, as_dict(choice), index)
        if row is None:
            return NotLogged.UNFIT
        rows.append(row)
    return rows


def sampling_told(told: Mapping[str, Any], defaults: ServedSampling) -> ServedSampling:
    """Return how a request has answers drawn.

    LiteLLM's logging payload leaves out whatever is not OpenAI's (`top_k`), so it is read from the
    parameters that were sent. Raises ValidationError where a value is none that can be drawn with.
    """
    sent = as_dict(told.get("optional_params"))
    sent = {**sent, **as_dict(sent.get("extra_body"))}
    sent = {key: value for key, value in sent.items() if value is not None}
    longest = next((count(sent[key]) for key in _LENGTHS if key in sent), None)
    top_k = number(sent.get("top_k"))
    others = [
        key
        for key, value in sent.items()
        if key not in _PLACED and what_changes_draws({key: value}, longest or 0, given=False)
    ]
    stated = {
        "temperature": number(sent.get("temperature")),
        "top_p": number(sent.get("top_p")),
        # -1 is how vLLM and others say that nothing is truncated.
        "top_k": None if top_k is None else max(0, int(top_k)),
        "max_tokens": longest,
        "seed": count(sent.get("seed")),
    }
    known = {key: value for key, value in stated.items() if value is not None}
    return ServedSampling.model_validate(
        {
            **defaults.model_dump(exclude={"others"}),
            **known,
            "n": count(sent.get("n")) or 1,
            "others": tuple(sorted({*defaults.others, *others})),
        }
    )


def _names(told: Mapping[str, Any], payload: Mapping[str, Any]) -> set[Any]:
    """Return what a model is called that answered: with its provider and without, never a route.

    After a fallback the route that was asked for is another model's.
    """
    model, provider = told.get("model"), payload.get("custom_llm_provider")
    return {model, f"{provider}/{model}"} if isinstance(model, str) else set()


def _asked(
    told: Mapping[str, Any],
    payload: dict[str, Any],
    response: Mapping[str, Any],
    messages: Sequence[Any],
    by: ServedBy,
) -> dict[str, Any] | None:
    """Return what the rows of one call share, as JSON values; None where it cannot be stated."""
    optional = as_dict(told.get("optional_params"))
    account = of_litellm(payload)
    try:
        sampling = sampling_told(told, by.defaults).model_dump(mode="json")
        turns = [_without_nulls(message) for message in messages]
        tools = spelled(optional.get("tools") or optional.get("functions"))
        turn = turn_of(tuple(turns))
    except (ValidationError, TypeError, ValueError, AttributeError):
        return None
    mark = by.watermark
    return {
        "schema": "potstill/serving-log/1",
        "request_id": told.get("litellm_call_id") or payload.get("id"),
        "at": stamp(payload.get("startTime")),
        "account": account.user or account.end_user or account.key or account.team,
        "model": told.get("model"),
        "messages": turns,
        "tools": tools,
        "turn": turn,
        "prompt_token_ids": response.get("prompt_token_ids"),
        "sampling": sampling,
        "engine": None if by.engine is None else by.engine.model_dump(),
        "snapshot": by.snapshot,
        "dtype": by.dtype,
        "template": by.template,
        "tokenizer": by.tokenizer,
        "watermark": mark.model_dump() if isinstance(mark, ServedMark) else mark,
        "cached": bool(payload.get("cache_hit")),
    }


def _row(
    asked: Mapping[str, Any] | None, choice: Mapping[str, Any], index: int
) -> ServedCall | None:
    message = as_dict(choice.get("message"))
    beside = as_dict(choice.get("provider_specific_fields"))
    if asked is None or not message:
        return None
    try:
        calls = spelled(message.get("tool_calls") or None)
        values = {
            **asked,
            "index": index,
            "response": message.get("content") or "",
            "reasoning": message.get("reasoning_content"),
            "tool_calls": calls,
            "response_token_ids": choice.get("token_ids") or beside.get("token_ids"),
            "finish_reason": choice.get("finish_reason"),
        }
        canonical_json(values)
    except (TypeError, ValueError):
        return None
    return served_row(values)


def _without_nulls(message: Any) -> dict[str, Any]:
    """Return a message as JSON values; LiteLLM's own objects hold every field, most of them null.

    Raises AttributeError for what is no message.
    """
    if hasattr(message, "model_dump"):
        message = message.model_dump()
    return {key: value for key, value in message.items() if value is not None}


def _redacted(message: Any) -> bool:
    content = as_dict(message).get("content")
    return isinstance(content, str) and content == _REDACTED
