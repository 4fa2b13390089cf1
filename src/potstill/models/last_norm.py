"""The values of a model's last norm, by which known weights are told whatever they are called.

They are few, stay as they are where a model is quantised or saved in another type, and mostly where
it is tuned with adapters.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from blake3 import blake3

from potstill.models.gguf_head import read_head

_NAMES = ("norm.weight", "ln_f.weight", "final_layer_norm.weight", "final_layernorm.weight")
_BLOCKS = (".layers.", ".h.", ".blocks.")
_GGUF_NAME = "output_norm.weight"
_F32, _F16, _BF16 = 0, 1, 30  # of ggml
_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_MOST_VALUES = 1_000_000
_LONGEST_HEADER = 100_000_000


def last_norm_digest(model: Path) -> str | None:
    """Return 32 digits of blake3 over a model's last norm as float32, little-endian.

    `model` is a directory of safetensors or a GGUF file. None where there is no such norm, or
    where it cannot be read.
    """
    values = _of_gguf(model) if model.is_file() else _of_directory(model)
    if values is None or not 0 < values.size <= _MOST_VALUES:
        return None
    return blake3(np.ascontiguousarray(values, dtype="<f4").tobytes()).hexdigest(length=16)


def _of_gguf(path: Path) -> np.ndarray | None:
    head = read_head(path)
    place = head.tensors.get(_GGUF_NAME)
    if place is None or place.kind not in (_F32, _F16, _BF16):
        return None
    kind = {_F32: "f4", _F16: "f2", _BF16: "u2"}[place.kind]
    values = np.fromfile(path, head.order + kind, place.count, offset=place.start)
    return _widened(values) if place.kind == _BF16 else values


def _of_directory(model: Path) -> np.ndarray | None:
    for file in sorted(model.glob("*.safetensors")):
        found = _of_file(file)
        if found is not None:
            return found
    return None


def _of_file(file: Path) -> np.ndarray | None:
    """Return a file's last norm; the library itself would need torch to read bf16."""
    try:
        with file.open("rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(min(length, _LONGEST_HEADER)))
        names = [n for n in header if n.endswith(_NAMES) and not any(b in n for b in _BLOCKS)]
        # A model of text and images has one for each: the text's is named last or alone.
        for name in sorted(names, key=len):
            tensor = header[name]
            kind, (start, end) = _TYPES.get(tensor["dtype"]), tensor["data_offsets"]
            if kind is None or "vision" in name or "visual" in name or "audio" in name:
                continue
            count = (end - start) // np.dtype(kind).itemsize
            values = np.fromfile(file, kind, count, offset=8 + length + start)
            return _widened(values) if tensor["dtype"] == "BF16" else values
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return None


def _widened(bits: np.ndarray) -> np.ndarray:
    """Return bf16 values, given as their bits, as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
