"""LiteLLM's spend logs (a table), and its Standard Logging Payload (files of JSON)."""

from __future__ import annotations

from typing import Any

import ibis

from potstill.watch.ingest.coerce import as_int32, as_text, as_time, coalesced
from potstill.watch.ingest.engine import as_object, seconds_from, texts_at
from potstill.watch.ingest.fields import Fields
from potstill.watch.ingest.form import Mapped, TrafficForm

_FIELDS = (
    *("request_id", "id", "call_type", "startTime", "endTime", "model", "model_group", "user"),
    *("api_key", "end_user", "team_id", "organization_id", "requester_ip_address", "metadata"),
    *("prompt_tokens", "completion_tokens", "status", "messages", "response", "stream"),
    *("proxy_server_request", "model_parameters", "request_tags", "spend", "response_cost"),
    *("custom_llm_provider", "cache_hit", "api_base", "error_information"),
)
_SIGNS = (
    *("call_type", "startTime", "endTime", "spend", "response_cost", "custom_llm_provider"),
    *("proxy_server_request", "model_group", "cache_hit", "api_base"),
)
_LEAST = 3
# Its call types that hold a chat or a text.
_CALLS = (
    *("completion", "acompletion", "text_completion", "atext_completion", "anthropic_messages"),
    *("responses", "aresponses"),
)
_BESIDE = (
    *("user_api_key_user_id", "user_api_key_hash", "user_api_key_end_user_id"),
    *("user_api_key_team_id", "user_api_key_org_id", "requester_ip_address", "error_information"),
)
_ERROR = ("error_code",)
_ASKED = ("temperature", "max_tokens", "max_completion_tokens", "stream", "tools")
_BODY = (*_ASKED, "messages", "input", "instructions", "system")


def _sign(fields: Fields) -> Any:
    shown = [ibis.ifelse(as_text(fields[name]).notnull(), 1, 0) for name in _SIGNS]
    return sum(shown[1:], shown[0]) >= _LEAST


def _mapped(fields: Fields) -> Mapped:
    beside, asked = fields.inside("metadata"), fields.inside("model_parameters")
    body, error = fields.inside("proxy_server_request"), fields.inside("error_information")
    inner_error = texts_at(as_object(beside["error_information"]), _ERROR)

    def stated(*names: str) -> Any:
        return coalesced([*(asked[n] for n in names), *(body[n] for n in names)])

    # Recent versions leave `messages` empty, as {}, and keep the request itself.
    own = as_text(fields["messages"]).nullif("{}").nullif("[]")
    columns = {
        "request_id": coalesced([fields["request_id"], fields["id"]]),
        "time": fields["startTime"],
        "model": coalesced([fields["model"], fields["model_group"]]),
        "status": _status(fields, coalesced([error["error_code"], inner_error[0]])),
        "prompt_tokens": fields["prompt_tokens"],
        "completion_tokens": fields["completion_tokens"],
        "latency_s": seconds_from(as_time(fields["startTime"]), as_time(fields["endTime"])),
        "temperature": stated("temperature"),
        "max_tokens": stated("max_tokens", "max_completion_tokens"),
        "stream": coalesced([fields["stream"], asked["stream"], body["stream"]]),
        "tools": stated("tools"),
        "client": coalesced([fields["requester_ip_address"], beside["requester_ip_address"]]),
        "user_agent": _agent(fields["request_tags"]),
    }
    accounts = {
        "user": coalesced([fields["user"], beside["user_api_key_user_id"]]),
        "api_key": coalesced([fields["api_key"], beside["user_api_key_hash"]]),
    }
    kind = as_text(fields["call_type"])
    return Mapped(
        columns,
        accounts,
        is_call=kind.isnull() | kind.isin(_CALLS),
        chat=coalesced([own, body["messages"], body["input"]]),
        reply=fields["response"],
        system=coalesced([body["system"], body["instructions"]]),
    )


def _status(fields: Fields, code: Any) -> Any:
    """Return 200 for a success, the code of a failure; a failure without one states none."""
    status = as_text(fields["status"]).lower()
    return ibis.cases(
        (status == "success", "200"),
        (status == "failure", as_int32(code).cast("string")),
        else_=None,
    )


def _agent(tags: Any) -> Any:
    """Return what a tag says of the client, as LiteLLM adds it to a request's tags."""
    return as_text(tags).re_extract(r'"User-Agent: ([^"]*)"', 1).nullif("")


LITELLM = TrafficForm(
    name="litellm",
    says="LiteLLM's spend logs or Standard Logging Payload",
    fields=_FIELDS,
    inner={
        "metadata": _BESIDE,
        "model_parameters": _ASKED,
        "proxy_server_request": _BODY,
        "error_information": _ERROR,
    },
    sign=_sign,
    mapped=_mapped,
)
