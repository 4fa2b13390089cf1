"""From messages to a prompt's ids, and from what a model wrote to its answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.models.chat import prompt_ids, reply_of, response_text
from potstill.models.load import load
from potstill.models.loaded import LoadedModel

TALK = [
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "Blue."},
    {"role": "user", "content": "And an animal?"},
]


@pytest.fixture(params=["llama", "qwen3", "gemma"])
def model(request: pytest.FixtureRequest, nano_model: Callable[[str], Path]) -> LoadedModel:
    return load(str(nano_model(request.param)), precision="fp32")


def test_a_prompt_s_ids_are_those_of_transformers_own_template(model: LoadedModel) -> None:
    expected = model.tokenizer.apply_chat_template(
        TALK, add_generation_prompt=True, tokenize=True, return_dict=False
    )
    assert prompt_ids(model, TALK) == expected


def test_without_a_template_messages_are_lines(nano_neox: Path) -> None:
    model = load(str(nano_neox), precision="fp32")
    said = "Name a colour.\nBlue.\nAnd an animal?\n"
    assert prompt_ids(model, TALK) == model.tokenizer(said)["input_ids"]


def test_an_answer_is_what_stands_before_its_end(model: LoadedModel) -> None:
    written = model.tokenizer("Green, or blue.", add_special_tokens=False)["input_ids"]
    for ids in (written, [*written, model.eos_ids[0]]):
        assert response_text(model, ids) == "Green, or blue."
        reply = reply_of(model, ids)
        assert (reply.text, reply.reasoning, reply.tool_calls) == ("Green, or blue.", None, None)
    assert response_text(model, [model.eos_ids[0]]) == response_text(model, []) == ""
