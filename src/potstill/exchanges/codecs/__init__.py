"""Targets to bytes and back, one module for each form."""

from __future__ import annotations

from potstill.exchanges.codecs import hidden, sampled, top_k
from potstill.exchanges.codecs.integers import Data
from potstill.exchanges.rows import TargetRow
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import (
    Draws,
    ExchangeTargets,
    HiddenStates,
    LikeliestTokens,
    TargetValues,
)


def encode(targets: ExchangeTargets) -> TargetRow:
    """Return the row that stores `targets`.

    Raises `PotstillError` where a hidden state is not finite or too large to be kept.
    """
    spec, values = targets.spec, targets.values
    if isinstance(values, HiddenStates) and spec.is_hidden:
        write = hidden.to_int8 if spec.kind == "hidden-int8" else hidden.to_fp16
        width, data = values.hidden_RD.shape[-1], write(values.hidden_RD)
    elif isinstance(values, Draws) and spec.kind == "sampled":
        width, data = values.width, sampled.to_bytes(values)
    elif isinstance(values, LikeliestTokens) and spec.kind == "top-k":
        width, data = values.width, top_k.to_bytes(values)
    else:
        raise ValueError(f"{type(values).__name__} cannot be kept as {spec.name}")
    key = (targets.exchange_id, targets.scorer, spec.name)
    return TargetRow(*key, len(values), width, data)


def decode(spec: TargetSpec, rows: int, dim: int, data: Data) -> TargetValues:
    """Return the values that `encode` was given, as far as their form keeps them, in CPU memory of
    their own. `dim` is the width of what is kept: of hidden states, or of the vocabulary."""
    if spec.kind == "hidden-fp16":
        return HiddenStates(hidden.from_fp16(rows, dim, data))
    if spec.kind == "hidden-int8":
        return HiddenStates(hidden.from_int8(rows, dim, data))
    if spec.kind == "sampled":
        return sampled.from_bytes(rows, dim, data)
    assert spec.count is not None
    return top_k.from_bytes(rows, dim, spec.count, data)
