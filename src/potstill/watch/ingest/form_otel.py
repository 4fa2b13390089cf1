"""Spans by OpenTelemetry's conventions for generative AI, as they are now named and as they were.

The names are kept here, since the convention moved to a repository of its own and its constants
are deprecated. Attributes stand in the row itself, or in its `attributes`; what the collector
writes (OTLP) is unpacked into such rows first (`otlp.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ibis

from potstill.watch.ingest.coerce import as_int32, as_text, as_time, coalesced
from potstill.watch.ingest.engine import seconds_from
from potstill.watch.ingest.fields import Fields
from potstill.watch.ingest.form import Mapped, TrafficForm, any_said, first_of

ACCOUNTS = ("enduser.id", "user.id", "enduser.pseudo.id", "gen_ai.user")
_OPERATION = "gen_ai.operation.name"
_MODEL = ("gen_ai.request.model", "gen_ai.response.model")
_SIGNS = (*_MODEL, _OPERATION, "gen_ai.provider.name", "gen_ai.system")
_ATTRIBUTES = (
    *ACCOUNTS,
    *_SIGNS,
    *("gen_ai.response.id", "service.name", "gen_ai.input.messages", "gen_ai.output.messages"),
    *("gen_ai.system_instructions", "gen_ai.prompt", "gen_ai.completion"),
    *("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    *("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    *("gen_ai.request.temperature", "gen_ai.request.max_tokens", "gen_ai.request.stream"),
    *("gen_ai.is_streaming", "llm.is_streaming", "gen_ai.tool.definitions"),
    *("http.response.status_code", "http.status_code", "error.type"),
    *("client.address", "http.client_ip", "net.sock.peer.addr"),
    *("user_agent.original", "http.user_agent"),
)
# Operations that ask a model for text; others (tools, embeddings, agents) are spans around them.
_CALLS = ("chat", "text_completion", "generate_content", "completion")
_IDS = (("traceId", "spanId"), ("trace_id", "span_id"))
_STARTS = (
    *("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "timeUnixNano"),
    *("time_unix_nano", "timestamp", "Timestamp", "time"),
)
_ENDS = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime")
_TOP = ("request_id", *(name for pair in _IDS for name in pair), *_STARTS, *_ENDS)
_CONTEXT = {"context": ("trace_id", "span_id")}

Values = Mapping[str, Any]


def _sign(values: Values) -> Any:
    return any_said(values, *_SIGNS)


def _mapped(fields: Fields, values: Values) -> Mapped:
    started = coalesced([fields[name] for name in _STARTS])
    ended = coalesced([fields[name] for name in _ENDS])
    columns = {
        "request_id": coalesced(
            [fields["request_id"], _span(fields), values["gen_ai.response.id"]]
        ),
        "time": started,
        "model": first_of(values, *_MODEL),
        "product": values["service.name"],
        "status": _status(values),
        "prompt_tokens": first_of(
            values, "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"
        ),
        "completion_tokens": first_of(
            values, "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"
        ),
        "latency_s": seconds_from(as_time(started), as_time(ended)),
        "temperature": values["gen_ai.request.temperature"],
        "max_tokens": values["gen_ai.request.max_tokens"],
        "stream": first_of(
            values, "gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming"
        ),
        "tools": values["gen_ai.tool.definitions"],
        "client": first_of(values, "client.address", "http.client_ip", "net.sock.peer.addr"),
        "user_agent": first_of(values, "user_agent.original", "http.user_agent"),
    }
    operation = as_text(values[_OPERATION])
    is_call = ibis.ifelse(operation.isnull(), _sign(values), operation.isin(_CALLS))
    return Mapped(
        columns,
        {name: values[name] for name in ACCOUNTS},
        is_call,
        chat=first_of(values, "gen_ai.input.messages", "gen_ai.prompt"),
        reply=first_of(values, "gen_ai.output.messages", "gen_ai.completion"),
        system=values["gen_ai.system_instructions"],
    )


def _status(values: Values) -> Any:
    """Return the HTTP status; where a failure names its kind by a number, that number."""
    stated = first_of(values, "http.response.status_code", "http.status_code")
    kind = as_text(values["error.type"])
    number = ibis.ifelse(kind.re_search(r"^[1-5][0-9][0-9]$"), kind, None)
    return ibis.coalesce(as_int32(stated), as_int32(number))


def _span(fields: Fields) -> Any:
    """Return trace and span as one name; a span's number alone may come twice."""
    context = fields.inside("context")
    pairs = [(as_text(fields[one]), as_text(fields[two])) for one, two in _IDS]
    named = [
        one.concat("/", two) for one, two in (*pairs, (context["trace_id"], context["span_id"]))
    ]
    return coalesced(named)


def _top_level(fields: Fields) -> Values:
    return {name: fields[name] for name in _ATTRIBUTES}


def _in_attributes(fields: Fields) -> Values:
    return fields.inside("attributes")


OTEL = (
    TrafficForm(
        name="otel",
        says="OpenTelemetry's GenAI attributes, in `attributes`",
        fields=_TOP,
        inner={"attributes": _ATTRIBUTES, **_CONTEXT},
        sign=lambda fields: _sign(_in_attributes(fields)),
        mapped=lambda fields: _mapped(fields, _in_attributes(fields)),
    ),
    TrafficForm(
        name="otel-flat",
        says="OpenTelemetry's GenAI attributes, each a field of its own",
        fields=(*_ATTRIBUTES, *_TOP),
        inner=_CONTEXT,
        sign=lambda fields: _sign(_top_level(fields)),
        mapped=lambda fields: _mapped(fields, _top_level(fields)),
    ),
)
