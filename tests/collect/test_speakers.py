"""Who speaks in dumps of ShareGPT and LLaMA-Factory, and rows where nobody known does."""

from __future__ import annotations

import json

import pytest

from potstill.collect.prompts import read_prompts
from potstill.errors import PotstillError
from potstill.logs.reading import read_calls
from potstill.recipe import CallsConfig, PromptsConfig


def said(*pairs):
    return {"conversations": [{"from": who, "value": text} for who, text in pairs]}


@pytest.fixture
def write(tmp_path):
    def _write(*rows) -> str:
        path = tmp_path / "p.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        return str(path)

    return _write


CALL = ("function_call", '{"name": "weather", "arguments": {"town": "Bern"}}')


@pytest.mark.parametrize("who", ["ai", "bot", "model", "bard", "bing", "ChatGPT", "AI"])
def test_models_by_their_names_are_assistants(who: str, write) -> None:
    path = write(said(("prompter", "Hi"), (who, "Hello."), ("human", "And now?"), (who, "Bye.")))
    (turns,) = read_prompts(path, PromptsConfig(source=path))
    assert [m["role"] for m in turns.messages] == ["user", "assistant", "user"]
    (call,) = read_calls(CallsConfig(path=path)).calls
    assert call.answer.response == "Bye."


@pytest.mark.parametrize(
    "result", ["observation", "function_response", "function-response", "tool"]
)
@pytest.mark.parametrize("call", [CALL, ("function-call", f"[{CALL[1]}]")])
def test_calls_and_observations_are_calls_and_results(call, result: str, write) -> None:
    path = write(said(("human", "Weather in Bern?"), call, (result, '{"sun": 1}'), ("gpt", "Sun.")))
    (turns,) = read_prompts(path, PromptsConfig(source=path))
    assert [m["role"] for m in turns.messages] == ["user", "assistant", "tool"]
    (asked,) = turns.messages[1]["tool_calls"]
    assert asked["function"] == {"name": "weather", "arguments": {"town": "Bern"}}
    (found,) = read_calls(CallsConfig(path=path)).calls
    assert found.answer.response == "Sun."


UNKNOWN = (
    said(("narrator", "Once"), ("gpt", "upon")),
    said(("human", "Weather?"), ("function_call", "call it"), ("observation", "1"), ("gpt", "1")),
    said(("human", "Weather?"), ("function_call", ""), ("observation", "1"), ("gpt", "1")),
    {"conversations": [{"role": "moderator", "content": "x"}]},
    {"conversations": [{"from": 5, "value": "x"}]},
)


@pytest.mark.parametrize("row", UNKNOWN)
def test_rows_where_nobody_known_speaks_are_left_out_and_counted(row, write) -> None:
    path = write(said(("human", "Hi"), ("gpt", "Hello.")), row, row)
    read = read_prompts(path, PromptsConfig(source=path))
    assert [turns.messages[0]["content"] for turns in read] == ["Hi"]
    (note,) = [note for note in read.notes if "left out" in note]
    assert note.startswith("2 rows of file:p.jsonl are left out")
    assert "p.jsonl, line 2: conversations[" in note
    log = read_calls(CallsConfig(path=path))
    assert len(log.calls) == 1
    assert sum(log.tally.left_out.values()) == 2


@pytest.mark.parametrize("row", UNKNOWN)
def test_where_no_row_can_be_read_the_first_is_refused(row, write) -> None:
    path = write(row, row)
    with pytest.raises(PotstillError, match=r"p\.jsonl, line 1: conversations\["):
        read_prompts(path, PromptsConfig(source=path))
