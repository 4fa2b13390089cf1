"""Nano GGUF files with any tokenizer, written field by field: a Llama of one block."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

NORMAL, UNKNOWN, CONTROL, USER, UNUSED = 1, 2, 3, 4, 5
WIDTH = 32

# Code, digits, contractions, several scripts, accents, runs of blanks and signs.
PASSAGES = [
    "x = y;\n\nreturn foo(bar);\n\n\tif (a != b) {\n\t\tfoo(12345, 'it\\'s');\n\t}\n",
    "It's 12,345 o'clock, we'VE seen  33 cats, they'll say \"don't\"... 3.14159!\n\n",
    "def getHTTPServer(self, *args):\r\n    return self._server2  # TODO: 100%\r\n",
    "naïve café, Ünïcödé über straße; élève ÉCOLE Ça va? — “quoted” ‘text’ …\n",
    "東京は2024年です。これは、テストです！中文字符，没有空格；한국어 문장입니다.\n",
    "Привет, мир! Ёлка и чай: 42 рубля. Ελληνικά και μαθηματικά ΑΒΓ\n",
    "हिन्दी में लिखा है। ภาษาไทย ไม่มีช่องว่าง العربية، نص ٣٤٥ ؟ עברית\n",
    "{'key': [1, 22, 333, 4444, 55555]} <tag attr=\"v\"/> a+b=c $x^2|y~z`q` @me #1\n",
    "one  two   three    four        eight\t\ttabs \n \n  \n   end  ",
]


@cache
def byte_letters() -> list[str]:
    """Return how byte-level BPE writes each byte, as the engine itself does."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    letters: dict[int, str] = {}
    for text in [chr(c) for c in range(0x800)] + [chr(c) for c in range(0x800, 0xD800, 64)]:
        spelt = level.pre_tokenize_str(text)[0][0]
        letters.update(zip(text.encode(), spelt, strict=True))
    for text in ("\U00010000", "\U00050000", "\U00090000", "\U000d0000", "\U00100000"):
        spelt = level.pre_tokenize_str(text)[0][0]
        letters.update(zip(text.encode(), spelt, strict=True))
    unused = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - set(letters.values()))
    rest = iter(unused)
    return [letters.get(byte) or next(rest) for byte in range(256)]


@cache
def vocabulary() -> tuple[list[str], list[tuple[str, str]]]:
    """Return tokens and merges that let every way of splitting text show in the ids.

    The merges were learnt on text that nothing had split, so that they reach over blanks, digits
    and signs; runs of blanks follow, and pairs of a probe and any byte in a fixed
    random order. No merge leads to the last token.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trainer = trainers.BpeTrainer(vocab_size=900, show_progress=False, max_token_length=8)
    bpe.train_from_iterator([*PASSAGES, *(p.upper() for p in PASSAGES)], trainer)
    learnt = [tuple(m) for m in json.loads(bpe.to_str())["model"]["merges"]]
    letters = byte_letters()
    probes = b"aBs12 \n\r\t'.,!(|$<_-/"
    pairs = [pair for a in probes for b in range(256) for pair in ((a, b), (b, a))]
    random.Random(0).shuffle(pairs)
    blank = letters[ord(" ")]
    runs = [(blank * 2, blank), (blank * 2, blank * 2), (blank * 4, blank * 4)]
    merges = list(dict.fromkeys([*learnt, *runs, *((letters[a], letters[b]) for a, b in pairs)]))
    tokens = list(dict.fromkeys([*letters, *(a + b for a, b in merges), f"{blank}Title"]))
    return tokens, merges


def write(
    path: Path,
    tokens: Sequence[str],
    merges: Sequence[tuple[str, str]],
    *,
    pre: str | None = "gpt-2",
    special: Sequence[str] = ("<|end|>",),
    types: Sequence[int] | None = None,
    fields: dict[str, Any] | None = None,
    without: Sequence[str] = (),
    more: dict[str, np.ndarray] | None = None,
) -> Path:
    """Write a file and return its path.

    `special` tokens follow `tokens`; `types` are those of all, else special ones are control
    tokens. The last special token ends a text, unless `fields` says otherwise. `fields` are set as
    they are, `without` names fields and tensors to leave out, and `more` holds further tensors.
    """
    texts = [*tokens, *special]
    stated: dict[str, Any] = {
        "llama.context_length": 512,
        "llama.embedding_length": WIDTH,
        "llama.block_count": 1,
        "llama.feed_forward_length": WIDTH,
        "llama.attention.head_count": 2,
        "llama.attention.head_count_kv": 2,
        "llama.attention.layer_norm_rms_epsilon": 1e-5,
        "llama.rope.dimension_count": WIDTH // 2,
        "llama.rope.freq_base": 10000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": texts,
        "tokenizer.ggml.token_type": list(
            types or [NORMAL] * len(tokens) + [CONTROL] * len(special)
        ),
        "tokenizer.ggml.merges": [f"{a} {b}" for a, b in merges],
        "tokenizer.ggml.eos_token_id": len(texts) - 1,
        "tokenizer.ggml.add_bos_token": False,
        **({} if pre is None else {"tokenizer.ggml.pre": pre}),
        **(fields or {}),
    }
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in stated.items():
        if key not in without:
            _add(writer, key, value)
    for name, tensor in {**_tensors(len(texts)), **(more or {})}.items():
        if name not in without:
            writer.add_tensor(name, tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def _tensors(count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)

    def matrix(rows: int) -> np.ndarray:
        return rng.normal(0, 0.3, (rows, WIDTH)).astype(np.float32)

    maps = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    ones = ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight")
    return {
        "token_embd.weight": matrix(count),
        **{f"blk.0.{name}.weight": matrix(WIDTH) for name in maps},
        **{name: np.ones(WIDTH, np.float32) for name in ones},
    }
