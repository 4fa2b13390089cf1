"""Figures with their intervals from what was measured of each prompt: arithmetic, no model.

An evaluation is summed up by it, and whoever checks one sums up the stored items again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from math import log
from typing import TypedDict

import numpy as np

from potstill.stats.bootstrap import (
    RESAMPLES,
    Floats,
    Interval,
    difference_interval,
    perplexity_interval,
    quotient_interval,
    ratio_interval,
)
from potstill.stats.rounding import SMALLEST_KL
from potstill.work.figures import Estimate
from potstill.work.items import StudentItems, TextItems


class Resampling(TypedDict):
    """How intervals are taken."""

    resamples: int
    seed: int


@dataclass(frozen=True)
class FidelitySums:
    """Sums over response positions, one number a sequence (or a prompt).

    `kl`: KL(teacher || student) in nats. `agree`: positions where both find the same token
    likeliest. `student_nll`, `teacher_nll`: negative log-likelihood of the response in nats,
    the teacher's under the distribution that the student is compared with; `teacher_own_nll`:
    under the teacher's distribution as it is, before any removed token's mass is moved.
    `mass_removed`: the teacher's probability on tokens that the student's vocabulary lacks.
    `tokens`: positions.
    """

    kl: Floats
    agree: Floats
    student_nll: Floats
    teacher_nll: Floats
    teacher_own_nll: Floats
    mass_removed: Floats
    tokens: Floats

    def by_prompt(self, prompt_ids: Sequence[str]) -> FidelitySums:
        """Return the sums a prompt, in order of first appearance.

        Several responses to one prompt are not independent, so intervals are over prompts.
        """
        group = grouping(prompt_ids)
        return FidelitySums(**{f.name: summed(getattr(self, f.name), group) for f in fields(self)})

    def items(self) -> StudentItems:
        """Return what is kept of sums a prompt."""
        return StudentItems(
            tokens=_kept(self.tokens),
            nll=_kept(self.student_nll),
            kl=_kept(self.kl),
            agree=_kept(self.agree),
            teacher_nll=_kept(self.teacher_nll),
            mass_removed=_kept(self.mass_removed),
        )


def grouping(prompt_ids: Sequence[str]) -> list[int]:
    """Return for each sequence the number of its prompt, counted by first appearance."""
    numbers: dict[str, int] = {}
    return [numbers.setdefault(prompt_id, len(numbers)) for prompt_id in prompt_ids]


def summed(values: Floats, group: Sequence[int]) -> Floats:
    """Return the sum of values in each group."""
    return np.bincount(group, weights=values).astype(np.float64)


def text_items(sums: Mapping[str, FidelitySums], teacher_nll: Floats, sizes: Floats) -> TextItems:
    """Return what is kept of students' sums a prompt, and of the text that they are over."""
    students = {name: one.items() for name, one in sums.items()}
    return TextItems(bytes=_kept(sizes), teacher_nll=_kept(teacher_nll), students=students)


def likelihood_items(
    nll: Mapping[str, Floats], tokens: Mapping[str, Floats], sizes: Floats
) -> TextItems:
    """Return what is kept where a teacher's text is all there is of it."""
    students = {k: StudentItems(tokens=_kept(tokens[k]), nll=_kept(nll[k])) for k in nll}
    return TextItems(bytes=_kept(sizes), students=students)


