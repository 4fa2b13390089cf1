"""LiteLLM itself, in the process, has its callback write a serving log."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.logs import read_calls
from potstill.logs.litellm_rows import NotLogged, ServedBy, rows_of
from potstill.logs.serving import ServedCall, ServedEngine, ServedMark, ServedSampling
from potstill.logs.serving_file import ServingLog, served_rows
from potstill.logs.twin_needs import NoTwin, TwinTally, require_twins, why_no_twins, with_twins
from potstill.recipe import CallsConfig

# Of LiteLLM's own types.
pytestmark = pytest.mark.filterwarnings("ignore:.*using the `ReadOnly` qualifier:UserWarning")

ASKED = [{"role": "system", "content": "Be short."}, {"role": "user", "content": "Who?"}]
BY = ServedBy(
    models=("nano",),
    watermark="none",
    engine=ServedEngine(name="vllm", version="0.12"),
    snapshot="2026-11",
    dtype="bfloat16",
    tokenizer="blake3:1",
    defaults=ServedSampling(top_p=1.0, top_k=0, max_tokens=64),
)


@pytest.fixture(scope="module")
def litellm() -> Any:
    """LiteLLM, which otherwise would fetch its table of prices."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    found = pytest.importorskip("litellm", reason="needs the extra litellm")
    found.suppress_debug_info = True
    yield found
    patch.undo()


class _Engine(BaseHTTPRequestHandler):
    """Answers as vLLM does that is asked for token ids."""

    def log_message(self, *args: Any) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.bodies.append(body)  # type: ignore[attr-defined]
        if body.get("stream"):
            parts = [self._part(body, i, text) for i, text in enumerate(("I", " am", "."))]
            lines = [f"data: {json.dumps(part)}\n\n" for part in parts]
            self._send("text/event-stream", "".join([*lines, "data: [DONE]\n\n"]))
            return
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": f"I am {i}."},
                "finish_reason": "stop",
                "token_ids": [7, 8, i],
            }
            for i in range(body.get("n") or 1)
        ]
        usage = {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
        whole = {"object": "chat.completion", "choices": choices, "usage": usage}
        if not body.get("return_token_ids"):
            for choice in choices:
                del choice["token_ids"]
        else:
            whole["prompt_token_ids"] = [1, 2, 3]
        self._send("application/json", json.dumps({**self._head(), **whole}))

    def _part(self, body: dict[str, Any], i: int, text: str) -> dict[str, Any]:
        choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "token_ids": [7 + i]}
        choice["finish_reason"] = "stop" if i == 2 else None
        return {**self._head(), "object": "chat.completion.chunk", "choices": [choice]}

    def _head(self) -> dict[str, Any]:
        return {"id": "c1", "created": 1, "model": "nano", "system_fingerprint": "f"}

    def _send(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


@pytest.fixture(scope="module")
def engine() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), _Engine)
    server.bodies = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()


@pytest.fixture
def logger(litellm: Any, tmp_path: Path) -> Iterator[Any]:
    """The callback, as the only one that LiteLLM has."""
    from potstill.logs.litellm_logger import ServingLogger

    made = ServingLogger(tmp_path, BY)
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = [made]
    yield made
    litellm.logging_callback_manager._reset_all_callbacks()
    litellm.callbacks = []


def told(logger: Any, calls: int) -> None:
    """Wait until LiteLLM, which does so in the background, has told of as many calls."""
    end = time.monotonic() + 60
    while sum(logger.counts.values()) < calls and time.monotonic() < end:
        time.sleep(0.02)
    assert sum(logger.counts.values()) == calls, logger.counts


def rows_in(folder: Path) -> list[ServedCall]:
    found = [row for row, _ in served_rows([str(folder)])]
    assert all(isinstance(row, ServedCall) for row in found)
    return [row for row in found if isinstance(row, ServedCall)]


@pytest.fixture
def ask(litellm: Any, engine: HTTPServer) -> Callable[..., Any]:
    """Ask the engine through LiteLLM."""

    def asked(**more: Any) -> Any:
        model = more.pop("model", "hosted_vllm/nano")
        url = f"http://127.0.0.1:{engine.server_port}/v1"
        return litellm.completion(
            model=model, api_base=url, api_key="x", messages=more.pop("messages", ASKED), **more
        )

    return asked


