"""Tiny untrained models of many families, with the nano tokenizer, for what depends on the family.

Widths are multiples of 32, as a GGUF file's rows are.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch

_SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}
_HEAD = {"head_dim": 32}
# Name on the page: transformers' class before "Config" and "ForCausalLM", what else its config is.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "Llama": ("Llama", _HEAD),
    "Mistral": ("Mistral", _HEAD),
    "Mixtral": ("Mixtral", {**_HEAD, "num_local_experts": 4}),
    "Qwen2": ("Qwen2", {}),
    "Qwen3": ("Qwen3", _HEAD),
    "Gemma": ("Gemma", _HEAD),
    "Gemma 2": ("Gemma2", {**_HEAD, "query_pre_attn_scalar": 32}),
    "Gemma 3": ("Gemma3", {**_HEAD, "query_pre_attn_scalar": 32}),
    "Phi-3": ("Phi3", {}),
    "Phi-2": ("Phi", {"num_key_value_heads": 2, "intermediate_size": 256}),
    "GPT-NeoX": ("GPTNeoX", {"num_key_value_heads": None}),
    "OLMo 2": ("Olmo2", {}),
    "SmolLM3": ("SmolLM3", {}),
    "Granite": ("Granite", {"attention_multiplier": 0.18}),
    "Cohere": ("Cohere", {}),
    "StarCoder2": ("Starcoder2", {}),
    "StableLM": ("StableLm", {}),
    "EXAONE 4": ("Exaone4", {}),
}
# Others, for what a page does not name: blocks that return tuples, or do not stand alone.
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "Bloom": ("Bloom", {}),
    "Falcon": ("Falcon", {"num_kv_heads": 1, "multi_query": True}),
    "MPT": ("Mpt", {}),
    "Gemma 3n": (
        "Gemma3n",
        {
            **_HEAD,
            "num_kv_shared_layers": 1,
            "hidden_size_per_layer_input": 16,
            "vocab_size_per_layer_input": 448,
            "laurel_rank": 8,
            "altup_num_inputs": 2,
            "activation_sparsity_pattern": None,
        },
    ),
    "DiffLlama": ("DiffLlama", {**_HEAD}),
}
# Whose config has a name of its own for a language model alone.
_CONFIGS = {"Gemma3": "Gemma3TextConfig", "Gemma3n": "Gemma3nTextConfig"}


def write(family: str, tokenizer: Path, directory: Path, **changed: Any) -> Path:
    """Write a family's model with the tokenizer of another; return the directory.

    `changed` are values of its config.
    """
    from transformers import AutoTokenizer, GenerationConfig

    name, more = (FAMILIES | OTHERS)[family]
    words = AutoTokenizer.from_pretrained(tokenizer)
    ids = {
        "eos_token_id": words.eos_token_id,
        "pad_token_id": words.pad_token_id,
        "bos_token_id": words.eos_token_id,
    }
    package = importlib.import_module("transformers")
    values = {**_SHAPE, **more, **changed, **ids, "vocab_size": len(words)}
    config = getattr(package, _CONFIGS.get(name, f"{name}Config"))(
        **{key: value for key, value in values.items() if value is not None}
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = getattr(package, f"{name}ForCausalLM")(config)
    network.generation_config = GenerationConfig(**ids)
    network.save_pretrained(directory)
    words.save_pretrained(directory)
    stated = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    assert stated["architectures"] == [f"{name}ForCausalLM"]
    return directory
