"""The whole way from a log with tool calls: they are learnt and scored, results never learnt."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

import pipeline_runs
from pipeline_runs import PLACES, THINGS
from potstill.evaluate.calls import CallRow, score_calls
from potstill.evaluate.tool_calls import measured_calls
from potstill.models.loaded import LoadedModel
from potstill.recipe import Recipe
from potstill.runs.parts import Parts
from potstill.work.evaluation import Evaluation
from potstill.work.rundir import RunDir

# As several families write calls: behind the text, each as JSON between tags.
TEMPLATE = (
    "{% if tools %}<|im_start|>system\nTools:{% for tool in tools %} {{ tool.function.name }}"
    "{% endfor %}<|im_end|>\n{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}{% if message['content'] or not loop.first %}"
    "{{ '\\n' }}{% endif %}<call>\n"
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
    for number in range(48):
        thing, place = draw.choice(THINGS), draw.choice(PLACES)
        user = {"role": "user", "content": f"Where is {thing} {number} {draw.choice(THINGS)}?"}
        early = thing < "l"
        function = {"name": "find", "arguments": json.dumps({"where": "here", "early": early})}
        call = {"id": f"call_{number}", "type": "function", "function": function}
        calling = {"role": "assistant", "content": "Let me look." if early else None}
        messages = [user, {**calling, "tool_calls": [call]}]
        if number % 3 == 0:
            result = {"role": "tool", "content": f"RESULT {place}", "tool_call_id": call["id"]}
            messages += [result, {"role": "assistant", "content": f"In the {place}."}]
        lines.append(json.dumps({"messages": messages, "tools": TOOLS}))
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def values(student: Path, log: Path, epochs: float = 1) -> dict[str, Any]:
    found = pipeline_runs.recipe_values(
        "some-model",
        "unused",
        student={"model": str(student)},
        collect={"calls": {"path": str(log), "source": "apache-2.0"}},
        prompts={"limit": 24, "held_out_count": 6, "validation_count": 2},
        train={
            "cross_entropy": 1.0,
            "learning_rate": 3e-3,
            "epochs": epochs,
            "validate_every": 999,
        },
        evaluate={"max_tokens": 110, "sample_pairs": 1},
    )
    del found["shrink"]
    return found


SETTINGS: dict[str, Any] = {"resamples": 20, "seed": 0}
LAID_OUT = {
    "Let me look.": 'Let me look.\n<call>\n{"name": "find", "arguments": {"where": "here", '
    '"early": true}}\n</call><|im_end|>',
    "": '<call>\n{"name": "find", "arguments": {"where": "here", "early": false}}\n</call>'
    "<|im_end|>",
}


def opened(values: dict[str, Any], root: Path) -> tuple[Parts, LoadedModel]:
    recipe = Recipe.model_validate(values)
    with RunDir.open(root, recipe) as run:
        parts = Parts(run, recipe, pipeline_runs.Noted())
    return parts, parts.opened.student(parts.run.student)


def test_calls_are_learnt_and_scored_and_what_tools_return_is_not(
    student: Path, log: Path, tmp_path: Path
) -> None:
    recipe = values(student, log)
    run, notes = pipeline_runs.run(recipe, tmp_path / "run")
    left_out = [note for note in notes if "left out" in note]
    assert all("beyond prompts.limit" in note for note in left_out), left_out
    parts, model = opened(recipe, run.root)
    rows = parts.store.read()
    assert all(row.tools == json.dumps(TOOLS, separators=(",", ":")) for row in rows)
    assert all(row.messages[-1]["role"] == "tool" for row in rows if not row.calls)
    decode = model.tokenizer.decode
    learnt = [
        (text.exchange, decode(text.response_ids)) for text in parts.corpus.texts(rows, model)
    ]
    calling = {(row.response, text) for row, text in learnt if row.calls}
    assert calling == set(LAID_OUT.items())
    answers = [text for row, text in learnt if not row.calls]
    assert answers and all(text.startswith("In the ") for text in answers)
    assert not any("RESULT" in text for _, text in learnt)
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    scores = evaluation.tool_calls
    assert scores is not None and sum(scores.outcomes.values()) == scores.prompts
    assert scores.prompts + scores.text_prompts == 6
    assert "How it calls tools" in run.report_path.read_text()
    _what_is_trained_is_read_back(parts, model)
    _too_long_is_said(parts, model)


def _what_is_trained_is_read_back(parts: Parts, model: LoadedModel) -> None:
    """A student that writes what it was trained on is right."""
    texts = [text for text in parts.corpus.texts(parts.store.read(), model) if text.exchange.calls]
    for text in texts:
        read = model.conversation.read(text.response_ids, tools=True)
        assert read.text.strip() == text.exchange.response
        scores = score_calls([CallRow((text.exchange.tool_calls,), read.tool_calls)], **SETTINGS)
        assert scores is not None and scores.right.value == 1


def _too_long_is_said(parts: Parts, model: LoadedModel) -> None:
    """Held-out prompts that do not fit the student are counted, the others scored."""
    row = next(row for row in parts.store.read("held_out") if row.calls)
    long = ({"role": "user", "content": "boat " * 400},)
    parts.store.append([replace(row, exchange_id="f" * 64, prompt_id="long", messages=long)])
    found = measured_calls(
        model,
        parts.corpus.exchanges("held_out"),
        config=parts.recipe.evaluate,
        seed=parts.recipe.seed,
        progress=parts.progress,
        read=lambda ids: None,
    )
    assert found is not None
    scores, _ = found
    assert scores.outcomes["no_call"] == scores.prompts
    assert scores.left_out == 1
    (note,) = [note for note in parts.progress.notes if "longer than" in note]  # type: ignore[attr-defined]
    assert note.startswith("1 of 7 held-out prompts with tools are longer than the 256 tokens")


@pytest.mark.slow
def test_a_student_that_is_trained_a_little_calls_what_its_teacher_calls(
    student: Path, log: Path, tmp_path: Path
) -> None:
    run, _ = pipeline_runs.run(values(student, log, epochs=15), tmp_path / "run")
    scores = Evaluation.model_validate_json(run.evaluation_path.read_text()).tool_calls
    assert scores is not None
    assert scores.outcomes["no_call"] + scores.outcomes["other_name"] == 0, scores
