"""The tokenizer that a GGUF file with a byte-level BPE vocabulary describes.

transformers makes one too, but splits text by GPT-2's rule where it does not know the file's, and
respells special tokens that are not ASCII. So it is made here, from the file's own lists.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.errors import PotstillError
from potstill.models.gguf_file import INSTEAD
from potstill.models.pre_tokenizers import NAMES, Splitting

_PREFIX = "tokenizer.ggml."


# Token types of the format (`gguf.TokenType`): matched whole in a text, the last not special.
_UNKNOWN, _CONTROL, _USER_DEFINED = 2, 3, 4
_NAMED = {
    "bos_token": "bos_token_id",
    "eos_token": "eos_token_id",
    "unk_token": "unknown_token_id",
    "pad_token": "padding_token_id",
}
# What llama.cpp stops at, besides tokens that it knows by their text.
_ENDS = ("eos_token_id", "eot_token_id", "eom_token_id")


def end_ids(fields: Mapping[str, Any]) -> list[int]:
    """Return the ids that a file states as ends of a text, a turn or a message, in that order."""
    found = [fields.get(_PREFIX + name) for name in _ENDS]
    return list(dict.fromkeys(int(i) for i in found if i is not None))


def byte_level_tokenizer(fields: Mapping[str, Any], file: str) -> Any:
    """Return a transformers tokenizer made from a file's `tokenizer.*` fields.

    `file` is its name, for messages. Raises PotstillError where the file does not say how its text
    is split, says so by a name that potstill does not know, or contradicts itself.
    """
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    tokens = _tokens(fields, file)
    named = _named_ids(fields, len(tokens), file)
    description = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added_tokens(fields, tokens, named),
        "normalizer": None,
        "pre_tokenizer": (splitting := _splitting(fields, file)).definition(),
        "post_processor": _post_processor(fields, splitting, tokens, named, file),
        "decoder": _level(add_prefix_space=True),
        "model": _model(fields, tokens, splitting, file),
    }
    backend = Tokenizer.from_str(json.dumps(description))
    texts = {name: tokens[named[key]] for name, key in _NAMED.items() if key in named}
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, **texts)
    tokenizer.chat_template = fields.get("tokenizer.chat_template")
    return tokenizer


def _splitting(fields: Mapping[str, Any], file: str) -> Splitting:
    name = fields.get(f"{_PREFIX}pre")
    if not name:
        raise PotstillError(
            f"{file} does not say how its tokenizer splits text into words (it has no "
            f"tokenizer.ggml.pre, as files made before May 2024), and llama.cpp would guess; "
            f"convert the model again, or {INSTEAD}"
        )
    if name not in NAMES:
        raise PotstillError(
            f"{file} says that its tokenizer splits text as {str(name)[:60]!r} does "
            f"(tokenizer.ggml.pre), which potstill does not know; {INSTEAD}"
        )
    return NAMES[name]


def _tokens(fields: Mapping[str, Any], file: str) -> list[str]:
    stated: Sequence[str] = fields[f"{_PREFIX}tokens"]
    tokens = [text or f"[EMPTY_{i}]" for i, text in enumerate(stated)]
    if len(set(tokens)) < len(tokens):
        first = next(i for i, text in enumerate(tokens) if tokens.index(text) < i)
        raise PotstillError(
            f"{file} lists one token twice (number {first} of tokenizer.ggml.tokens); it is "
            f"damaged: download it again, or {INSTEAD}"
        )
    types = fields.get(f"{_PREFIX}token_type")
    if types is not None and len(types) != len(tokens):
        raise PotstillError(
            f"{file} has {len(tokens)} tokens and {len(types)} token types "
            f"(tokenizer.ggml.token_type); it is damaged: download it again, or {INSTEAD}"
        )
    return tokens


def _named_ids(fields: Mapping[str, Any], count: int, file: str) -> dict[str, int]:
    """Return the ids of special tokens that the file names, by the field's name."""
    keys = dict.fromkeys((*_NAMED.values(), *_ENDS))
    found = {k: int(fields[_PREFIX + k]) for k in keys if fields.get(_PREFIX + k) is not None}
    for key, token in found.items():
        if not 0 <= token < count:
            raise PotstillError(
                f"{file} states {_PREFIX}{key} {token}, but has {count} tokens; it is damaged: "
                f"download it again, or {INSTEAD}"
            )
    if not end_ids(fields):
        raise PotstillError(
            f"{file} names no end-of-sequence token ({_PREFIX}eos_token_id); {INSTEAD}"
        )
    return found


