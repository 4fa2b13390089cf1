"""Training's demands on a student are tried without any text, and leave no trace on its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import family_models
from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.recipe import TrainConfig
from potstill.train.rehearsal import asks_much, rehearse


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"lora": {"rank": 2}},
        {"frozen_blocks": 2, "packing": "packed"},
        {"gradient_checkpointing": "blocks"},
        {"lora": {"rank": 2, "targets": ["q_proj"]}, "frozen_blocks": 1},
    ],
)
def test_what_fits_changes_no_weight(nano_llama: Path, fields: dict[str, Any]) -> None:
    student = load(str(nano_llama), device="cpu", precision="fp32", trainable=True)
    before = {k: v.clone() for k, v in student.network.state_dict().items()}
    rehearse(student, TrainConfig(**fields))
    after = student.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"frozen_blocks": 6}, "train.frozen_blocks is 6"),
        ({"frozen_blocks": 60, "lora": {"rank": 2}}, "train.frozen_blocks is 60"),
        ({"lora": {"targets": ["query"]}}, "train.lora.targets is query"),
        ({"lora": {"targets": ["q_proj", "lm_head"]}}, "train.lora.targets is q_proj, lm_head"),
    ],
)
def test_what_does_not_fit_is_refused(nano_llama: Path, fields: dict[str, Any], match: str) -> None:
    student = load(str(nano_llama), device="cpu", precision="fp32", trainable=True)
    with pytest.raises(PotstillError, match=match):
        rehearse(student, TrainConfig(**fields))


@pytest.mark.parametrize(
    ("fields", "much"),
    [
        ({}, False),
        ({"learning_rate": 1.0}, False),
        ({"lora": {"rank": 2}}, True),
        ({"frozen_blocks": 1}, True),
        ({"packing": "packed"}, True),
        ({"gradient_checkpointing": "blocks"}, True),
    ],
)
def test_only_what_not_every_student_can_give_is_worth_a_try(
    fields: dict[str, Any], much: bool
) -> None:
    assert asks_much(TrainConfig(**fields)) is much


def test_a_student_that_reads_more_than_embeddings_is_refused(
    nano_llama: Path, tmp_path: Path
) -> None:
    """Gemma 3n adds what each token says to each block."""
    path = family_models.write("Gemma 3n", nano_llama, tmp_path / "model", num_hidden_layers=4)
    student = load(str(path), precision="fp32", trainable=True)
    with pytest.raises(PotstillError, match="cannot train Gemma3n"):
        rehearse(student, TrainConfig())
