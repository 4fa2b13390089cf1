"""Agreement: does a suspect go along with the teacher's greedy answers further than controls do?

One number a prompt: how many first tokens of the greedy answers are the same. Prompts that the
teacher answers alike agree or disagree at once, and are one observation. It speaks for something
and accuses nobody (docs/methods/trace-ancestry.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.errors import PotstillError
from potstill.stats.bootstrap import difference_interval
from potstill.stats.signs import sign_flip_p
from potstill.text.counts import many
from potstill.trace.alike import Likeness, clusters_of
from potstill.trace.finding import Finding, TraceRecord, is_none
from potstill.trace.items import Outcome, TraceItem, check_order, refuse_record

# Of fewer clusters than this nothing follows: their signs give no p below one in a million.
FEWEST_CLUSTERS = 20

_SYMMETRIC = (
    "signs are as good as coins where suspect and control are alike, which 'no nearer to the "
    "teacher than the control' does not say"
)
_INDEPENDENT = (
    "prompts that the teacher answers alike (one first token, or one loop) are one observation, "
    "and which of suspect and control is nearer for one such cluster says nothing of another"
)


class AgreementPlanned(TraceRecord):
    """Which prompts are answered greedily by the teacher, the suspect and every control.

    `prompts` are the ids of the prompts' digests in the plan, `longest` the most tokens that are
    compared, `controls` the identities of models known not to be distilled from the teacher, which
    read the teacher's tokens as the suspect does. `answers` is the digest of the teacher's answers,
    and `clusters` says by number, in the order in which they come up, which prompts it answers
    alike. Both are None in plans of before there were clusters: there each prompt stands alone.
    """

    test: Literal["agreement"] = "agreement"
    configuration: str = "agreement"
    teacher: str
    prompts: tuple[str, ...] = Field(min_length=1)
    longest: int = Field(64, ge=1)
    controls: tuple[str, ...] = Field(min_length=1)
    # Left out where they are None, so that the digests of older plans stay.
    answers: str | None = Field(None, exclude_if=is_none)
    clusters: tuple[int, ...] | None = Field(None, exclude_if=is_none)

    needs: ClassVar[frozenset[str]] = frozenset({"answers", "token_ids"})

    @model_validator(mode="after")
    def _one_cluster_a_prompt(self) -> AgreementPlanned:
        found = self.clusters
        if (found is None) != (self.answers is None):
            raise ValueError("clusters come from answers of the teacher, whose digest stands by")
        if found is not None:
            coming_up = list(dict.fromkeys(found))
            if len(found) != len(self.prompts) or coming_up != list(range(len(coming_up))):
                raise ValueError("each prompt has a cluster, numbered in the order of coming up")
        return self

    @model_validator(mode="after")
    def _controls_are_others(self) -> AgreementPlanned:
        if self.teacher in self.controls:
            raise PotstillError(
                "a control of the agreement is the teacher itself, and nobody goes along with the "
                "teacher further than that; take it out of controls"
            )
        return self

    @property
    def clusters_N(self) -> NDArray[np.int64]:
        """The cluster of each prompt; without any each prompt is one."""
        alone = range(len(self.prompts))
        return np.array(alone if self.clusters is None else self.clusters, dtype=np.int64)


class AgreementItem(TraceItem):
    """How many first tokens of a prompt's greedy answers are the teacher's.

    `suspect` is None where it gave no answer; that counts as nothing in common. `controls` are in
    the order of the plan. `likeness` is what makes the teacher's answer like others.
    """

    prompt: str
    outcome: Outcome = "answered"
    suspect: int | None = Field(None, ge=0)
    controls: tuple[int, ...]
    likeness: Likeness | None = Field(None, exclude_if=is_none)


def agreement_finding(
    planned: AgreementPlanned, items: Sequence[AgreementItem], digest: str
) -> Finding:
    """Return what agreement comes to, with the control that comes nearest to the suspect.

    p is the greatest over the controls, by the signs of whole clusters of prompts. Of too few
    clusters nothing follows. Nothing is drawn, so that `digest` changes nothing.
    """
    _check(planned, items)
    cluster_N, ones_N = planned.clusters_N, np.ones(len(items), dtype=np.int64)
    suspect_N = np.array([item.suspect or 0 for item in items], dtype=np.int64)
    control_NK = np.array([item.controls for item in items], dtype=np.int64)
    suspect_C, control_CK, size_C = (
        sums_by(cluster_N, values) for values in (suspect_N, control_NK, ones_N)
    )
    p_K = [sign_flip_p((suspect_C - column).tolist()) for column in control_CK.T]
    mean_K = control_NK.mean(axis=0)
    # The nearest control: of equal p-values the one with more in common.
    nearest = max(range(len(p_K)), key=lambda k: (p_K[k], mean_K[k]))
    found = difference_interval(suspect_C, size_C, control_CK[:, nearest], size_C)
    low, high = found.ends or (None, None)
    grouped = planned.clusters is not None
    conformal = _conformal(float(suspect_N.mean()), mean_K.tolist())
    return Finding(
        test="agreement",
        configuration=planned.configuration,
        tier="support",
        n=len(items),
        clusters=len(size_C) if grouped else None,
        controls=len(p_K) if grouped else None,
        statistic=float(suspect_N.mean()),
        null_mean=float(mean_K[nearest]),
        effect=found.value,
        effect_unit="tokens in common, more than with the nearest control",
        effect_low=low,
        effect_high=high,
        p=p_K[nearest],
        log10_p=math.log10(p_K[nearest]),
        void=too_few(len(items), len(size_C)) if grouped else None,
        assumes=(_SYMMETRIC, *((_INDEPENDENT,) if grouped else ()), conformal),
    )


def sums_by(cluster_N: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the sums of values (N, or N rows) over each cluster; clusters are numbered from 0."""
    sums = np.zeros((int(cluster_N.max()) + 1, *values.shape[1:]), dtype=np.int64)
    np.add.at(sums, cluster_N, values)
    return sums


def too_few(prompts: int, clusters: int) -> str | None:
    """Return why nothing follows of so few clusters; None where they are enough."""
    if clusters >= FEWEST_CLUSTERS:
        return None
    return (
        f"the teacher answers the {many(prompts, 'prompt')} in {many(clusters, 'way')} that can "
        f"be told apart, and {FEWEST_CLUSTERS} are the least: whoever goes along with one or two "
        "of them agrees everywhere; plan prompts whose answers begin and go on differently"
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
    if planned.clusters is not None:
        _check_clusters(planned.clusters, items)


def _check_clusters(planned: Sequence[int], items: Sequence[AgreementItem]) -> None:
    """Raise PotstillError where the teacher's answers make other clusters than the plan's."""
    known = [item.likeness for item in items if item.likeness is not None]
    if len(known) < len(items):
        lacking = next(item.index for item in items if item.likeness is None)
        raise refuse_record(lacking, "does not say how the teacher's answer begins and goes on")
    for at, (cluster, own) in enumerate(zip(planned, clusters_of(known), strict=True)):
        if cluster != own:
            raise refuse_record(at, "has an answer of the teacher of another cluster than the plan")