def _added_tokens(
    fields: Mapping[str, Any], tokens: Sequence[str], named: Mapping[str, int]
) -> list[dict[str, Any]]:
    """Return the tokens that are matched whole in a text: special, or a user's own."""
    types = fields.get(f"{_PREFIX}token_type") or [0] * len(tokens)
    special = {i for i, t in enumerate(types) if t in (_UNKNOWN, _CONTROL)} | set(named.values())
    plain = {i for i, t in enumerate(types) if t == _USER_DEFINED}
    how = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return [
        {"id": i, "content": tokens[i], **how, "special": i in special}
        for i in sorted(special | plain)
    ]


def _post_processor(
    fields: Mapping[str, Any],
    splitting: Splitting,
    tokens: Sequence[str],
    named: Mapping[str, int],
    file: str,
) -> dict[str, Any]:
    """Return what is put around a text: the tokens that the file says, in TemplateProcessing."""
    begins = bool(fields.get(f"{_PREFIX}add_bos_token", splitting.adds_bos))
    ends = bool(fields.get(f"{_PREFIX}add_eos_token", False))
    used: dict[str, int] = {}
    for wanted, key in ((begins, "bos_token_id"), (ends, "eos_token_id")):
        if wanted and key not in named:
            raise PotstillError(
                f"{file} puts a token around each text ({_PREFIX}add_{key[:3]}_token) that it "
                f"does not name ({_PREFIX}{key}); {INSTEAD}"
            )
        if wanted:
            used[key] = named[key]

    def around(letter: str, kind: int) -> list[dict[str, Any]]:
        def special(key: str) -> list[dict[str, Any]]:
            entry = {"id": tokens[used[key]], "type_id": kind} if key in used else None
            return [] if entry is None else [{"SpecialToken": entry}]

        text = {"Sequence": {"id": letter, "type_id": kind}}
        return [*special("bos_token_id"), text, *special("eos_token_id")]

    return {
        "type": "TemplateProcessing",
        "single": around("A", 0),
        "pair": [*around("A", 0), *around("B", 1)],
        "special_tokens": {
            tokens[i]: {"id": tokens[i], "ids": [i], "tokens": [tokens[i]]} for i in used.values()
        },
    }


def _model(
    fields: Mapping[str, Any], tokens: Sequence[str], splitting: Splitting, file: str
) -> dict[str, Any]:
    vocabulary = {text: i for i, text in enumerate(tokens)}
    return {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": splitting.whole_words,
        "vocab": vocabulary,
        "merges": _merges(fields[f"{_PREFIX}merges"], vocabulary, file),
    }


def _merges(stated: Sequence[str], vocabulary: Mapping[str, int], file: str) -> list[list[str]]:
    """Return the pairs that are merged, the first of equal ones alone, as llama.cpp reads them."""
    pairs = []
    for number, text in enumerate(dict.fromkeys(stated)):
        at = text.find(" ", 1)
        left, right = text[:at], text[at + 1 :]
        if at < 0 or any(part not in vocabulary for part in (left, right, left + right)):
            raise PotstillError(
                f"{file} merges what is not among its tokens (number {number} of "
                f"tokenizer.ggml.merges); it is damaged: download it again, or {INSTEAD}"
            )
        pairs.append([left, right])
    return pairs


def _level(*, add_prefix_space: bool) -> dict[str, Any]:
    how = {"add_prefix_space": add_prefix_space, "trim_offsets": True, "use_regex": True}
    return {"type": "ByteLevel", **how}
