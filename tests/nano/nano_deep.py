"""Nano models of six blocks, of families whose blocks write to the residual stream in other ways.

Gemma 2, Gemma 3 and OLMo 2 have a norm behind each part of a block; GPT-NeoX adds both parts to the
same state, with biases. They are made from a seed, so that a measurement can be made on several.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from nano_models import GROUPED, SHAPE, chatml_tokenizer, ids_of, saved, train
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    Olmo2Config,
    Olmo2ForCausalLM,
)

DEEP = ("gemma3", "olmo2", "gemma2", "gpt_neox")
_SIZE = 420
_SLIDING, _FULL = "sliding_attention", "full_attention"


def deep_network(family: str, tokenizer: Any, blocks: int = 6) -> Any:
    """Return an untrained network; torch's seed decides its weights."""
    common = {"vocab_size": _SIZE, "num_hidden_layers": blocks, **ids_of(tokenizer)}
    windows = {"sliding_window": 24, "query_pre_attn_scalar": 16}
    if family == "gemma3":
        types = [_FULL if i % 3 == 2 else _SLIDING for i in range(blocks)]
        return Gemma3ForCausalLM(
            Gemma3TextConfig(layer_types=types, **windows, **GROUPED, **common)
        )
    if family == "gemma2":
        types = [_FULL if i % 2 else _SLIDING for i in range(blocks)]
        return Gemma2ForCausalLM(Gemma2Config(layer_types=types, **windows, **GROUPED, **common))
    if family == "olmo2":
        return Olmo2ForCausalLM(Olmo2Config(num_key_value_heads=2, **SHAPE, **common))
    return GPTNeoXForCausalLM(
        GPTNeoXConfig(
            use_parallel_residual=True,
            attention_bias=True,
            rotary_pct=0.5,
            tie_word_embeddings=False,
            **SHAPE,
            **common,
        )
    )


def build_deep(
    family: str, directory: Path, *, seed: int, steps: int = 200, blocks: int = 6
) -> Path:
    """Make one nano model as a Hugging Face directory; a directory that is there is kept."""
    if directory.is_dir():
        return directory
    tokenizer = chatml_tokenizer(_SIZE, seed=15)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = deep_network(family, tokenizer, blocks)
        train(network, tokenizer, steps, seed)
    return saved(network, tokenizer, directory)
