"""GGUF files become directories that read text, stop and weigh as the file says, or are refused."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

import gguf_files
import llama_server
from gguf_files import CONTROL, NORMAL, UNUSED, USER
from potstill.canonical import digest_of_file
from potstill.errors import PotstillError
from potstill.models import gguf
from potstill.models.load import load, locate

CODE = "x = y;\n\nreturn foo(bar);"
QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def original() -> Tokenizer:
    """Return a tokenizer that was trained with Qwen2's rule on code, as its makers have it."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    bpe.train_from_iterator([f"{CODE}\n\n"] * 4, trainer)
    return bpe


def written(bpe: Tokenizer, path: Path, **more: Any) -> Path:
    model = json.loads(bpe.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].__getitem__)
    return gguf_files.write(path, tokens, [tuple(m) for m in model["merges"]], **more)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        (CODE, 9),
        ("return foo(bar);\n\nx = y;", None),
        ("x = y;\n\n\n  return 12345;", None),
        ("foo(Bar'S);\r\n\ty", None),
        ("y;\n\nx \n\n = 1", None),
    ],
)
def test_text_is_split_as_the_original_and_llama_cpp_split_it(
    text: str, count: int | None, tmp_path: Path
) -> None:
    bpe = original()
    path = written(bpe, tmp_path / "nano.gguf", pre="stablelm2")
    mine = load(str(path), precision="fp32").tokenizer(text, add_special_tokens=False)["input_ids"]
    assert mine == bpe.encode(text).ids
    assert count is None or len(mine) == count
    with llama_server.tokenizing(path) as theirs:
        assert mine == theirs(text)


def small() -> tuple[list[str], list[tuple[str, str]]]:
    """Return the bytes and a few merges."""
    merges = gguf_files.vocabulary()[1][:60]
    return list(dict.fromkeys([*gguf_files.byte_letters(), *(a + b for a, b in merges)])), merges


def nano(path: Path, **more: Any) -> Path:
    return gguf_files.write(path, *small(), **more)


SPECIAL = ("<s>", "</s>", "<｜turn▁over｜>", "<think>", "[PAD]", "<|msg|>")


def special_file(path: Path, **fields: Any) -> Path:
    tokens, _ = small()
    at = len(tokens)
    types = [NORMAL] * at + [CONTROL, CONTROL, CONTROL, USER, UNUSED, CONTROL]
    stated = {
        "tokenizer.ggml.bos_token_id": at,
        "tokenizer.ggml.eos_token_id": at + 1,
        "tokenizer.ggml.eot_token_id": at + 2,
        "tokenizer.ggml.eom_token_id": at + 5,
        "tokenizer.ggml.padding_token_id": at + 4,
        "tokenizer.chat_template": "{% for m in messages %}{{ m['content'] }}"
        "{% if m['role'] == 'assistant' %}<｜turn▁over｜>{% endif %}{% endfor %}",
        **{f"tokenizer.ggml.{key}": value for key, value in fields.items()},
    }
    return nano(path, special=SPECIAL, types=types, fields=stated)


