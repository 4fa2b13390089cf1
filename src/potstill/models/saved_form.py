"""What transformers 4.57 needs in a directory that transformers 5 saved.

Version 5 moved what decides the rotary embedding into `rope_parameters`, which 4.57 passes over
without a word: it takes its default base and answers differently. And it names tokenizer classes
that 4.57 does not have. Here both ways of saying it are written, side by side: both versions, and
the servers built on either, read the same model.

Every function is over the JSON values; `make_readable` is the only one that touches files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

OLD_VERSION = "4.57"

# Rotary embeddings that 4.57 was found to read in this form.
_OLD_ROPE_TYPES = {"default", "linear", "dynamic", "yarn", "llama3"}
# What 4.57 calls base and rotated share where it is not `rope_theta`, `partial_rotary_factor`.
_BASE = {"gpt_neox": "rotary_emb_base", "gpt_neox_japanese": "rotary_emb_base"}
_SHARE = {"gpt_neox": "rotary_pct", "gpt_neox_japanese": "rotary_pct"}
# Other names that changed: version 5's, and 4.57's.
_RENAMED = {"qwen3_moe": ("num_local_experts", "num_experts")}
# Families that 4.57 reads only where their rotary embedding is not scaled: it refuses version 5's
# scaling, or passes over it.
_UNSCALED = {
    "hunyuan_v1_dense",
    "hunyuan_v1_moe",
    "llama4_text",
    "nemotron",
    "olmo",
    "olmo2",
    "phi3",
    "phimoe",
}
# What 4.57 calls the base of local attention, where it may be another (None: it may not).
_LOCAL_BASE = {"gemma3_text": "rope_local_base_freq", "olmo3": None}

# Of loading, not of the tokenizer.
_INCIDENTAL_TOKENIZER = ("backend", "is_local", "local_files_only")
_CLASS_OF_BOTH = "PreTrainedTokenizerFast"
_INPUT_NAMES = ["input_ids", "attention_mask"]
_README = "README.md"


def config_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config.json with 4.57's names of the rotary embedding beside version 5's.

    Nested configs (`text_config`) too. Version 5 reads what it read before.
    """
    form = {k: config_form(v) if isinstance(v, Mapping) else v for k, v in config.items()}
    rope = config.get("rope_parameters")
    if isinstance(rope, Mapping):
        form["rope_parameters"] = dict(rope)
    return {**form, **_old_names(config)}


def without_old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without what `config_form` added: what decides a model's identity."""
    old = _old_names(config)
    kept = {k: v for k, v in config.items() if k not in old or old[k] != v}
    return {k: without_old_names(v) if isinstance(v, Mapping) else v for k, v in kept.items()}


