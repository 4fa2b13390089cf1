"""A teacher's tokens by id and by text, read without its weights."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from potstill.models.load import load
from potstill.models.teacher_tokens import PARTIAL, TeacherTokens

TALK = [{"role": "user", "content": "Name a colour."}]


@pytest.fixture(params=["llama", "qwen3", "gemma", "neox"])
def directory(request: pytest.FixtureRequest, nano_model: Callable[[str], Path]) -> Path:
    return nano_model(request.param)


def test_tokens_are_read_without_the_model_s_weights(directory: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(directory, bare)
    save_file({"nothing of a model": torch.ones(1)}, bare / "model.safetensors")
    tokens, model = TeacherTokens.of(bare), load(str(directory), precision="fp32")
    assert tokens.tokenizer_id == model.tokenizer_id
    assert tokens.eos_ids == model.eos_ids
    assert tokens.width == len(tokens.texts) == len(model.tokenizer)


def test_a_text_names_a_token_where_it_is_the_only_one(directory: Path) -> None:
    tokens = TeacherTokens.of(directory)
    counted = Counter(tokens.texts)
    assert any(PARTIAL in text for text in counted), "bytes that are no character by themselves"
    for token_id, text in enumerate(tokens.texts):
        one = counted[text] == 1 and PARTIAL not in text
        assert tokens.id_of_text.get(text) == (token_id if one else None)


def test_a_prompt_has_ids_where_a_template_says_what_was_asked(directory: Path) -> None:
    tokens, model = TeacherTokens.of(directory), load(str(directory), precision="fp32")
    if model.tokenizer.chat_template is None:
        assert tokens.prompt_ids(TALK) is None
    else:
        assert tokens.prompt_ids(TALK) == model.conversation.prompt_ids(TALK)
