"""An HTTP server on loopback that misbehaves as told: for faults alone, it is no model.

It answers chat completions with a text made from the prompt and the seed. Which request meets
which fault is drawn from a seed. Run it as a context manager; it lives in a thread of its own.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import threading
from collections import Counter
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

FAULTS = (
    "delay",
    "429",
    "429 with Retry-After",
    "500",
    "503",
    "truncated JSON",
    "dropped",
    "dropped half-way",
    "wrong model",
    "HTML page",
    "200 with an error",
    "error that quotes the key",
)
# What leaves the answer itself whole.
HARMLESS = ("delay", "wrong model")


@dataclass(frozen=True)
class Behaviour:
    """How the server behaves; `rate` is the share of requests that meet one of `faults`."""

    rate: float = 0.0
    faults: tuple[str, ...] = FAULTS
    seed: int = 0
    model: str = "nano"
    key: str | None = None
    most_n: int | None = None
    """Choices that it gives at most, whatever n says."""
    latency_s: float = 0.0
    delay_s: float = 0.05
    retry_after: str = "0.02"
    lists_models: bool = True
    status: tuple[int, dict[str, Any]] | None = None
    """Answer every completion with this status and body."""
    text: str | None = None
    """Answer every completion with this text, as JSON spells it (for text that cannot be sent)."""
    finish: str | None = "stop"
    usage: bool = True
    fingerprint: str = "fp_1"
    revoked_after: int | None = None
    """Refuse the key from the request after so many on."""
    page: bool = False
    """Be no OpenAI server at all: a web page for everything."""
    more: dict[str, Any] = field(default_factory=dict)
    models: Any = None
    """The body of the list of models, in place of one that holds `model`."""


class FaultServer:
    """The running server: `url` is its base URL, `seen` and `bodies` what it was asked."""

    def __init__(self, behaviour: Behaviour | None = None) -> None:
        self.behaviour = behaviour or Behaviour()
        self.requests = 0
        self.seen: Counter[str] = Counter()
        self.met: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self._random = random.Random(self.behaviour.seed)
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0

    @property
    def url(self) -> str:
        """Return the base URL, with its /v1."""
        return f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> FaultServer:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._client, "127.0.0.1", 0, backlog=512)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._request(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.transport.abort()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:]) if k}
        content = await reader.readexactly(int(headers.get("content-length", "0")))
        if self.behaviour.page:
            return await send(writer, 200, "<!DOCTYPE html><html>Welcome</html>", kind="text/html")
        if self.behaviour.key and headers.get("authorization") != f"Bearer {self.behaviour.key}":
            return await send(writer, 401, error("invalid_api_key", "Incorrect API key"))
        if head[0].startswith("GET"):
            if not self.behaviour.lists_models:
                return await send(writer, 404, error("not_found", "no such path"))
            if self.behaviour.models is not None:
                return await send(writer, 200, self.behaviour.models)
            listed = {"object": "list", "data": [{"id": self.behaviour.model}, {"id": "other"}]}
            return await send(writer, 200, listed)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._complete(json.loads(content), headers, writer)
        finally:
            self.in_flight -= 1

    async def _complete(
        self, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter
    ) -> bool:
        how = self.behaviour
        self.requests += 1
        number = self.requests
        self.bodies.append(body)
        await asyncio.sleep(how.latency_s)
        if how.revoked_after is not None and number > how.revoked_after:
            return await send(writer, 401, error("invalid_api_key", "revoked"))
        if how.status is not None:
            return await send(writer, *how.status)
        fault = self._random.choice(how.faults) if self._random.random() < how.rate else None
        if fault:
            self.met[fault] += 1
        if fault == "delay":
            await asyncio.sleep(how.delay_s)
        elif fault == "429":
            return await send(writer, 429, error("rate_limit_exceeded", "slow down"))
        elif fault == "429 with Retry-After":
            wait = {"Retry-After": how.retry_after}
            return await send(writer, 429, error("rate_limit_exceeded", "slow down"), wait)
        elif fault in ("500", "503"):
            return await send(writer, int(fault), error("server_error", "went wrong"))
        elif fault == "dropped":
            return False
        elif fault == "HTML page":
            return await send(writer, 200, "<html><h1>502 Bad Gateway</h1>", kind="text/html")
        elif fault == "200 with an error":
            return await send(writer, 200, error("overloaded", "try later"))
        elif fault == "error that quotes the key":
            quoted = headers.get("authorization", "")
            return await send(writer, 500, error("server_error", f"failed with {quoted}"))
        text = json.dumps(self._answer(body, "impostor" if fault == "wrong model" else how.model))
        if how.text is not None:
            text = text.replace('"TEXT"', how.text)
        if fault == "truncated JSON":
            return await send(writer, 200, text[: len(text) // 2])
        if fault == "dropped half-way":
            await send(writer, 200, text, cut=len(text) // 2)
            return False
        messages = body.get("messages")
        self.seen[messages[-1]["content"] if messages else str(body["prompt"])] += 1
        return await send(writer, 200, text)

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        how = self.behaviour
        count = min(body.get("n", 1), how.most_n or 1_000)
        choices = [
            {
                "index": i,
                "finish_reason": how.finish,
                "message": {
                    "role": "assistant",
                    "content": "TEXT" if how.text is not None else answer_to(body, i),
                },
            }
            for i in range(count)
        ]
        usage = {"prompt_tokens": 7, "completion_tokens": 5 * count, "total_tokens": 7 + 5 * count}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "system_fingerprint": how.fingerprint,
            "choices": choices,
            **({"usage": usage} if how.usage else {}),
            **how.more,
        }


def answer_to(body: dict[str, Any], index: int) -> str:
    """Return the text that the server answers a request with."""
    asked = f"{body['messages']}|{body.get('seed')}|{index}"
    return f"answer {hashlib.sha256(asked.encode()).hexdigest()[:12]}"


def error(code: str, message: str) -> dict[str, Any]:
    """Return an error body as OpenAI spells it."""
    return {"error": {"message": message, "type": code, "code": code, "param": None}}


async def send(
    writer: asyncio.StreamWriter,
    status: int,
    body: Any,
    headers: dict[str, str] | None = None,
    *,
    kind: str = "application/json",
    cut: int | None = None,
) -> bool:
    """Send a response, all of it or the first `cut` bytes; return that the connection stays."""
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    lines = [f"HTTP/1.1 {status} X", f"Content-Type: {kind}", f"Content-Length: {len(content)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    writer.write("\r\n".join([*lines, "", ""]).encode() + content[:cut])
    await writer.drain()
    return True
