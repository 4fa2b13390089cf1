"""A model of random weights with any vocabulary: speed and memory do not ask what it says."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

# Qwen3-0.6B's shape.
_SHAPE = {
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}


def random_model(directory: Path, tokens: int, **shape: int) -> Path:
    """Save a model and a tokenizer of `tokens` words; return the directory."""
    torch.manual_seed(0)
    config = Qwen3Config(vocab_size=tokens, eos_token_id=0, pad_token_id=1, **(_SHAPE | shape))
    Qwen3ForCausalLM(config).save_pretrained(directory)
    words = Tokenizer(WordLevel({f"w{n}": n for n in range(tokens)}, unk_token="w2"))
    words.pre_tokenizer = WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=words, eos_token="w0", pad_token="w1", unk_token="w2"
    ).save_pretrained(directory)
    return directory
