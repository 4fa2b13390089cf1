"""What a training did, in figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.train.best import KeptStudent


@dataclass(frozen=True)
class TrainResult:
    """What training did: `tokens` read (prompts included, padding not), losses of two steps.

    `kept_step` is the step after which the student was as it is kept, 0 for the untrained one.
    `validated_by` names what students were compared by on validation prompts, less being better;
    the `validation_` figures are that measure before the first step, of the student that is kept,
    and after the last step. All are None where nothing was measured. The `hidden` figures are the
    distances of hidden states at two steps, None where none are matched.
    """

    steps: int
    tokens: int
    response_tokens: int
    seconds: float
    tokens_per_s: float
    first_loss: float
    last_loss: float
    kept_step: int
    validated_by: str | None = None
    validation_before: float | None = None
    validation_kept: float | None = None
    validation_last: float | None = None
    first_hidden: float | None = None
    last_hidden: float | None = None


def validation_figures(kept: KeptStudent, last: Mapping[str, float]) -> dict[str, Any]:
    """Return the fields of the student that is kept; `last` was measured after the last step."""
    return {
        "validated_by": kept.by,
        "validation_before": kept.before,
        "validation_kept": kept.value,
        "validation_last": last.get(kept.by),
    }
