"""A cut is tried by its sizes alone, and the parent stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.recipe import ShrinkConfig
from potstill.shrink.rehearsal import rehearsed


@pytest.mark.parametrize(
    ("fields", "config"),
    [
        ({}, {"num_hidden_layers": 6}),
        ({"drop_layers": 2}, {"num_hidden_layers": 4}),
        ({"blocks": [5, 0]}, {"num_hidden_layers": 4}),
        ({"vocabulary": 400}, {"vocab_size": 400}),
        ({"drop_layers": 1, "vocabulary": 400}, {"num_hidden_layers": 5, "vocab_size": 400}),
        ({"parameters": 0.8}, {"num_hidden_layers": 5}),
    ],
)
def test_the_student_has_the_asked_sizes(
    nano_llama: Path, fields: dict[str, Any], config: dict[str, int]
) -> None:
    parent = load(str(nano_llama), device="cpu", precision="fp32")
    before = {k: v.clone() for k, v in parent.network.state_dict().items()}
    student = rehearsed(parent, ShrinkConfig(**fields))
    for name, value in config.items():
        assert getattr(student.network.config, name) == value
    assert student.network is not parent.network
    after = parent.network.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    ("family", "fields", "match"),
    [
        ("llama", {"parameters": 0.5, "axes": ["heads"]}, "shrink.parameters asks for"),
        ("llama", {"kv_heads": 9}, "shrink.kv_heads is 9"),
        ("gemma", {"ffn_channels": 10**6}, "shrink.ffn_channels is 1000000"),
        ("neox", {"drop_layers": 4}, "shrink.drop_layers is 4"),
        ("qwen3", {"vocabulary": 256}, "shrink.vocabulary is 256"),
        ("llama", {"vocabulary": 4096}, "shrink.vocabulary is 4096.* only 448 tokens"),
    ],
)
def test_what_does_not_fit_is_refused(
    nano_model: Callable[[str], Path], family: str, fields: dict[str, Any], match: str
) -> None:
    parent = load(str(nano_model(family)), device="cpu", precision="fp32")
    with pytest.raises(PotstillError, match=match):
        rehearsed(parent, ShrinkConfig(**fields))
