"""The student is asked what the teacher answered with calls, and what it cannot read is counted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from held_out_stores import CONFIG, SEED, prompts, written
from transformers import AutoTokenizer

from pipeline_runs import Noted
from potstill.evaluate.tool_calls import measured_calls
from potstill.exchanges.exchange import Exchange
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.work.scores import CallScores

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
    "{% for call in message.tool_calls or [] %}<call>\n"
    '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}'
    "\n</call>{% endfor %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CALLS = json.dumps([{"name": "find", "arguments": {"here": True}}])
TOOLS = json.dumps([{"type": "function", "function": {"name": "find", "parameters": {}}}])


def scored_calls(*arguments: Any, **more: Any) -> CallScores | None:
    """Return the scores alone, without the items."""
    found = measured_calls(*arguments, **more)
    return None if found is None else found[0]


@pytest.fixture(scope="module")
def student(nano_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A nano model whose template writes calls."""
    directory = tmp_path_factory.mktemp("calls") / "student"
    shutil.copytree(nano_llama, directory)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.chat_template = TEMPLATE
    tokenizer.save_pretrained(directory)
    return load(str(directory), precision="fp32")


def rows() -> list[Exchange]:
    """Two prompts that were answered with a call, one of them twice, and one with text."""
    first, second, third, plain = prompts(4)
    calling = {"tool_calls": CALLS, "tools": TOOLS}
    return [
        written(first, "", **calling),
        written(first, "Nothing to find.", temperature=0.0, tools=TOOLS),
        written(second, "", **calling),
        written(third, "There.", tools=TOOLS),
        written(plain, "Two."),
    ]


def test_prompts_with_calls_or_tools_are_asked_and_others_are_not(student: LoadedModel) -> None:
    asked: list[int] = []

    def read(ids: object) -> str | None:
        asked.append(1)
        return CALLS if len(asked) == 1 else None

    progress = Noted()
    found = scored_calls(student, rows(), config=CONFIG, seed=SEED, progress=progress, read=read)
    assert found is not None and len(asked) == 3
    assert found.outcomes == {"right": 1, "other_arguments": 0, "other_name": 0, "no_call": 1}
    assert (found.prompts, found.text_prompts, found.left_out) == (2, 1, 0)
    assert found.text_kept is not None and found.text_kept.value == 1
    assert not progress.notes


def test_without_another_way_calls_are_read_by_the_student_s_template(student: LoadedModel) -> None:
    found = scored_calls(student, rows(), config=CONFIG, seed=SEED, progress=Noted())
    assert found is not None and sum(found.outcomes.values()) == found.prompts == 2


def test_prompts_that_the_student_cannot_read_are_counted(student: LoadedModel) -> None:
    long = ({"role": "user", "content": "boat " * 400},)
    more = written(prompts(5)[4], "", tool_calls=CALLS, messages=long)
    progress = Noted()
    found = scored_calls(
        student, [*rows(), more], config=CONFIG, seed=SEED, progress=progress, read=lambda ids: None
    )
    assert found is not None and found.left_out == 1 and found.prompts == 2
    (note,) = progress.notes
    assert note.startswith("1 of 4 held-out prompts with tools are longer than the 256 tokens")
    alone = scored_calls(student, [more], config=CONFIG, seed=SEED, progress=Noted())
    assert alone is None


def test_answers_without_calls_and_students_without_a_form_of_them_are_not_scored(
    student: LoadedModel, nano_llama: Path
) -> None:
    progress = Noted()
    text = [row for row in rows() if not row.calls]
    assert scored_calls(student, text, config=CONFIG, seed=SEED, progress=progress) is None
    assert not progress.notes
    plain = load(str(nano_llama), precision="fp32")
    assert scored_calls(plain, rows(), config=CONFIG, seed=SEED, progress=progress) is None
    (note,) = progress.notes
    assert note.startswith("evaluate: calls of tools are not scored: the student's chat template")
