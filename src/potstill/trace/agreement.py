"""Agreement: does a suspect go along with the teacher's greedy answers further than controls do?

One number a prompt: how many first tokens of the greedy answers are the same. It speaks for
something and accuses nobody (docs/methods/trace.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from potstill.errors import PotstillError
from potstill.stats.bootstrap import difference_interval
from potstill.stats.signs import sign_flip_p
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.items import Outcome, TraceItem, check_order, refuse_record

_SYMMETRIC = (
    "signs are as good as coins where suspect and control are alike, which 'no nearer to the "
    "teacher than the control' does not say"
)


class AgreementPlanned(TraceRecord):
    """Which prompts are answered greedily by the teacher, the suspect and every control.

    `prompts` are the ids of the prompts' digests in the plan, `longest` the most tokens that are
    compared, `controls` the identities of models known not to be distilled from the teacher, which
    read the teacher's tokens as the suspect does.
    """

    test: Literal["agreement"] = "agreement"
    configuration: str = "agreement"
    teacher: str
    prompts: tuple[str, ...] = Field(min_length=1)
    longest: int = Field(64, ge=1)
    controls: tuple[str, ...] = Field(min_length=1)

    needs: ClassVar[frozenset[str]] = frozenset({"answers", "token_ids"})

    @model_validator(mode="after")
    def _controls_are_others(self) -> AgreementPlanned:
        if self.teacher in self.controls:
            raise PotstillError(
                "a control of the agreement is the teacher itself, and nobody goes along with the "
                "teacher further than that; take it out of controls"
            )
        return self


class AgreementItem(TraceItem):
    """How many first tokens of a prompt's greedy answers are the teacher's.

    `suspect` is None where it gave no answer; that counts as nothing in common. `controls` are in
    the order of the plan.
    """

    prompt: str
    outcome: Outcome = "answered"
    suspect: int | None = Field(None, ge=0)
    controls: tuple[int, ...]


def agreement_finding(
    planned: AgreementPlanned, items: Sequence[AgreementItem], digest: str
) -> Finding:
    """Return what agreement comes to, with the control that comes nearest to the suspect.

    p is the greatest over the controls. Nothing is drawn, so that `digest` changes nothing.
    """
    _check(planned, items)
    suspect_N = np.array([item.suspect or 0 for item in items], dtype=np.int64)
    control_NK = np.array([item.controls for item in items], dtype=np.int64)
    p_K = [sign_flip_p((suspect_N - column).tolist()) for column in control_NK.T]
    mean_K = control_NK.mean(axis=0)
    # The nearest control: of equal p-values the one with more in common.
    nearest = max(range(len(p_K)), key=lambda k: (p_K[k], mean_K[k]))
    ones = np.ones(len(items))
    found = difference_interval(suspect_N, ones, control_NK[:, nearest], ones)
    low, high = found.ends or (None, None)
    return Finding(
        test="agreement",
        configuration=planned.configuration,
        tier="support",
        n=len(items),
        statistic=float(suspect_N.mean()),
        null_mean=float(mean_K[nearest]),
        effect=found.value,
        effect_unit="tokens in common, more than with the nearest control",
        effect_low=low,
        effect_high=high,
        p=p_K[nearest],
        log10_p=math.log10(p_K[nearest]),
        assumes=(_SYMMETRIC, _conformal(float(suspect_N.mean()), mean_K.tolist())),
    )


def conformal_p(suspect: float, controls: Sequence[float]) -> float:
    """Return (1 + controls at least as near) / (K + 1): the suspect's rank among the controls."""
    return (1 + sum(control >= suspect for control in controls)) / (len(controls) + 1)


def common_prefix(one: Sequence[int], other: Sequence[int], longest: int) -> int:
    """Return how many first ids of two answers are the same, at most `longest`."""
    pairs = zip(one[:longest], other[:longest], strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other), longest))


def _conformal(suspect: float, controls: Sequence[float]) -> str:
    p, floor = conformal_p(suspect, controls), 1 / (len(controls) + 1)
    return (
        f"ranked among its {len(controls)} controls the suspect has p = {p:.3g}, and could not "
        f"have less than {floor:.3g}, if it were one more of their kind"
    )


def _check(planned: AgreementPlanned, items: Sequence[AgreementItem]) -> None:
    check_order(items, len(planned.prompts), whole=True)
    for item, prompt in zip(items, planned.prompts, strict=True):
        if item.prompt != prompt:
            raise refuse_record(item.index, "answers another prompt than the plan's")
        lengths = [*item.controls, item.suspect or 0]
        fits = len(item.controls) == len(planned.controls) and max(lengths) <= planned.longest
        if not fits or item.answered == (item.suspect is None):
            raise refuse_record(
                item.index,
                "does not have a length for the suspect where it answered, and one for each "
                "control",
            )
