"""One row of each form as a record: pure functions over parsed values.

Only what is named here is taken from a row: keys, headers, addresses and users stay in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.logs.call import (
    Answer,
    BatchRequest,
    Facts,
    Reason,
    Record,
    Values,
)
from potstill.logs.chat_parts import (
    answer_of_message,
    answer_of_text,
    answers_of,
    ask_of,
)
from potstill.logs.values import (
    as_dict,
    name,
    number,
    seconds_between,
    stamp,
    structured,
    usage_of,
)

_TOOLS = ("tools", "functions")  # may stand beside a request instead of in it
_MESSAGE = {"content", "tool_calls", "function_call"}  # what shows a message by itself
_CHAT_CALLS = ("", "completion", "acompletion")  # LiteLLM's call types that hold a chat


def read_chat(row: Values) -> Record:
    """Read `{"request", "response"}`, a stored completion, or a fine-tuning example.

    A stored completion has `messages` and `choices`; a fine-tuning example has `messages` whose
    last turn, the assistant's, is the response (or else text in `response`).
    """
    if "request" in row or isinstance(row.get("response"), dict):
        return _pair(row)
    if "choices" in row:
        return Record(ask_of(row), answers_of(row), _completion_facts(row, row))
    return _example(row)


def read_batch_request(row: Values) -> BatchRequest:
    """Read a line of a batch's input."""
    body = as_dict(row.get("body"))
    return BatchRequest(ask_of(body), name(body.get("model")))


def read_batch_output(request: BatchRequest | None, row: Values) -> Record:
    """Read a line of a batch's output, with the request that has its custom_id."""
    response = as_dict(row.get("response"))
    completion = as_dict(response.get("body"))
    ask = Reason.NO_REQUEST if request is None else request.ask
    facts = _completion_facts({"model": request.model if request else None}, completion)
    status = number(response.get("status_code"))
    if row.get("error") or completion.get("error") or (status is not None and status >= 400):
        return Record(ask, (Reason.ERROR,), facts)
    return Record(ask, answers_of(completion), facts)


def read_litellm(row: Values) -> Record:
    """Read a row of LiteLLM's spend logs, or of its standard logging payload.

    Recent versions leave `messages` empty and keep the request in `proxy_server_request`.
    """
    request = as_dict(row.get("proxy_server_request"))
    request = {**as_dict(row.get("model_parameters")), **as_dict(request.get("body") or request)}
    completion = structured(row.get("response"))
    facts = _litellm_facts(row, completion if isinstance(completion, dict) else {})
    if str(row.get("call_type") or "") not in _CHAT_CALLS:
        return Record(Reason.NO_CALL, (Reason.NO_CALL,), facts)
    messages = structured(row.get("messages")) or structured(request.get("messages"))
    if isinstance(messages, dict):
        messages = messages.get("messages")
    ask = ask_of(request, messages) if messages else Reason.NOT_STORED
    if str(row.get("status") or "").lower() in ("failure", "error"):
        return Record(ask, (Reason.ERROR,), facts)
    return Record(ask, _litellm_answers(row.get("response"), completion), facts)


def read_table(row: Values, prompt_column: str, response_column: str) -> Record:
    """Read a prompt and a response from their columns.

    The columns tools, tool_calls, model, finish_reason, reasoning, created_at and latency_s are
    used where they are.
    """
    prompt = row.get(prompt_column)
    asked = (
        [{"role": "user", "content": prompt or ""}] if isinstance(prompt, str | None) else prompt
    )
    ask = ask_of({"tools": row.get("tools")}, asked)
    response, finish = row.get(response_column), row.get("finish_reason")
    answer: Answer | Reason = Reason.NO_RESPONSE
    if response is not None and not isinstance(response, str):
        answer = Reason.NOT_TEXT
    elif response is not None or row.get("tool_calls"):
        parts = {key: row.get(key) for key in ("reasoning", "tool_calls")}
        answer = answer_of_message({"content": response, **parts}, finish)
    latency = number(row.get("latency_s"))
    facts = Facts(
        model=name(row.get("model")),
        created_at=stamp(row.get("created_at")),
        latency_s=float(latency) if latency is not None and latency >= 0 else None,
    )
    return Record(ask, (answer,), facts)