def summarise(
    sums: FidelitySums, *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return kl_per_token, top1_agreement and perplexity of a student, over prompts."""
    settings: Resampling = {"resamples": resamples, "seed": seed}
    return _fidelity(sums.items(), settings)


def kl_differences(
    sums: Mapping[str, FidelitySums], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Interval]:
    """Return the student's KL against each baseline's, paired over prompts.

    Keys are student_minus_NAME_kl and student_over_NAME_kl. A baseline whose KL is zero, or no more
    than rounding, has no quotient.
    """
    settings: Resampling = {"resamples": resamples, "seed": seed}
    return _kl_differences({name: one.items() for name, one in sums.items()}, settings)


def model_estimates(column: TextItems, settings: Resampling) -> dict[str, dict[str, Estimate]]:
    """Return the estimates of every model on a text: of the teacher too, where it was read."""
    found = {
        name: _estimates(_fidelity(one, settings))
        | {"bits_per_byte": _bits_per_byte(one.nll, column.bytes, settings)}
        | _own_text(one, settings)
        for name, one in column.students.items()
    }
    some = next(iter(column.students.values()))
    if column.teacher_nll is not None and some.teacher_nll is not None:
        perplexity = perplexity_interval(some.teacher_nll, some.tokens, **settings)
        found["teacher"] = {
            "perplexity": Estimate.of(perplexity),
            "bits_per_byte": _bits_per_byte(column.teacher_nll, column.bytes, settings),
        }
    return found


def difference_estimates(column: TextItems, settings: Resampling) -> dict[str, Estimate]:
    """Return the student against its baselines: by KL, or by likelihood where text is all."""
    student, untrained = column.students["student"], column.students.get("untrained")
    if student.kl is not None:
        differences = _kl_differences(column.students, settings)
        return _estimates(differences | _own_ratio(student, untrained, settings))
    if untrained is None:
        return {}
    pair = (student.nll, student.tokens, untrained.nll, untrained.tokens)
    return {"student_minus_untrained_nll": Estimate.of(difference_interval(*pair, **settings))}


def mass_removed_estimate(column: TextItems, settings: Resampling) -> Estimate:
    """Return the teacher's probability on tokens that its student lacks, a position."""
    some = next(iter(column.students.values()))
    assert some.mass_removed is not None
    return Estimate.of(ratio_interval(some.mass_removed, some.tokens, **settings))


def greedy_estimates(column: TextItems, settings: Resampling) -> dict[str, dict[str, Estimate]]:
    """Return the estimates of students on the teacher's greedy text."""
    return {k: _estimates(_fidelity(one, settings)) for k, one in column.students.items()}


def _fidelity(one: StudentItems, settings: Resampling) -> dict[str, Interval]:
    found = {}
    if one.kl is not None and one.agree is not None:
        found["kl_per_token"] = ratio_interval(one.kl, one.tokens, **settings)
        found["top1_agreement"] = ratio_interval(one.agree, one.tokens, **settings)
    return found | {"perplexity": perplexity_interval(one.nll, one.tokens, **settings)}


def _own_text(one: StudentItems, settings: Resampling) -> dict[str, Estimate]:
    """Return a student's divergence on what it wrote itself, where that was measured."""
    if one.own_kl is None or one.own_tokens is None:
        return {}
    return {"own_kl_per_token": Estimate.of(ratio_interval(one.own_kl, one.own_tokens, **settings))}


def _own_ratio(
    student: StudentItems, untrained: StudentItems | None, settings: Resampling
) -> dict[str, Interval]:
    """Return the student's divergence on own text over the untrained one's, paired over prompts."""
    if untrained is None or student.own_kl is None or student.own_tokens is None:
        return {}
    if untrained.own_kl is None or untrained.own_tokens is None:
        return {}
    if np.sum(untrained.own_kl) < SMALLEST_KL * np.sum(untrained.own_tokens):
        return {}
    pair = (student.own_kl, student.own_tokens, untrained.own_kl, untrained.own_tokens)
    return {"student_over_untrained_own_kl": quotient_interval(*pair, **settings)}


def _kl_differences(
    students: Mapping[str, StudentItems], settings: Resampling
) -> dict[str, Interval]:
    student = students["student"]
    found: dict[str, Interval] = {}
    for name, other in students.items():
        if name == "student" or student.kl is None or other.kl is None:
            continue
        pair = (student.kl, student.tokens, other.kl, other.tokens)
        found[f"student_minus_{name}_kl"] = difference_interval(*pair, **settings)
        if np.sum(other.kl) >= SMALLEST_KL * np.sum(other.tokens):
            found[f"student_over_{name}_kl"] = quotient_interval(*pair, **settings)
    return found


def _bits_per_byte(nll: Sequence[float], sizes: Sequence[float], settings: Resampling) -> Estimate:
    return Estimate.of(ratio_interval(np.asarray(nll) / log(2), sizes, **settings))


def _estimates(intervals: Mapping[str, Interval]) -> dict[str, Estimate]:
    return {name: Estimate.of(interval) for name, interval in intervals.items()}


def _kept(values: Floats) -> tuple[float, ...]:
    return tuple(values.tolist())