def _old_names(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what 4.57 reads in place of version 5's fields, nested configs left out."""
    kind = str(config.get("model_type"))
    old: dict[str, Any] = {}
    if kind in _RENAMED:
        new_name, old_name = _RENAMED[kind]
        old.update({old_name: config[new_name]} if new_name in config else {})
    rope = config.get("rope_parameters")
    whole = rope.get("full_attention") if isinstance(rope, Mapping) and _by_layer(rope) else rope
    if not isinstance(rope, Mapping) or not isinstance(whole, Mapping):
        return old
    if "rope_theta" in whole:
        old[_BASE.get(kind, "rope_theta")] = whole["rope_theta"]
    if "partial_rotary_factor" in whole:
        old[_SHARE.get(kind, "partial_rotary_factor")] = whole["partial_rotary_factor"]
    old["rope_scaling"] = _scaling(whole)
    local_base, local = _LOCAL_BASE.get(kind), rope.get("sliding_attention")
    if local_base is not None and isinstance(local, Mapping) and "rope_theta" in local:
        old[local_base] = local["rope_theta"]
    return old


def tokenizer_form(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tokenizer_config.json of a class that reads tokenizer.json as it is, in both.

    4.57's own class of a family would rebuild parts of it. One with code of its own is returned
    as it is.
    """
    if "auto_map" in config:
        return dict(config)
    form = {k: v for k, v in config.items() if k not in _INCIDENTAL_TOKENIZER}
    form["tokenizer_class"] = _CLASS_OF_BOTH
    # 4.57 would add token_type_ids, which no decoder takes.
    form.setdefault("model_input_names", list(_INPUT_NAMES))
    if isinstance(form.get("extra_special_tokens"), list):
        form["additional_special_tokens"] = form.pop("extra_special_tokens")
    return form


def newer_needed(config: Mapping[str, Any], tokenizer: Mapping[str, Any]) -> str | None:
    """Return why 4.57 would not read the student as it is; None where it does."""
    kind = str(config.get("model_type"))
    if "auto_map" in config or "auto_map" in tokenizer:
        return "it brings code of its own"
    if kind not in READ_BY_OLD:
        return f"{OLD_VERSION} was not found to read {kind} models as version 5 writes them"
    rope = config.get("rope_parameters")
    if not isinstance(rope, Mapping):
        return None
    parts = [p for p in rope.values() if isinstance(p, Mapping)] if _by_layer(rope) else [rope]
    kinds = {str(p.get("rope_type", "default")) for p in parts}
    unread = kinds - _OLD_ROPE_TYPES
    if unread:
        return f"{OLD_VERSION} was not found to read {min(unread)!r} rotary embeddings"
    if kind in _UNSCALED and kinds != {"default"}:
        return f"{OLD_VERSION} does not scale the rotary embedding of {kind} models so"
    if _by_layer(rope) and not _old_by_layer(kind, rope):
        return f"its layers have rotary embeddings that {OLD_VERSION} cannot tell apart"
    return None


def readme(reason: str, version: str) -> str:
    """Return the README of a student that only transformers 5 reads."""
    return f"---\nlibrary_name: transformers\n---\n\n{_needs(reason, version)}\n"


def needed_version(directory: Path) -> str | None:
    """Return in a sentence which version a saved model needs; None where older ones read it."""
    config = _read(directory / "config.json")
    reason = newer_needed(config, _read(directory / "tokenizer_config.json"))
    return (
        None if reason is None else _needs(reason, str(config.get("transformers_version", "5.0")))
    )


def _needs(reason: str, version: str) -> str:
    return (
        f"This student needs transformers {version}, which saved it, or newer, and a server built "
        f"on that; do not load it with {OLD_VERSION}: {reason}."
    )


def make_readable(directory: Path) -> None:
    """Rewrite a saved model's JSON files for both versions; where that cannot be, say so.

    What cannot be read by 4.57 is stated in the directory's README.md, with the version it needs.
    """
    config = _read(directory / "config.json")
    tokenizer = _read(directory / "tokenizer_config.json")
    _write(directory / "config.json", config_form(config))
    if (directory / "tokenizer.json").is_file():
        _write(directory / "tokenizer_config.json", tokenizer_form(tokenizer))
    reason = newer_needed(config, tokenizer)
    if reason is not None:
        text = readme(reason, str(config.get("transformers_version", "5.0")))
        (directory / _README).write_text(text, encoding="utf-8")


def _by_layer(rope: Mapping[str, Any]) -> bool:
    return "full_attention" in rope or "sliding_attention" in rope


def _old_by_layer(kind: str, rope: Mapping[str, Any]) -> bool:
    """Tell whether 4.57 has names for the two rotary embeddings of a config by layer type."""
    whole, local = rope.get("full_attention"), rope.get("sliding_attention")
    if kind not in _LOCAL_BASE or not isinstance(whole, Mapping) or not isinstance(local, Mapping):
        return False
    plain = local.get("rope_type", "default") == "default" and not (
        {"partial_rotary_factor"} & (whole.keys() | local.keys())
    )
    same_base = whole.get("rope_theta") == local.get("rope_theta")
    return plain and (_LOCAL_BASE[kind] is not None or same_base)


def _scaling(rope: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return 4.57's `rope_scaling`: null, in so many words, where nothing is scaled."""
    if rope.get("rope_type", "default") == "default":
        return None
    return {k: v for k, v in rope.items() if k not in ("rope_theta", "partial_rotary_factor")}


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _write(path: Path, value: Mapping[str, Any]) -> None:
    text = json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


# Measured: tiny models of every causal family with unusual rotary embeddings, saved by 5.24 and
# written in this form, give the same logits in 4.57.6 (tests/models/test_saved_form_slow.py
# holds four of them and SmolLM2 to it).
READ_BY_OLD = frozenset(
    (
        "arcee",
        "aria_text",
        "bitnet",
        "bloom",
        "codegen",
        "cohere",
        "cohere2",
        "diffllama",
        "doge",
        "ernie4_5",
        "ernie4_5_moe",
        "exaone4",
        "falcon",
        "flex_olmo",
        "gemma",
        "gemma2",
        "gemma3_text",
        "glm",
        "glm4",
        "glm4_moe",
        "gpt-sw3",
        "gpt2",
        "gpt_bigcode",
        "gpt_neox",
        "gpt_neox_japanese",
        "gpt_oss",
        "gptj",
        "granite",
        "granitemoe",
        "granitemoeshared",
        "helium",
        "hunyuan_v1_dense",
        "hunyuan_v1_moe",
        "jetmoe",
        "lfm2",
        "llama",
        "llama4_text",
        "minimax",
        "ministral",
        "mistral",
        "mixtral",
        "mpt",
        "nemotron",
        "olmo",
        "olmo2",
        "olmo3",
        "olmoe",
        "opt",
        "persimmon",
        "phi",
        "phi3",
        "phimoe",
        "qwen2",
        "qwen2_moe",
        "qwen3",
        "qwen3_moe",
        "qwen3_next",
        "seed_oss",
        "smollm3",
        "stablelm",
        "starcoder2",
        "vaultgemma",
        "xglm",
    )
)
