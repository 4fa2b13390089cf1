"""Logs of traffic in every form that is known, written by the tests: the same requests in each."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.runs.watching import IngestReport
from potstill.watch.ingest.store import TrafficStore

NOW = datetime(2026, 3, 20, tzinfo=UTC)
Ingest = Callable[..., IngestReport]


def request(number: int, **changes: Any) -> dict[str, Any]:
    """Return one request in potstill's own columns."""
    return {
        "request_id": f"r{number}",
        "account_id": f"a{number % 3}",
        "time": f"2026-03-0{1 + number % 3}T10:00:{number % 60:02d}.250Z",
        "model": "big",
        "product": "api",
        "status": 200,
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "latency_s": 1.25,
        "temperature": 0.5,
        "max_tokens": 64,
        "stream": False,
        "system": "Be brief.",
        "prompt": f"Is {number} prime?",
        "response": "No.",
        "client": f"10.0.0.{number % 5}",
        "user_agent": "sdk/1",
        **changes,
    }


def chat(row: dict[str, Any]) -> list[dict[str, str]]:
    """Return the messages of a request."""
    return [
        {"role": "system", "content": row["system"]},
        {"role": "user", "content": row["prompt"]},
    ]


def litellm(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row of LiteLLM's spend logs, as its proxy writes it with prompts stored."""
    return {
        "request_id": row["request_id"],
        "call_type": "acompletion",
        "api_key": "88dc28d0f030c55ed4ab77ed8faf098196cb1c05df778539800c9f1243fe6b4b",
        "user": row["account_id"],
        "end_user": "",
        "spend": 0.25,
        "startTime": row["time"],
        "endTime": row["time"].replace(".250Z", "Z").replace(":0", ":1"),
        "model": row["model"],
        "custom_llm_provider": "openai",
        "metadata": json.dumps({"user_api_key_team_id": "t"}),
        "prompt_tokens": row["prompt_tokens"],
        "completion_tokens": row["completion_tokens"],
        "messages": "{}",
        "proxy_server_request": json.dumps(
            {
                "model": row["model"],
                "messages": chat(row),
                "temperature": row["temperature"],
                "max_tokens": row["max_tokens"],
                "stream": row["stream"],
            }
        ),
        "response": json.dumps(body(row)),
        "requester_ip_address": row["client"],
        "request_tags": json.dumps([f"User-Agent: {row['user_agent']}", "team"]),
        "status": "success",
    }


def body(row: dict[str, Any]) -> dict[str, Any]:
    """Return the body of an answer of OpenAI's chat."""
    answer = {"role": "assistant", "content": row["response"]}
    return {
        "id": row["request_id"],
        "model": row["model"],
        "choices": [{"message": answer, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": row["prompt_tokens"],
            "completion_tokens": row["completion_tokens"],
        },
    }


def openai(row: dict[str, Any]) -> dict[str, Any]:
    """Return a request with its response, as a gateway logs it."""
    asked = {key: row[key] for key in ("model", "temperature", "max_tokens", "stream")}
    return {
        "request_id": row["request_id"],
        "organization": row["account_id"],
        "timestamp": row["time"],
        "ip": row["client"],
        "user_agent": row["user_agent"],
        "latency_ms": row["latency_s"] * 1000,
        "request": {**asked, "messages": chat(row)},
        "response": {"status_code": row["status"], "body": body(row)},
    }


def attributes(row: dict[str, Any], *, structured: bool = False) -> dict[str, Any]:
    """Return a request as OpenTelemetry's attributes, as they are now named."""
    sent = [{"role": "user", "parts": [{"type": "text", "content": row["prompt"]}]}]
    answered = [
        {
            "role": "assistant",
            "parts": [
                {"type": "reasoning", "content": "hm"},
                {"type": "text", "content": row["response"]},
            ],
            "finish_reason": "stop",
        }
    ]
    system = [{"type": "text", "content": row["system"]}]
    shown = (lambda value: value) if structured else json.dumps
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "x",
        "gen_ai.request.model": row["model"],
        "gen_ai.request.temperature": row["temperature"],
        "gen_ai.request.max_tokens": row["max_tokens"],
        "gen_ai.request.stream": row["stream"],
        "gen_ai.usage.input_tokens": row["prompt_tokens"],
        "gen_ai.usage.output_tokens": row["completion_tokens"],
        "gen_ai.input.messages": shown(sent),
        "gen_ai.output.messages": shown(answered),
        "gen_ai.system_instructions": shown(system),
        "enduser.id": row["account_id"],
        "http.response.status_code": row["status"],
        "client.address": row["client"],
        "user_agent.original": row["user_agent"],
        "service.name": row["product"],
    }


def legacy(row: dict[str, Any]) -> dict[str, Any]:
    """Return a request as OpenTelemetry's attributes, as they were."""
    return {
        "gen_ai.system": "x",
        "gen_ai.request.model": row["model"],
        "gen_ai.request.temperature": row["temperature"],
        "gen_ai.request.max_tokens": row["max_tokens"],
        "gen_ai.usage.prompt_tokens": row["prompt_tokens"],
        "gen_ai.usage.completion_tokens": row["completion_tokens"],
        "gen_ai.prompt": json.dumps(chat(row)),
        "gen_ai.completion": row["response"],
        "user.id": row["account_id"],
        "http.status_code": row["status"],
        "net.sock.peer.addr": row["client"],
    }


def nanoseconds(row: dict[str, Any], more: float = 0.0) -> int:
    """Return a request's time since 1970."""
    moment = datetime.fromisoformat(row["time"])
    return round(moment.timestamp() * 1000) * 1_000_000 + round(more * 1e9)


def span(row: dict[str, Any], **values: Any) -> dict[str, Any]:
    """Return a span with its attributes in an object."""
    return {
        "traceId": "t1",
        "spanId": row["request_id"],
        "startTimeUnixNano": str(nanoseconds(row)),
        "endTimeUnixNano": str(nanoseconds(row, row["latency_s"])),
        "attributes": attributes(row, **values),
    }


def flat_span(row: dict[str, Any], found: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a span whose attributes are fields of their own."""
    return {"request_id": row["request_id"], "start_time": row["time"]} | (
        attributes(row) if found is None else found
    )


def typed(value: Any) -> dict[str, Any]:
    """Return one of OTLP's typed values."""
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, list):
        return {"arrayValue": {"values": [typed(one) for one in value]}}
    if isinstance(value, dict):
        return {"kvlistValue": {"values": pairs(value)}}
    return {"stringValue": value}


def pairs(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return an object as OTLP's list of keys and values."""
    return [{"key": key, "value": typed(value)} for key, value in values.items()]


def otlp(rows: list[dict[str, Any]], **values: Any) -> dict[str, Any]:
    """Return an export of the collector's, as its file exporter writes it in a line."""
    spans = []
    for row in rows:
        found = span(row, **values)
        found["attributes"].pop("service.name")
        spans.append({**found, "attributes": pairs(found["attributes"])})
    resource = {"attributes": pairs({"service.name": rows[0]["product"]})}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}


def write_lines(path: Path, *rows: Any) -> Path:
    """Write rows (or text, or bytes) as lines; packed where the name says so."""
    lines = [one if isinstance(one, bytes) else _text(one).encode() for one in rows]
    content = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gz":
        content = gzip.compress(content)
    elif path.suffix == ".zst":
        content = pa.Codec("zstd").compress(content, asbytes=True)
    path.write_bytes(content)
    return path


def write_table(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Write rows as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def held(root: Path) -> list[dict[str, Any]]:
    """Return the rows of a store, by what names them."""
    store = TrafficStore.reading(root)
    tables = [pq.read_table(part, partitioning=None) for part in store.parts()]
    rows = pa.concat_tables(tables).to_pylist() if tables else []
    return sorted(rows, key=lambda row: (row["time"], row["account_id"], row["request_id"]))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
