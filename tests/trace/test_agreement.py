"""Agreement: support alone, against the nearest of the controls."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.stats.signs import sign_flip_p
from potstill.trace.agreement import (
    AgreementItem,
    AgreementPlanned,
    agreement_finding,
    common_prefix,
    conformal_p,
)


def planned(prompts: int = 40, controls: int = 2, **more: Any) -> AgreementPlanned:
    return AgreementPlanned(
        teacher="blake3:t",
        prompts=tuple(f"p{i}" for i in range(prompts)),
        controls=tuple(f"blake3:{k}" for k in range(controls)),
        **more,
    )


def items_of(suspect: Any, *controls: Any) -> list[AgreementItem]:
    return [
        AgreementItem(index=i, prompt=f"p{i}", suspect=int(s), controls=tuple(map(int, c)))
        for i, (s, *c) in enumerate(zip(suspect, *controls, strict=True))
    ]


def test_nearer_than_every_control_is_support() -> None:
    draw = np.random.default_rng(1)
    far, near = draw.integers(0, 5, 40), draw.integers(0, 10, 40)
    suspect = near + draw.integers(0, 12, 40)
    finding = agreement_finding(planned(), items_of(suspect, far, near), "aa")
    assert finding.tier == "support"
    assert finding.p == max(sign_flip_p((suspect - c).tolist()) for c in (far, near))
    assert finding.p == sign_flip_p((suspect - near).tolist()) < 1e-6
    assert finding.null_mean == pytest.approx(near.mean())
    assert finding.effect == pytest.approx(suspect.mean() - near.mean())
    assert finding.effect_low is not None and finding.effect_high is not None
    assert 0 < finding.effect_low < finding.effect < finding.effect_high
    assert any("p = 0.333, and could not have less than 0.333" in a for a in finding.assumes)


def test_one_control_that_is_as_near_is_enough_for_nothing() -> None:
    draw = np.random.default_rng(2)
    suspect = draw.integers(0, 20, 40)
    finding = agreement_finding(planned(), items_of(suspect, suspect * 0, suspect), "aa")
    assert finding.p == 1 and finding.log10_p == 0 and finding.effect == 0


def test_a_suspect_that_gives_nothing_has_nothing_in_common() -> None:
    items = items_of([5] * 40, [3] * 40, [2] * 40)
    silent = [i.model_copy(update={"suspect": None, "outcome": "error"}) for i in items]
    finding = agreement_finding(planned(), silent, "aa")
    assert finding.statistic == 0 and finding.p == 1


@given(st.lists(st.floats(0, 9), min_size=1, max_size=8), st.floats(0, 9))
def test_the_conformal_p_is_a_rank(controls: list[float], suspect: float) -> None:
    found = conformal_p(suspect, controls)
    assert 1 / (len(controls) + 1) <= found <= 1
    assert found * (len(controls) + 1) == pytest.approx(1 + sum(c >= suspect for c in controls))


@given(st.lists(st.integers(0, 3), max_size=9), st.lists(st.integers(0, 3), max_size=9))
def test_a_common_prefix_is_one(one: list[int], other: list[int]) -> None:
    whole = len(list(itertools.takewhile(lambda ab: ab[0] == ab[1], zip(one, other, strict=False))))
    for longest in (1, 4, 20):
        assert common_prefix(one, other, longest) == min(whole, longest)


def test_items_that_are_not_the_plans_are_refused() -> None:
    items = items_of([5] * 40, [3] * 40, [2] * 40)
    for wrong in (items[:-1], items[::-1]):
        with pytest.raises(PotstillError, match="the raw log"):
            agreement_finding(planned(), wrong, "aa")
    other = [items[0].model_copy(update={"prompt": items[1].prompt}), *items[1:]]
    with pytest.raises(PotstillError, match="record 0 of the raw log answers another prompt"):
        agreement_finding(planned(), other, "aa")
    for update in (
        {"suspect": 65},
        {"suspect": None},
        {"outcome": "refused"},
        {"controls": (3,)},
        {"controls": (3, 65)},
    ):
        broken = [*items[:3], items[3].model_copy(update=update), *items[4:]]
        with pytest.raises(PotstillError, match="record 3 of the raw log does not have a length"):
            agreement_finding(planned(), broken, "aa")


def test_the_teacher_is_no_control() -> None:
    with pytest.raises(PotstillError, match="a control of the agreement is the teacher itself"):
        AgreementPlanned(teacher="blake3:t", prompts=("p",), controls=("blake3:c", "blake3:t"))
