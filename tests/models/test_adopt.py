"""A student of another model that learns its teacher's distributions speaks as its teacher does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from potstill.errors import PotstillError
from potstill.models.adopt import adopted, differences, require_same_tokens
from potstill.models.load import load, load_conversation, save


def changed(source: Path, target: Path, **config: object) -> Path:
    """A copy of a model whose tokenizer_config.json says something else."""
    shutil.copytree(source, target)
    path = target / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    return target


def test_other_tokens_are_refused_by_name(nano_model: Callable[[str], Path]) -> None:
    teacher, student = (load_conversation(str(nano_model(f))) for f in ("llama", "qwen3"))
    with pytest.raises(PotstillError) as caught:
        require_same_tokens(teacher, student)
    assert str(caught.value) == (
        f"student.model {student.name} has another tokenizer than the teacher (490 tokens against "
        "448); take a student with the teacher's tokenizer, or leave student.model out to make "
        "one from the teacher"
    )
    require_same_tokens(teacher, teacher)


def test_a_model_speaks_as_itself(nano_model: Callable[[str], Path]) -> None:
    for family in ("llama", "gemma", "neox"):
        spoken = load_conversation(str(nano_model(family)))
        assert differences(spoken, load_conversation(str(nano_model(family)))) == []


def test_another_end_token_is_told_by_name(nano_llama: Path, tmp_path: Path) -> None:
    teacher = load_conversation(str(nano_llama))
    other = changed(nano_llama, tmp_path / "other", eos_token="<|endoftext|>")
    (end,) = differences(teacher, load_conversation(str(other)))
    assert end.startswith("its end tokens (")
    assert "<|endoftext|>" in end
    assert end.endswith("here)")


def test_another_template_and_another_cut_are_told(nano_llama: Path, tmp_path: Path) -> None:
    teacher = load_conversation(str(nano_llama))
    other = tmp_path / "other"
    shutil.copytree(nano_llama, other)
    tokenizer = AutoTokenizer.from_pretrained(other)
    tokenizer.chat_template = tokenizer.chat_template.replace("\n", "\n\n")
    tokenizer.save_pretrained(other)
    state = json.loads((other / "tokenizer.json").read_text())
    state["model"]["merges"] = state["model"]["merges"][:-1]
    (other / "tokenizer.json").write_text(json.dumps(state))
    found = differences(teacher, load_conversation(str(other)))
    assert [words.split(" (")[0] for words in found] == [
        "its chat template",
        "how text is cut into its tokens",
    ]


def test_an_adopted_student_stops_and_speaks_as_its_teacher(
    nano_llama: Path, tmp_path: Path
) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    other = changed(nano_llama, tmp_path / "other", eos_token="<|endoftext|>")
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"eos_token_id": 0, "pad_token_id": 2}))
    (other / "generation_config.json").unlink()
    student = load(str(other), precision="fp32")
    assert set(student.eos_ids) != set(teacher.eos_ids)
    found = adopted(student, teacher)
    assert found.tokenizer is teacher.tokenizer
    assert found.conversation is teacher.conversation
    assert found.eos_ids == teacher.eos_ids
    assert found.tokenizer_id == teacher.tokenizer_id
    assert found.network.config.pad_token_id == teacher.network.config.pad_token_id
    save(found, tmp_path / "saved")
    again = load(str(tmp_path / "saved"), precision="fp32")
    assert again.eos_ids == teacher.eos_ids
    assert differences(teacher.conversation, again.conversation) == []


def test_a_student_with_other_tokens_adopts_nothing(nano_model: Callable[[str], Path]) -> None:
    teacher, student = (load(str(nano_model(f)), precision="fp32") for f in ("llama", "qwen3"))
    before = student.network.config.eos_token_id
    with pytest.raises(PotstillError, match="has another tokenizer than the teacher"):
        adopted(student, teacher)
    assert student.network.config.eos_token_id == before
