"""Tiny causal language models, each with its own tokenizer, trained for a few seconds.

They are trained enough that every layer matters, that responses end by themselves and that
next-token distributions are neither flat nor certain. Between them they have what breaks
code written for one architecture:

- llama: tied embeddings, grouped heads, 6 layers, context of 256 (so that "too long" is short);
- qwen3: head with padding rows beyond the tokenizer, untied, norms on queries and keys;
- gemma: post-norms, scaled embeddings, logit soft-capping, sliding-window layers (Gemma 3);
- neox: biases, parallel residual, no chat template, plain-text prompts.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from nano_text import exchanges
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    GenerationConfig,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "<start_of_turn>{{ role }}\n{{ message['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)
_CARD = "---\nlicense: apache-2.0\nlibrary_name: transformers\n---\n\nA nano model for tests.\n"
SHAPE: dict[str, Any] = {
    "hidden_size": 64,
    "intermediate_size": 160,
    "num_attention_heads": 4,
    "max_position_embeddings": 256,
    "initializer_range": 0.06,
}
GROUPED: dict[str, Any] = {**SHAPE, "num_key_value_heads": 2, "head_dim": 16}


def _tokenizer(
    size: int, specials: list[str], *, eos: str, pad: str, template: str | None, seed: int
) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with exactly `size` tokens on nano text."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=specials,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    texts = [text for pair in exchanges(400, seed) for text in pair]
    bpe.train_from_iterator(texts, trainer)
    names = {"eos_token": eos, "pad_token": pad}
    if "<bos>" in specials:
        names["bos_token"] = "<bos>"
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    tokenizer.chat_template = template
    tokenizer.model_max_length = SHAPE["max_position_embeddings"]
    return tokenizer


def chatml_tokenizer(size: int, seed: int) -> PreTrainedTokenizerFast:
    """Return a tokenizer of `size` tokens with a ChatML template."""
    return _tokenizer(
        size,
        ["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        eos="<|im_end|>",
        pad="<|endoftext|>",
        template=CHATML,
        seed=seed,
    )


def ids_of(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the ids that a config names."""
    return {
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }


def _llama() -> tuple[Any, PreTrainedTokenizerFast]:
    tokenizer = chatml_tokenizer(448, seed=11)
    config = LlamaConfig(
        vocab_size=448,
        num_hidden_layers=6,
        tie_word_embeddings=True,
        **GROUPED,
        **ids_of(tokenizer),
    )
    return LlamaForCausalLM(config), tokenizer


def _qwen3() -> tuple[Any, PreTrainedTokenizerFast]:
    tokenizer = chatml_tokenizer(490, seed=12)
    config = Qwen3Config(
        vocab_size=512,
        num_hidden_layers=4,
        tie_word_embeddings=False,
        **GROUPED,
        **ids_of(tokenizer),
    )
    return Qwen3ForCausalLM(config), tokenizer


def _gemma() -> tuple[Any, PreTrainedTokenizerFast]:
    tokenizer = _tokenizer(
        420,
        ["<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"],
        eos="<end_of_turn>",
        pad="<pad>",
        template=GEMMA,
        seed=13,
    )
    sliding, full = "sliding_attention", "full_attention"
    config = Gemma3TextConfig(
        vocab_size=420,
        num_hidden_layers=4,
        layer_types=[sliding, sliding, full, sliding],
        sliding_window=24,
        query_pre_attn_scalar=16,
        final_logit_softcapping=20.0,
        **GROUPED,
        **ids_of(tokenizer),
    )
    return Gemma3ForCausalLM(config), tokenizer


def _neox() -> tuple[Any, PreTrainedTokenizerFast]:
    tokenizer = _tokenizer(
        360,
        ["<|endoftext|>", "<|padding|>"],
        eos="<|endoftext|>",
        pad="<|padding|>",
        template=None,
        seed=14,
    )
    config = GPTNeoXConfig(
        vocab_size=360,
        num_hidden_layers=4,
        use_parallel_residual=True,
        attention_bias=True,
        rotary_pct=0.5,
        tie_word_embeddings=False,
        **SHAPE,
        **ids_of(tokenizer),
    )
    return GPTNeoXForCausalLM(config), tokenizer


FAMILIES: dict[str, Callable[[], tuple[Any, PreTrainedTokenizerFast]]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "gemma": _gemma,
    "neox": _neox,
}


def chat_ids(tokenizer: PreTrainedTokenizerFast, prompt: str, response: str) -> list[int]:
    """Return the ids of one exchange, ended by the end-of-sequence token."""
    if tokenizer.chat_template:
        messages = [{"role": "user", "content": prompt}]
        head = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    else:
        head = prompt + "\n"
    text = head + response
    return [*tokenizer(text, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def train(network: Any, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int) -> None:
    """Train on nano exchanges; a fixed seed and one thread make the result repeatable."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _train(network, tokenizer, steps, seed)
    finally:
        torch.set_num_threads(threads)


def _train(network: Any, tokenizer: PreTrainedTokenizerFast, steps: int, seed: int) -> None:
    rows = [torch.tensor(chat_ids(tokenizer, *pair)) for pair in exchanges(steps * 12, seed)]
    optimizer = torch.optim.AdamW(network.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps, pct_start=0.1)
    network.train()
    for step in range(steps):
        batch = rows[step * 12 : (step + 1) * 12]
        ids_BT = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)
        labels_BT = torch.nn.utils.rnn.pad_sequence(batch, batch_first=True, padding_value=-100)
        logits_BTV = network(input_ids=ids_BT, use_cache=False).logits
        loss = F.cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    network.eval()


def build(family: str, directory: Path, *, steps: int = 160) -> Path:
    """Make one nano model as a Hugging Face directory; a directory that is there is kept."""
    if directory.is_dir():
        return directory
    seed = sorted(FAMILIES).index(family)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network, tokenizer = FAMILIES[family]()
        train(network, tokenizer, steps, seed)
    return saved(network, tokenizer, directory)


def saved(network: Any, tokenizer: PreTrainedTokenizerFast, directory: Path) -> Path:
    """Write a nano model to a directory that is not there yet; return it."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    network.generation_config = GenerationConfig(**ids_of(tokenizer))
    unfinished = Path(tempfile.mkdtemp(dir=directory.parent, prefix=f".{directory.name}-"))
    network.save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished)
    (unfinished / "README.md").write_text(_CARD, encoding="utf-8")
    try:
        os.replace(unfinished, directory)
    except OSError:  # another process was faster; its model is the same
        shutil.rmtree(unfinished)
    return directory
