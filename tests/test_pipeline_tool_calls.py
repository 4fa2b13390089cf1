"""The whole way from a log with tool calls: they are learnt and scored, results never learnt."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import pipeline_runs
from pipeline_runs import PLACES, THINGS
from potstill.evaluate.evaluation import Evaluation
from potstill.exchanges.store import ExchangeStore

# As several families write calls: behind the text, each as JSON between tags.
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools:{% for tool in tools %} {{ tool.function.name }}"
    "{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}{% if message['content'] or not loop.first %}\n"
    "{% endif %}<call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TOOLS = [{"type": "function", "function": {"name": "find", "parameters": {"type": "object"}}}]


@pytest.fixture
def student(nano_llama: Path, tmp_path: Path) -> Path:
    """A nano model whose template writes tools and calls."""
    directory = tmp_path / "student"
    shutil.copytree(nano_llama, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Steps of agents: a call beside text, a call alone, an answer after a result."""
    draw, lines = random.Random(1), []
    for number in range(66):
        thing, place = draw.choice(THINGS), draw.choice(PLACES)
        user = {"role": "user", "content": f"Where is {thing} {number} {draw.choice(THINGS)}?"}
        function = {"name": "find", "arguments": json.dumps({"what": thing, "n": number % 9})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        calling = {"role": "assistant", "content": ("Let me look.", None)[number % 2]}
        messages = [user, {**calling, "tool_calls": [call]}]
        if number % 3 == 0:
            result = {"role": "tool", "content": f"RESULT {place}", "tool_call_id": call["id"]}
            messages += [result, {"role": "assistant", "content": f"In the {place}."}]
        lines.append(json.dumps({"messages": messages, "tools": TOOLS}))
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def values(student: Path, log: Path, **sections: Any) -> dict[str, Any]:
    found = pipeline_runs.recipe_values(
        "some-model",
        "unused",
        student={"model": str(student)},
        collect={"calls": {"path": str(log), "source": "apache-2.0"}},
        **{"train": {"cross_entropy": 1.0}, **sections},
    )
    del found["shrink"]
    return found


def test_calls_are_stored_and_held_out_calls_are_scored(
    student: Path, log: Path, tmp_path: Path
) -> None:
    run, notes = pipeline_runs.run(values(student, log), tmp_path / "run")
    store = ExchangeStore(run.root)
    rows = store.read()
    store.close()
    assert all(row.tools == json.dumps(TOOLS, separators=(",", ":")) for row in rows)
    assert {row.response for row in rows if row.calls} == {"Let me look.", ""}
    assert all(row.messages[-1]["role"] == "tool" for row in rows if not row.calls)
    left_out = [note for note in notes if "left out" in note]
    assert all("beyond prompts.limit" in note for note in left_out), left_out
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    scores = evaluation.tool_calls
    assert scores is not None and sum(scores.outcomes.values()) == scores.prompts
    assert scores.prompts + scores.text_prompts == 12
    page = run.report_path.read_text()
    assert "How it calls tools" in page
