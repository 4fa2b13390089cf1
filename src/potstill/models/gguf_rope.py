"""How a GGUF file stretches its rotary positions, which transformers' own conversion leaves out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from potstill.errors import PotstillError
from potstill.models.gguf_file import INSTEAD, ROPE_FACTORS, GgufFile

# Llama 3's scheme: its bounds, which no file states, and the contexts that models were made with.
_LOW, _HIGH = 1.0, 4.0
_CONTEXTS = (8192, 4096, 2048, 16384, 32768)


def restore(config: Any, file: GgufFile) -> None:
    """Write into a config how the file stretches rotary positions.

    Raises PotstillError where it does so in a way that potstill does not know.
    """
    if file.rope_factors is not None:
        _restore_factors(config, file, file.rope_factors)
    kind = file.of_model("rope.scaling.type")
    stated = getattr(config, "rope_parameters", None) or {}
    if kind in (None, "none") or stated.get("rope_type", "default") != "default":
        return
    factor = file.of_model("rope.scaling.factor")
    if kind != "linear" or factor is None or "rope_theta" not in stated:
        raise PotstillError(
            f"{file.name} stretches its rotary positions ({file.architecture}.rope.scaling.type is "
            f"{str(kind)[:20]}), which transformers does not read from a GGUF file; {INSTEAD}"
        )
    config.rope_parameters = {**stated, "rope_type": "linear", "factor": float(factor)}


def _restore_factors(config: Any, file: GgufFile, factors: Sequence[float]) -> None:
    if all(factor == 1 for factor in factors):
        return
    stated = getattr(config, "rope_parameters", None) or {}
    for context in _CONTEXTS if "rope_theta" in stated else ():
        made = _llama3(stated["rope_theta"], max(factors), context, len(factors))
        if all(math.isclose(a, b, rel_tol=1e-3) for a, b in zip(made, factors, strict=True)):
            config.rope_parameters = {
                **stated,
                "rope_type": "llama3",
                "factor": float(max(factors)),
                "low_freq_factor": _LOW,
                "high_freq_factor": _HIGH,
                "original_max_position_embeddings": context,
            }
            return
    raise PotstillError(
        f"{file.name} stretches its rotary positions ({ROPE_FACTORS}) in a way that is not "
        f"Llama 3's, which transformers does not read from a GGUF file; {INSTEAD}"
    )


def _llama3(theta: float, factor: float, context: int, count: int) -> list[float]:
    """Return by how much each frequency is divided (Llama 3.1's scheme)."""
    factors = []
    for index in range(count):
        turns = context * theta ** (-index / count) / (2 * math.pi)
        share = min(1.0, max(0.0, (turns - _LOW) / (_HIGH - _LOW)))
        factors.append(1 / ((1 - share) / factor + share))
    return factors
