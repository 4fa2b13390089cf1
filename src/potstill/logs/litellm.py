"""LiteLLM's spend logs, and files of its standard logging payload."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.canonical import digest_of_bytes
from potstill.logs.call import Ask, CallFacts, LoggedAnswer, Reason, Record, Values
from potstill.logs.chat_parts import answer_of_message, answers_of, ask_of, holds_answers, record_of
from potstill.logs.endings import row_failed
from potstill.logs.facts import completion_facts, has_several
from potstill.logs.turns import Unfit
from potstill.logs.values import as_dict, name, number, seconds_between, stamp, structured, usage_of

# Its call types that hold a chat.
_CHAT_CALLS = (*("", "completion", "acompletion", "anthropic_messages", "responses", "aresponses"),)
# All that is left of a request under `spend_logs_prompt_storage: latest_turn`.
_LAST_TURN_KEYS = {"model", "messages", "input", "originating_request_masked"}


def read_litellm(row: Values, *, whole_requests: bool = False) -> Record:
    """Read a row of LiteLLM's spend logs, or of its standard logging payload.

    Recent versions leave `messages` empty and keep the request in `proxy_server_request`. Of a
    request that has no more than a last turn there is nothing to tell whether it had more, unless
    `whole_requests` says so.
    """
    stored = as_dict(row.get("proxy_server_request"))
    stored = as_dict(stored.get("body") or stored)
    request = {**as_dict(row.get("model_parameters")), **stored}
    response = structured(row.get("response"))
    facts = _facts(row, response if isinstance(response, dict) else {})

    def record(ask: Ask | Unfit | Reason, answers: tuple[LoggedAnswer | Reason, ...]) -> Record:
        return record_of(ask, answers, facts, row_id=_row_id(row))

    if str(row.get("call_type") or "") not in _CHAT_CALLS:
        return record(Reason.NO_CALL, (Reason.NO_CALL,))
    own = structured(row.get("messages"))
    if isinstance(own, dict):
        own = own.get("messages")
    ask: Ask | Unfit | Reason
    if own and request.get("instructions"):  # of Responses: the system message, apart from input
        rest = {key: value for key, value in request.items() if key != "messages"}
        ask = ask_of({**rest, "input": own})
    elif own:
        ask = ask_of({**request, "messages": own})
    elif not (request.get("messages") or request.get("input")):
        ask = Reason.NOT_STORED
    elif _may_be_a_last_turn(stored) and not whole_requests:
        ask = Reason.LAST_TURN
    else:
        ask = ask_of(request)
    if str(row.get("status") or "").lower() == "failure" or row_failed(row):
        return record(ask, (Reason.ERROR,))
    return record(ask, _answers(row.get("response"), response))


def _may_be_a_last_turn(request: Mapping[str, Any]) -> bool:
    """Tell whether a stored request looks like those of LiteLLM's `latest_turn`.

    That setting keeps the model and the last user's text alone, and leaves no mark. What has any
    other field, a text for `input`, several turns or other keys in its turn was stored whole.
    """
    if "model" not in request or not request.keys() <= _LAST_TURN_KEYS:
        return False
    turns = request.get("messages", request.get("input"))
    if not isinstance(turns, list) or len(turns) != 1 or not isinstance(turns[0], dict):
        return False
    turn = turns[0]
    return turn.keys() == {"role", "content"} and (
        turn["role"] == "user" and isinstance(turn["content"], str)
    )


def _row_id(row: Values) -> str | None:
    """Return what names a row: its request's id, or else when it was and what it took."""
    for key in ("request_id", "id"):
        if isinstance(row.get(key), str) and row[key]:
            return str(row[key])
    if not row.get("startTime"):
        return None
    shown = [str(row.get(k)) for k in ("startTime", "endTime", "model", "spend", "response_cost")]
    return digest_of_bytes("\n".join(shown).encode(errors="replace"))


def _facts(row: Values, response: Mapping[str, Any]) -> CallFacts:
    of_response = completion_facts({}, response)
    latency = seconds_between(row.get("startTime"), row.get("endTime"))
    milliseconds = number(row.get("request_duration_ms"))
    if latency is None and milliseconds is not None and milliseconds >= 0:
        latency = round(milliseconds / 1000, 4)
    spend = number(row.get("spend") if row.get("spend") is not None else row.get("response_cost"))
    return CallFacts(
        model=name(row.get("model")) or name(row.get("model_group")) or of_response.model,
        provider=name(row.get("custom_llm_provider")),
        returned_model=of_response.returned_model,
        system_fingerprint=of_response.system_fingerprint,
        usage={} if has_several(response) else {**usage_of(row), **of_response.usage},
        created_at=stamp(row.get("startTime")) or of_response.created_at,
        latency_s=latency,
        spend=None if spend is None else float(spend),
    )


def _answers(raw: Any, response: Any) -> tuple[LoggedAnswer | Reason, ...]:
    if not response:
        return (Reason.NOT_STORED,)
    if isinstance(response, dict) and holds_answers(response):
        return answers_of(response)
    # A response in plain text, which may be JSON that the model wrote.
    return (answer_of_message({"content": raw}) if isinstance(raw, str) else Reason.NO_RESPONSE,)