def test_what_was_asked_and_answered_is_written_with_what_the_owner_states(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    ask(temperature=0.7, top_k=5, seed=4, user="u1", extra_body={"return_token_ids": True})
    told(logger, 1)
    (row,) = rows_in(tmp_path)
    assert row.messages == tuple(ASKED)
    assert (row.response, row.finish_reason) == ("I am 0.", "stop")
    assert row.sampling == ServedSampling(
        temperature=0.7, top_p=1.0, top_k=5, max_tokens=64, seed=4, n=1
    )
    assert (row.prompt_token_ids, row.response_token_ids) == ((1, 2, 3), (7, 8, 0))
    assert (row.engine, row.snapshot, row.dtype) == (BY.engine, "2026-11", "bfloat16")
    assert (row.watermark, row.turn, row.cached) == ("none", 1, False)
    assert not list(why_no_twins(row))


def test_a_log_without_ids_is_refused_for_twins(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    logger.by = replace(BY, snapshot=None, watermark=None)
    ask(temperature=0.7)
    told(logger, 1)
    tally = TwinTally()
    assert not list(with_twins(served_rows([str(tmp_path)]), tally))
    with pytest.raises(PotstillError, match="no prompt_token_ids, no response_token_ids"):
        require_twins(tally, "log")
    assert tally.unsaid[NoTwin.NO_SNAPSHOT] == tally.unsaid[NoTwin.MARK_OPEN] == 1
    # It can still be learnt from.
    assert [c.answer.response for c in read_calls(CallsConfig(path=str(tmp_path))).calls] == [
        "I am 0."
    ]


def test_several_answers_are_rows_of_one_request(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    ask(n=2, temperature=1, extra_body={"return_token_ids": True})
    told(logger, 2)
    first, second = rows_in(tmp_path)
    assert first.request_id == second.request_id
    assert (first.exchange_id, second.index, second.response) != (second.exchange_id, 0, "I am 0.")
    assert list(why_no_twins(first)) == [NoTwin.SEVERAL]


def test_a_streamed_answer_is_written_once_and_whole(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    for _ in ask(stream=True, temperature=1, extra_body={"return_token_ids": True}):
        pass
    told(logger, 1)
    (row,) = rows_in(tmp_path)
    assert row.response == "I am."
    assert row.response_token_ids == (7, 8, 9)
    assert row.prompt_token_ids is None  # LiteLLM keeps the response's alone


def test_asynchronous_calls_are_written(
    litellm: Any, logger: Any, engine: HTTPServer, tmp_path: Path
) -> None:
    async def several() -> None:
        url = f"http://127.0.0.1:{engine.server_port}/v1"
        calls = [
            litellm.acompletion(
                model="hosted_vllm/nano", api_base=url, api_key="x", messages=ASKED, temperature=1
            )
            for _ in range(4)
        ]
        await asyncio.gather(*calls)
        while sum(logger.counts.values()) < 4:
            await asyncio.sleep(0.02)

    asyncio.run(asyncio.wait_for(several(), 60))
    assert logger.counts == {"written": 4}
    assert len({row.request_id for row in rows_in(tmp_path)}) == 4


def test_without_any_network_litellms_own_mock_is_written(
    litellm: Any, logger: Any, tmp_path: Path
) -> None:
    logger.by = replace(BY, models=("openai/other",))
    litellm.completion(model="openai/other", messages=ASKED, mock_response="Me.", temperature=0)
    told(logger, 1)
    (row,) = rows_in(tmp_path)
    assert (row.response, row.model, row.response_token_ids) == ("Me.", "other", None)


def test_calls_of_another_model_make_no_row(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    logger.by = replace(BY, models=("another",))
    ask()
    told(logger, 1)
    assert logger.counts == {NotLogged.OTHER_MODEL: 1}
    assert not list(tmp_path.glob("*.jsonl"))


def test_a_call_that_litellm_redacts_makes_no_row(
    litellm: Any, logger: Any, ask: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litellm, "turn_off_message_logging", True)
    ask()
    told(logger, 1)
    assert logger.counts == {NotLogged.REDACTED: 1}


def test_what_changes_the_draw_is_named(
    logger: Any, ask: Callable[..., Any], tmp_path: Path
) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    ask(stop=["x"], presence_penalty=0.5, frequency_penalty=0, tools=tools, max_completion_tokens=9)
    told(logger, 1)
    (row,) = rows_in(tmp_path)
    assert row.sampling.others == ("presence_penalty", "stop")
    assert row.sampling.max_tokens == 9
    assert row.tools is not None and json.loads(row.tools) == tools


def test_a_full_disk_is_counted_and_said(
    logger: Any, ask: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    logger.log = ServingLog(tmp_path / "file")
    with caplog.at_level(logging.ERROR, logger="potstill.logs.litellm_logger"):
        ask()
        told(logger, 1)
    assert logger.counts == {"not written": 1}
    assert "choose another folder for the serving log" in caplog.text
    assert "Who?" not in caplog.text


def a_call(**more: Any) -> dict[str, Any]:
    payload = {"call_type": "completion", "custom_llm_provider": "p", "startTime": 1796028824.129}
    return {
        "model": "nano",
        "messages": ASKED,
        "optional_params": {},
        "litellm_call_id": "c",
        "standard_logging_object": payload,
    } | more


ANSWER = {"choices": [{"message": {"content": "Yes."}, "finish_reason": "stop"}]}


@pytest.mark.parametrize(
    ("call", "response", "why"),
    [
        (a_call(model="x"), ANSWER, NotLogged.OTHER_MODEL),
        (a_call(model=None), ANSWER, NotLogged.OTHER_MODEL),
        (a_call(standard_logging_object={"call_type": "embedding"}), ANSWER, NotLogged.NO_CHAT),
        (a_call(messages=None), ANSWER, NotLogged.INCOMPLETE),
        (a_call(), {}, NotLogged.INCOMPLETE),
        (a_call(), {"choices": [{"text": "Yes."}]}, NotLogged.UNFIT),
        (a_call(messages=["text"]), ANSWER, NotLogged.UNFIT),
        (a_call(optional_params={"temperature": -1}), ANSWER, NotLogged.UNFIT),
        (a_call(litellm_call_id=None), ANSWER, NotLogged.UNFIT),
    ],
)
def test_what_makes_no_row_says_why(call: Any, response: Any, why: NotLogged) -> None:
    assert rows_of(call, response, BY) is why


def test_defaults_are_the_owners_and_a_request_says_otherwise() -> None:
    defaults = ServedSampling(temperature=1.0, top_k=20, others=("repetition_penalty",))
    by = replace(BY, defaults=defaults, watermark=ServedMark(key_id="k", scheme="green"))
    found = rows_of(a_call(optional_params={"top_k": -1}), ANSWER, by)
    assert isinstance(found, list)
    assert found[0].sampling == ServedSampling(
        temperature=1.0, top_k=0, others=("repetition_penalty",)
    )
    assert found[0].watermark == by.watermark
    assert found[0].at == "2026-11-30T08:53:44.129+00:00"