def _pair(row: Values) -> Record:
    request = as_dict(row["request"]) if "request" in row else row
    request = as_dict(request.get("body") or request)
    request = {**{key: row[key] for key in _TOOLS if row.get(key)}, **request}
    response = structured(row.get("response"))
    ask = ask_of(request)
    if not isinstance(response, dict):
        text = row.get("response")
        answer = answer_of_text(text) if isinstance(text, str) else Reason.NO_RESPONSE
        return Record(ask, (answer,), _completion_facts(request, {}))
    completion = as_dict(response.get("body") or response)
    facts = _completion_facts({**row, **request}, completion)
    if row.get("error"):
        return Record(ask, (Reason.ERROR,), facts)
    if "choices" not in completion and completion.keys() & _MESSAGE:
        return Record(ask, (answer_of_message(completion),), facts)
    return Record(ask, answers_of(completion), facts)


def _example(row: Values) -> Record:
    messages = structured(row.get("messages"))
    if not isinstance(messages, list):
        return Record(Reason.NO_CALL, (Reason.NO_CALL,))
    facts = Facts(name(row.get("model")))
    last = as_dict(messages[-1]) if messages else {}
    if last.get("role") != "assistant":
        text = row.get("response")
        answer = answer_of_text(text) if isinstance(text, str) else Reason.NO_RESPONSE
        return Record(ask_of(row, messages), (answer,), facts)
    ask = ask_of(row, messages[:-1])
    if last.get("weight") == 0:
        return Record(ask, (Reason.WEIGHT_ZERO,), facts)
    return Record(ask, (answer_of_message(last),), facts)


def _completion_facts(request: Mapping[str, Any], completion: Mapping[str, Any]) -> Facts:
    """Return what a request's and a completion's body say of the call.

    Usage is of all choices together, so it is left out where there are several.
    """
    choices = completion.get("choices")
    several = isinstance(choices, list) and len(choices) > 1
    returned = name(completion.get("model"))
    return Facts(
        model=name(request.get("model")) or returned,
        returned_model=returned,
        system_fingerprint=name(completion.get("system_fingerprint")),
        usage={} if several else usage_of(as_dict(completion.get("usage"))),
        created_at=stamp(completion.get("created")),
    )


def _litellm_facts(row: Values, completion: Mapping[str, Any]) -> Facts:
    of_response = _completion_facts({}, completion)
    latency = seconds_between(row.get("startTime"), row.get("endTime"))
    milliseconds = number(row.get("request_duration_ms"))
    if latency is None and milliseconds is not None and milliseconds >= 0:
        latency = round(milliseconds / 1000, 4)
    choices = completion.get("choices")
    several = isinstance(choices, list) and len(choices) > 1
    spend = number(row.get("spend") if row.get("spend") is not None else row.get("response_cost"))
    return Facts(
        model=name(row.get("model")) or name(row.get("model_group")) or of_response.model,
        provider=name(row.get("custom_llm_provider")),
        returned_model=of_response.returned_model,
        system_fingerprint=of_response.system_fingerprint,
        usage={} if several else {**usage_of(row), **of_response.usage},
        created_at=stamp(row.get("startTime")) or of_response.created_at,
        latency_s=latency,
        spend=None if spend is None else float(spend),
    )


def _litellm_answers(raw: Any, completion: Any) -> tuple[Answer | Reason, ...]:
    if not completion:
        return (Reason.NOT_STORED,)
    if isinstance(completion, dict) and ("choices" in completion or "error" in completion):
        return answers_of(completion)
    # A response in plain text, which may be JSON that the model wrote.
    return (answer_of_text(raw) if isinstance(raw, str) else Reason.NO_RESPONSE,)
