"""A saved model says what transformers 4.57 must read beside what version 5 reads."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, PreTrainedTokenizerFast

from potstill.models.identity import identity_of
from potstill.models.load import load, save
from potstill.models.saved_form import config_form, newer_needed, tokenizer_form, without_old_names

PLAIN = {"rope_type": "default", "rope_theta": 54321.0}
LINEAR = {"rope_type": "linear", "rope_theta": 54321.0, "factor": 3.0}
LOCAL = {"rope_type": "default", "rope_theta": 777.0}


@pytest.mark.parametrize(
    ("config", "added"),
    [
        (
            {"model_type": "llama", "rope_parameters": PLAIN},
            {"rope_theta": 54321.0, "rope_scaling": None},
        ),
        (
            {"model_type": "qwen2", "rope_parameters": LINEAR},
            {"rope_theta": 54321.0, "rope_scaling": {"rope_type": "linear", "factor": 3.0}},
        ),
        (
            {"model_type": "phi", "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}},
            {"rope_theta": 54321.0, "partial_rotary_factor": 0.5, "rope_scaling": None},
        ),
        (
            {"model_type": "gpt_neox", "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}},
            {"rotary_emb_base": 54321.0, "rotary_pct": 0.5, "rope_scaling": None},
        ),
        (
            {
                "model_type": "gemma3_text",
                "rope_parameters": {"full_attention": LINEAR, "sliding_attention": LOCAL},
            },
            {
                "rope_theta": 54321.0,
                "rope_local_base_freq": 777.0,
                "rope_scaling": {"rope_type": "linear", "factor": 3.0},
            },
        ),
        ({"model_type": "qwen3_moe", "num_local_experts": 4}, {"num_experts": 4}),
        ({"model_type": "gpt2", "n_embd": 64}, {}),
    ],
)
def test_a_config_says_it_in_both_ways(config: dict[str, Any], added: dict[str, Any]) -> None:
    form = config_form(config)
    assert form == {**config, **added}
    assert config_form(form) == form
    assert without_old_names(form) == without_old_names(config) == config
    assert newer_needed(form, {}) is None
    assert config_form({"model_type": "x", "text_config": config})["text_config"] == form


@pytest.mark.parametrize(
    ("config", "tokenizer", "reason"),
    [
        ({"model_type": "a_model_of_next_year"}, {}, "a_model_of_next_year models"),
        ({"model_type": "llama", "auto_map": {"AutoConfig": "x.Y"}}, {}, "code of its own"),
        ({"model_type": "llama"}, {"auto_map": {"AutoTokenizer": "x.Y"}}, "code of its own"),
        (
            {"model_type": "llama", "rope_parameters": {**PLAIN, "rope_type": "proportional"}},
            {},
            "read 'proportional' rotary embeddings",
        ),
        (
            {
                "model_type": "olmo3",
                "rope_parameters": {"full_attention": PLAIN, "sliding_attention": LOCAL},
            },
            {},
            "cannot tell apart",
        ),
        (
            {
                "model_type": "gemma3_text",
                "rope_parameters": {"full_attention": LINEAR, "sliding_attention": LINEAR},
            },
            {},
            "cannot tell apart",
        ),
        ({"model_type": "olmo2", "rope_parameters": LINEAR}, {}, "does not scale"),
    ],
)
def test_what_the_old_version_cannot_read_has_a_reason(
    config: dict[str, Any], tokenizer: dict[str, Any], reason: str
) -> None:
    said = newer_needed(config, tokenizer)
    assert said is not None
    assert reason in said


def test_a_tokenizer_is_of_a_class_that_both_have() -> None:
    written = {
        "backend": "tokenizers",
        "is_local": True,
        "local_files_only": False,
        "tokenizer_class": "TokenizersBackend",
        "eos_token": "<e>",
        "extra_special_tokens": ["<a>", "<b>"],
    }
    form = tokenizer_form(written)
    assert form == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<e>",
        "additional_special_tokens": ["<a>", "<b>"],
        "model_input_names": ["input_ids", "attention_mask"],
    }
    assert tokenizer_form(form) == form
    own = {"auto_map": {"AutoTokenizer": "x.Y"}, "tokenizer_class": "Y"}
    assert tokenizer_form(own) == own


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma", "neox"])
def test_a_saved_model_is_the_same_model_and_stays_it(
    family: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Equal logits and ids in this version; saving what was saved changes no byte that counts."""
    model = load(str(nano_model(family)), precision="fp32")
    save(model, tmp_path / "once")
    again = load(str(tmp_path / "once"), precision="fp32")
    save(again, tmp_path / "twice")
    assert identity_of(tmp_path / "once") == identity_of(tmp_path / "twice") == model.identity
    for name in ("config.json", "tokenizer_config.json", "generation_config.json"):
        once, twice = (json.loads((tmp_path / d / name).read_text()) for d in ("once", "twice"))
        assert once == twice
    assert not (tmp_path / "once" / "README.md").exists()
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        assert torch.equal(again.network(ids).logits, model.network(ids).logits)
    text = "The fox  sings,\n\n12 naïve ☂"
    assert again.tokenizer(text)["input_ids"] == model.tokenizer(text)["input_ids"]
    assert again.tokenizer.chat_template == model.tokenizer.chat_template


@pytest.mark.parametrize(
    "rope",
    [
        PLAIN,
        LINEAR,
        {
            "rope_type": "llama3",
            "rope_theta": 54321.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 32,
        },
        {
            "rope_type": "yarn",
            "rope_theta": 54321.0,
            "factor": 4.0,
            "original_max_position_embeddings": 32,
        },
    ],
)
def test_this_version_reads_the_rotary_embedding_back(
    rope: dict[str, Any], nano_llama: Path, tmp_path: Path
) -> None:
    model = load(str(nano_llama), precision="fp32")
    values = {**model.network.config.to_dict(), "rope_parameters": rope}
    network = AutoModelForCausalLM.from_config(LlamaConfig(**values)).eval()
    network.load_state_dict(model.network.state_dict())
    network.save_pretrained(tmp_path)
    model.tokenizer.save_pretrained(tmp_path)
    changed = load(str(tmp_path), precision="fp32")
    save(changed, tmp_path / "student")
    again = load(str(tmp_path / "student"), precision="fp32")
    stated = again.network.config.rope_parameters
    assert {k: stated[k] for k in rope} == rope
    ids = torch.arange(3, 60)[None]
    with torch.inference_mode():
        logits = changed.network(ids).logits
        assert torch.equal(again.network(ids).logits, logits)
        assert not torch.allclose(model.network(ids).logits, logits, atol=1e-2)


def test_extra_special_tokens_come_back(nano_llama: Path, tmp_path: Path) -> None:
    model = load(str(nano_llama), precision="fp32")
    model.tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>"]})
    save(model, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(again, PreTrainedTokenizerFast)
    assert again.extra_special_tokens == ["<|im_start|>"]
    assert again.decode([1, 50], skip_special_tokens=True) == again.decode([50])


def test_a_student_that_the_old_version_cannot_read_says_which_it_needs(
    nano_llama: Path, tmp_path: Path
) -> None:
    from transformers import __version__

    model = load(str(nano_llama), precision="fp32")
    model.network.config.rope_parameters = {**PLAIN, "rope_type": "proportional"}
    save(model, tmp_path)
    said = (tmp_path / "README.md").read_text()
    assert f"needs transformers {__version__}" in said
    assert "do not load it with 4.57" in said
