"""Requests with their responses, as OpenAI's interfaces have them, and Anthropic's Messages.

`{"request": {...}, "response": {...}}` with whatever a gateway writes beside them, or a stored
response that has what was asked beside it (`messages` and `choices`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis

from potstill.watch.ingest.coerce import as_float, as_int32, as_text, coalesced
from potstill.watch.ingest.fields import Fields
from potstill.watch.ingest.form import Mapped, TrafficForm, any_said, first_of

# Whose key, account or contract it is; for whom that account asked comes last.
_WHOSE = (
    *("account_id", "account", "organization_id", "organisation_id", "org_id", "organization"),
    *("user_id", "project_id", "key_id", "api_key_id", "api_key_hash"),
)
_TIMES = ("created_at", "created", "timestamp", "time", "startTime", "ts")
_ADDRESSES = ("client_ip", "ip", "ip_address", "remote_addr", "requester_ip_address")
_ASKED = (
    *("model", "temperature", "max_tokens", "max_completion_tokens", "max_output_tokens"),
    *("stream", "tools", "functions", "messages", "input", "prompt", "system", "instructions"),
    *("safety_identifier", "user"),
)
_ANSWERED = ("id", "model", "created", "created_at")
_TOKENS = ("prompt_tokens", "input_tokens", "completion_tokens", "output_tokens")
_INNER = {
    "request": (*_ASKED, *(f"$.body.{name}" for name in _ASKED)),
    "response": (
        *("status_code", "body"),
        *_ANSWERED,
        *(f"$.body.{name}" for name in _ANSWERED),
        *(f"$.{where}.{name}" for where in ("body.usage", "usage") for name in _TOKENS),
    ),
    "usage": _TOKENS,
}
_FIELDS = (
    *("request", "response", "request_id", "id", "choices", "object", "output", "content"),
    *("status_code", "http_status", "status", "usage", "latency_s", "latency_ms", "user_agent"),
    *_WHOSE,
    *_TIMES,
    *_ADDRESSES,
    *_ASKED,
)
Values = Mapping[str, Any]


def _sign(fields: Fields) -> Any:
    pair = as_text(fields["request"]).startswith("{") & _asks(fields)
    stored = as_text(fields["messages"]).notnull() & as_text(fields["choices"]).notnull()
    return pair | stored


def _asks(fields: Fields) -> Any:
    return any_said(_asked(fields), "messages", "input", "prompt")


def _asked(fields: Fields) -> Values:
    """Return the members of what was asked: of the request, of its body, or of the row itself."""
    request = fields.inside("request")
    return {
        name: coalesced([request[f"$.body.{name}"], request[name], fields[name]]) for name in _ASKED
    }


def _mapped(fields: Fields) -> Mapped:
    asked, response = _asked(fields), fields.inside("response")
    answered = {n: coalesced([response[f"$.body.{n}"], response[n]]) for n in _ANSWERED}
    usage = {
        name: coalesced(
            [
                *(response[f"$.{where}.{name}"] for where in ("body.usage", "usage")),
                fields.inside("usage")[name],
            ]
        )
        for name in _TOKENS
    }
    columns = {
        "request_id": coalesced([fields["request_id"], fields["id"], answered["id"]]),
        "time": coalesced(
            [*(fields[name] for name in _TIMES), answered["created_at"], answered["created"]]
        ),
        "model": coalesced([asked["model"], answered["model"]]),
        "status": _status(fields, response["status_code"]),
        "prompt_tokens": first_of(usage, "prompt_tokens", "input_tokens"),
        "completion_tokens": first_of(usage, "completion_tokens", "output_tokens"),
        "latency_s": _latency(fields),
        "temperature": asked["temperature"],
        "max_tokens": coalesced(
            [asked["max_tokens"], asked["max_completion_tokens"], asked["max_output_tokens"]]
        ),
        "stream": asked["stream"],
        "tools": coalesced([asked["tools"], asked["functions"]]),
        "client": coalesced([fields[name] for name in _ADDRESSES]),
        "user_agent": fields["user_agent"],
    }
    accounts = {name: fields[name] for name in _WHOSE} | {
        "safety_identifier": asked["safety_identifier"],
        "user": asked["user"],
    }
    return Mapped(
        columns,
        accounts,
        chat=first_of(asked, "messages", "input", "prompt"),
        reply=coalesced([response["body"], fields["response"], _stored(fields)]),
        system=first_of(asked, "system", "instructions"),
    )


def _stored(fields: Fields) -> Any:
    """Return a response that the row itself is, as a body."""
    choices = as_text(fields["choices"])
    return ibis.ifelse(choices.notnull(), ibis.literal('{"choices":').concat(choices, "}"), None)


def _status(fields: Fields, stated: Any) -> Any:
    """Return the HTTP status; the `status` of a row counts where it is a number."""
    named = (fields["status_code"], fields["http_status"], stated, fields["status"])
    return ibis.coalesce(*(as_int32(value) for value in named))


def _latency(fields: Fields) -> Any:
    return ibis.coalesce(as_float(fields["latency_s"]), as_float(fields["latency_ms"]) / 1000)


OPENAI = TrafficForm(
    name="openai",
    says="requests with their responses",
    fields=_FIELDS,
    inner=_INNER,
    sign=_sign,
    mapped=_mapped,
)
