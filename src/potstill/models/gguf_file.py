"""What a GGUF file says of itself, read once, with its faults told apart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.models.files import INSTEAD, check_gguf

__all__ = ["INSTEAD", "ROPE_FACTORS", "GgufFile", "read"]

ROPE_FACTORS = "rope_freqs.weight"

# What the reader raises at a file that ends early or points outside itself.
_DAMAGE = (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError)
# What a config cannot do without: transformers would take another model's values in silence.
_SHAPE = ("block_count", "context_length", "embedding_length", "attention.head_count")
_EPSILON = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon")
_WITHOUT_HEADS = ("mamba", "rwkv")


@dataclass(frozen=True)
class GgufFile:
    """A file's name, its metadata, how many values each tensor holds, and its rotary factors."""

    name: str
    fields: Mapping[str, Any]
    sizes: Mapping[str, int]
    rope_factors: tuple[float, ...] | None = None

    @property
    def architecture(self) -> str:
        """llama.cpp's name of the architecture, with which its metadata begins."""
        return str(self.fields["general.architecture"])

    def of_model(self, key: str) -> Any:
        """Return a field of the architecture's own, None where the file lacks it."""
        return self.fields.get(f"{self.architecture}.{key}")

    def unread(self, network: Any) -> list[str]:
        """Return the tensors that no parameter of the network is named after, if any are too many.

        Some architectures cut or join tensors, so that names prove nothing while the number of
        values is the network's.
        """
        sizes = {name: size for name, size in self.sizes.items() if name != ROPE_FACTORS}
        held = sum(p.numel() for p in network.parameters())
        if sum(sizes.values()) <= held:
            return []
        return sorted(sizes.keys() - _names_in_gguf(network, self.architecture))


def read(path: Path) -> GgufFile:
    """Return what a GGUF file says; raises PotstillError where it is none, damaged or incomplete.

    Nothing of the weights is read but where they lie: a file that ends before them is refused.
    """
    from gguf import GGUFReader

    check_gguf(path)
    try:
        reader = GGUFReader(str(path))
        fields = {key: field.contents() for key, field in reader.fields.items()}
        sizes = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
        rope = [t.data.tolist() for t in reader.tensors if t.name == ROPE_FACTORS]
    except _DAMAGE as error:
        raise PotstillError(
            f"{path.name} is cut off or damaged; download it again, or {INSTEAD}"
        ) from error
    _check_fields(fields, path.name)
    return GgufFile(path.name, fields, sizes, tuple(rope[0]) if rope else None)


def _check_fields(fields: Mapping[str, Any], name: str) -> None:
    if int(fields.get("split.count") or 1) > 1:
        raise PotstillError(
            f"{name} is one of {fields['split.count']} parts of a model; join them with "
            f"llama-gguf-split --merge, or {INSTEAD}"
        )
    architecture = fields.get("general.architecture")
    needed = ["general.architecture", "tokenizer.ggml.model", "tokenizer.ggml.tokens"]
    if fields.get("tokenizer.ggml.model") == "gpt2":
        needed.append("tokenizer.ggml.merges")
    if architecture is not None:
        heads = not str(architecture).startswith(_WITHOUT_HEADS)
        shape = _SHAPE if heads else _SHAPE[:3]
        needed += [f"{architecture}.{key}" for key in shape]
        epsilons = [f"{architecture}.{key}" for key in _EPSILON]
        if not any(key in fields for key in epsilons):
            needed.append(epsilons[0])
    missing = [key for key in needed if fields.get(key) is None]
    if missing:
        raise PotstillError(
            f"{name} lacks {', '.join(missing)} among its metadata; convert the model again, or "
            f"{INSTEAD}"
        )


def _names_in_gguf(network: Any, architecture: str) -> set[str]:
    """Return how llama.cpp names the network's tensors."""
    from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

    known = {text: arch for arch, text in MODEL_ARCH_NAMES.items()}
    if architecture not in known:
        return set()
    layers = network.config.get_text_config().num_hidden_layers
    names = get_tensor_name_map(known[architecture], layers)
    found = (names.get_name(key, (".weight", ".bias")) for key in network.state_dict())
    return {name for name in found if name is not None}
