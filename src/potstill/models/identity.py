"""Stable digests of a model: of its weights, its config and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from blake3 import blake3
from safetensors import safe_open

from potstill.canonical import labelled, spaced_json
from potstill.models.saved_form import without_old_names

# What differs between two saves of the same model; a student's terms are about it and not of it.
_INCIDENTAL_CONFIG = {
    "transformers_version",
    "_name_or_path",
    "dtype",
    "torch_dtype",
    "potstill_terms",
}


def identity_of(directory: Path) -> str:
    """Return `blake3:` and 32 digits over weights, config and tokenizer of a saved model.

    The digest depends on tensor names, shapes and values, never on file names, sharding or
    the version that wrote them.
    """
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update(_weights_digest(directory))
    hasher.update(_config_bytes(directory / "config.json"))
    hasher.update(tokenizer_id_of(directory).encode())
    return labelled(hasher.hexdigest(length=16))


def tokenizer_id_of(directory: Path) -> str:
    """Return `blake3:` and 32 digits over what decides token ids and chat format."""
    hasher = blake3()
    tokenizer = json.loads((directory / "tokenizer.json").read_text(encoding="utf-8"))
    # Saving a tokenizer after a call may add these; they do not change any token id.
    for incidental in ("truncation", "padding"):
        tokenizer.pop(incidental, None)
    hasher.update(spaced_json(tokenizer))
    hasher.update((chat_template_text(directory) or "").encode())
    return labelled(hasher.hexdigest(length=16))


def chat_template_text(directory: Path) -> str | None:
    """Return the chat template that a directory's tokenizer uses, if it has one."""
    file = directory / "chat_template.jinja"
    if file.is_file():
        return file.read_text(encoding="utf-8")
    config = directory / "tokenizer_config.json"
    if config.is_file():
        template = json.loads(config.read_text(encoding="utf-8")).get("chat_template")
        return json.dumps(template) if isinstance(template, list) else template
    return None


def _weights_digest(directory: Path) -> bytes:
    """Return the digest over all tensors in name order."""
    owners: dict[str, Path] = {}
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(str(file), framework="pt") as handle:
            owners.update(dict.fromkeys(handle.keys(), file))
    hasher = blake3(max_threads=blake3.AUTO)
    handles: dict[Path, Any] = {}
    for name in sorted(owners):
        file = owners[name]
        if file not in handles:
            handles[file] = safe_open(str(file), framework="pt").__enter__()
        tensor = handles[file].get_tensor(name)
        hasher.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        hasher.update(memoryview(tensor.contiguous().view(-1).view(_bytes_dtype()).numpy()))
    return hasher.digest()


def _bytes_dtype() -> Any:
    import torch

    return torch.uint8


def _config_bytes(path: Path) -> bytes:
    config = json.loads(path.read_text(encoding="utf-8"))
    stated = without_old_names(config)
    kept = {k: v for k, v in stated.items() if k not in _INCIDENTAL_CONFIG}
    return spaced_json(kept, ascii_only=True)