@pytest.mark.parametrize("begins", [True, False])
@pytest.mark.parametrize("ends", [True, False])
def test_special_tokens_ends_and_template_survive(begins: bool, ends: bool, tmp_path: Path) -> None:
    path = special_file(tmp_path / "x.gguf", add_bos_token=begins, add_eos_token=ends)
    directory = locate(str(path))
    model = load(str(directory), precision="fp32")
    at = len(small()[0])
    text = "a<｜turn▁over｜>b <think>c</s> [PAD] <|msg|><s>"
    with llama_server.tokenizing(path) as theirs:
        assert model.tokenizer(text)["input_ids"] == theirs(text, special=True)
    ids = model.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert model.tokenizer.decode(ids) == text
    shown = model.tokenizer.decode(ids, skip_special_tokens=True)
    assert "<think>" in shown and "turn" not in shown
    # What the template ends a turn with comes first; the others stop it too.
    assert model.eos_ids == (at + 2, at + 1, at + 5)
    generation = json.loads((directory / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [at + 1, at + 2, at + 5]
    assert (model.tokenizer.bos_token, model.tokenizer.pad_token) == ("<s>", "[PAD]")
    assert "<｜turn▁over｜>{% endif %}" in model.tokenizer.chat_template


@pytest.mark.parametrize(
    ("pre", "begins"), [("llama-bpe", True), ("tekken", True), ("dbrx", False)]
)
def test_a_name_says_whether_texts_begin_with_a_token_where_the_file_does_not(
    pre: str, begins: bool, tmp_path: Path
) -> None:
    at = len(small()[0])
    path = nano(
        tmp_path / "x.gguf",
        pre=pre,
        special=("<s>", "</s>"),
        fields={"tokenizer.ggml.bos_token_id": at},
        without=["tokenizer.ggml.add_bos_token"],
    )
    ids = load(str(path), precision="fp32").tokenizer("Hi")["input_ids"]
    assert (ids[0] == at) is begins
    with llama_server.tokenizing(path) as theirs:
        assert ids == theirs("Hi", special=True)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pre": "martian-7b"}, r"splits text as 'martian-7b' does"),
        ({"pre": "gemma4"}, r"splits text as 'gemma4' does"),
        ({"pre": "whitespace"}, r"which potstill does not know; use the model's safetensors"),
        ({"pre": None}, r"does not say how its tokenizer splits text"),
        ({"without": ["tokenizer.ggml.eos_token_id"]}, r"names no end-of-sequence token"),
        ({"without": ["tokenizer.ggml.merges"]}, r"lacks tokenizer\.ggml\.merges among"),
        ({"without": ["tokenizer.ggml.tokens"]}, r"lacks tokenizer\.ggml\.tokens among"),
        ({"without": ["llama.block_count"]}, r"lacks llama\.block_count among its metadata"),
        ({"without": ["llama.attention.head_count"]}, r"lacks llama\.attention\.head_count"),
        (
            {"without": ["llama.attention.layer_norm_rms_epsilon"]},
            r"lacks llama\.attention\.layer_norm_rms_epsilon",
        ),
        ({"without": ["blk.0.ffn_down.weight"]}, r"lacks 1 of .* model\.layers\.0\.mlp\.down_proj"),
        ({"without": ["output_norm.weight", "blk.0.attn_q.weight"]}, r"lacks 2 of the model's"),
        ({"fields": {"llama.block_count": 2}}, r"lacks 9 of .* first for model\.layers\.1\."),
        ({"fields": {"llama.embedding_length": 64}}, r"transformers cannot read x\.gguf, a llama"),
        (
            {"more": {"blk.0.attn_q.bias": np.ones(32, np.float32)}},
            r"holds 1 tensors that transformers does not read, the first blk\.0\.attn_q\.bias",
        ),
        (
            {"more": {"blk.1.ffn_up.weight": np.ones((32, 32), np.float32)}},
            r"does not read, the first blk\.1\.ffn_up\.weight",
        ),
        ({"fields": {"tokenizer.ggml.eos_token_id": 10**6}}, r"eos_token_id 1000000, but has"),
        ({"fields": {"tokenizer.ggml.merges": ["Ġ Ġ", "nonsense"]}}, r"number 1 of tok"),
        ({"fields": {"tokenizer.ggml.merges": ["a 東"]}}, r"merges what is not among its tokens"),
        (
            {"fields": {"tokenizer.ggml.tokens": ["a", "b", "a"]}},
            r"one token twice \(number 2",
        ),
        ({"fields": {"tokenizer.ggml.token_type": [1, 1]}}, r"and 2 token types"),
        ({"fields": {"tokenizer.ggml.add_bos_token": True}}, r"\(tokenizer\.ggml\.bos_token_id\)"),
        ({"fields": {"split.count": 3}}, r"one of 3 parts of a model; join them with"),
        ({"fields": {"llama.rope.scaling.type": "yarn"}}, r"rope\.scaling\.type is yarn"),
        (
            {"more": {"rope_freqs.weight": np.linspace(1, 9, 8, dtype=np.float32)}},
            r"in a way that is not Llama 3's",
        ),
    ],
)
def test_what_cannot_be_read_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    path = nano(tmp_path / "x.gguf", **changes)
    with pytest.raises(PotstillError, match=reason) as caught:
        load(str(path), precision="fp32")
    assert "x.gguf" in str(caught.value)


@pytest.mark.parametrize("kept", [0, 3, 20, 1000, 6_000, -5000, -1])
def test_a_file_that_is_cut_off_is_refused(kept: int, tmp_path: Path) -> None:
    whole = nano(tmp_path / "whole.gguf").read_bytes()
    (tmp_path / "cut.gguf").write_bytes(whole[:kept])
    with pytest.raises(
        PotstillError, match=r"cut\.gguf is (empty|cut off|no GGUF).*download it again"
    ):
        load(str(tmp_path / "cut.gguf"), precision="fp32")


@pytest.mark.parametrize("head", [b"GGML", b"gguf", b"PK\x03\x04", b"{\n  "])
def test_another_file_is_no_gguf(head: bytes, tmp_path: Path) -> None:
    whole = nano(tmp_path / "x.gguf").read_bytes()
    (tmp_path / "x.gguf").write_bytes(head + whole[4:])
    with pytest.raises(PotstillError, match=r"x\.gguf is no GGUF file .* check the path"):
        load(str(tmp_path / "x.gguf"), precision="fp32")


def test_llama_3s_stretched_positions_are_those_of_the_file(tmp_path: Path) -> None:
    from potstill.models.gguf_rope import _llama3

    factors = np.array(_llama3(10000.0, 8.0, 8192, 8), np.float32)
    path = nano(tmp_path / "x.gguf", more={"rope_freqs.weight": factors})
    model = load(str(path), precision="fp32")
    stated = model.network.config.rope_parameters
    assert (stated["rope_type"], stated["factor"]) == ("llama3", 8.0)
    made = 1 / 10000.0 ** (torch.arange(8) / 8) / torch.tensor(factors)
    assert torch.allclose(model.network.model.rotary_emb.inv_freq, made, rtol=1e-4)


def test_a_conversion_of_an_older_version_is_not_used(tmp_path: Path) -> None:
    path = nano(tmp_path / "x.gguf")
    old = gguf.cache_directory() / "gguf" / f"{digest_of_file(path)}-1"
    old.mkdir(parents=True)
    (old / "potstill-source.json").write_text("{}")
    assert gguf.converted(path) != old


def test_conversions_stay_where_they_were(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert gguf.cache_directory() == tmp_path / "potstill"
    if sys.platform.startswith("linux"):
        monkeypatch.setenv("XDG_CACHE_HOME", "")
        monkeypatch.setenv("HOME", str(tmp_path / "me"))
        assert gguf.cache_directory() == tmp_path / "me" / ".cache" / "potstill"


def test_a_user_without_a_home_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(PotstillError, match="no home directory to keep converted models"):
        gguf.cache_directory()
