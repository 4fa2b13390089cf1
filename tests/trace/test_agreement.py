"""Agreement: support alone, against the nearest of the controls."""

from __future__ import annotations

import itertools
import json
import lzma
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.canonical import digest_of
from potstill.errors import PotstillError
from potstill.stats.exact import clopper_pearson
from potstill.stats.signs import sign_flip_p
from potstill.trace.agreement import (
    FEWEST_CLUSTERS,
    AgreementItem,
    AgreementPlanned,
    agreement_finding,
    common_prefix,
    conformal_p,
    sums_by,
)
from potstill.trace.alike import Likeness
from potstill.trace.finding import Finding


def planned(prompts: int = 40, controls: int = 2, **more: Any) -> AgreementPlanned:
    if more.get("clusters") is not None:
        more.setdefault("answers", "blake3:a")
    return AgreementPlanned(
        teacher="blake3:t",
        prompts=tuple(f"p{i}" for i in range(prompts)),
        controls=tuple(f"blake3:{k}" for k in range(controls)),
        **more,
    )


def clustered(items: list[AgreementItem], clusters: Sequence[int]) -> list[AgreementItem]:
    """Return items whose answers of the teacher begin by their clusters."""
    return [
        item.model_copy(update={"likeness": Likeness(opening=cluster)})
        for item, cluster in zip(items, clusters, strict=True)
    ]


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


def flipped(differences: list[int], clusters: Sequence[int]) -> float:
    """Return the p of all ways to flip whole clusters, one by one."""
    total, least, ways = sum(differences), 0, 0
    for signs in itertools.product((1, -1), repeat=max(clusters) + 1):
        at = sum(signs[c] * d for c, d in zip(clusters, differences, strict=True))
        least, ways = least + (at >= total), ways + 1
    return least / ways


@given(st.data())
def test_whole_clusters_are_flipped(data: st.DataObject) -> None:
    raw = data.draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))
    clusters = [list(dict.fromkeys(raw)).index(c) for c in raw]
    n = len(clusters)
    lengths = st.lists(st.integers(0, 9), min_size=n, max_size=n)
    suspect, *controls = (data.draw(lengths) for _ in range(3))
    plan = planned(n, clusters=tuple(clusters))
    finding = agreement_finding(plan, clustered(items_of(suspect, *controls), clusters), "aa")
    expected = [
        flipped([s - c for s, c in zip(suspect, column, strict=True)], clusters)
        for column in controls
    ]
    assert finding.p == pytest.approx(max(expected), rel=1e-12)
    assert finding.n == n and finding.clusters == max(clusters) + 1 and finding.controls == 2
    assert (finding.void is None) == (finding.clusters >= FEWEST_CLUSTERS)


def test_clusters_that_are_single_prompts_change_no_figure() -> None:
    draw = np.random.default_rng(3)
    items = items_of(draw.integers(0, 9, 40), draw.integers(0, 6, 40), draw.integers(0, 7, 40))
    alone = agreement_finding(planned(), items, "aa")
    clusters = range(40)
    one_each = agreement_finding(planned(clusters=tuple(clusters)), clustered(items, clusters), "")
    figures = ("n", "statistic", "null_mean", "effect", "effect_low", "effect_high", "p", "void")
    assert [getattr(alone, f) for f in figures] == [getattr(one_each, f) for f in figures]
    assert one_each.clusters == 40 and alone.clusters is None


def test_a_hundred_prompts_in_one_loop_are_one_observation() -> None:
    # One loop of the language, which the suspect shares and the controls do not.
    items = items_of([32] * 100, [0] * 100, [1] * 100)
    assert agreement_finding(planned(100), items, "aa").p < 1e-29
    found = agreement_finding(planned(100, clusters=(0,) * 100), clustered(items, [0] * 100), "aa")
    assert found.p == 0.5 and found.clusters == 1
    assert found.void is not None and "the 100 prompts in 1 way that can be told" in found.void


def test_level_holds_with_clusters_and_breaks_without() -> None:
    # In each cluster suspect or control knows the teacher's loop, by a fair coin.
    draw, clusters = np.random.default_rng(20_261_130), np.repeat(np.arange(24), 4)
    with_clusters, without = [], []
    for _ in range(4_000):
        lengths = 16 * draw.integers(0, 2, (2, 24))[:, clusters] + draw.integers(0, 5, (2, 96))
        differences = lengths[0] - lengths[1]
        with_clusters.append(sign_flip_p(sums_by(clusters, differences).tolist()))
        without.append(sign_flip_p(differences.tolist()))
    for level in (0.05, 0.01):
        low, high = clopper_pearson(int(np.sum(np.array(with_clusters) <= level)), 4_000, 0.999)
        assert low <= level and 0.6 * level < high
        assert np.mean(np.array(without) <= level) > 2.5 * level


def test_a_plan_without_clusters_is_the_plan_that_it_was() -> None:
    before = {
        "test": "agreement",
        "configuration": "agreement",
        "teacher": "blake3:t",
        "prompts": ["p0"],
        "longest": 64,
        "controls": ["blake3:0"],
    }
    read = AgreementPlanned.model_validate(before)
    assert read.model_dump(mode="json") == before and read.clusters is None
    assert digest_of(read.model_dump(mode="json"), 32) == digest_of(before, 32)
    item = {"index": 0, "prompt": "p0", "outcome": "answered", "suspect": 3, "controls": [1]}
    kept = AgreementItem.model_validate(item)
    assert kept.model_dump(mode="json") == item
    found = agreement_finding(read, [kept], "aa").model_dump(mode="json")
    assert "clusters" not in found and "controls" not in found
    assert Finding.model_validate(found).clusters is None


@pytest.mark.parametrize("clusters", [(0, 2), (1, 0), (0,), (0, -1)])
def test_clusters_that_no_plan_has_are_refused(clusters: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="numbered in the order of coming up"):
        planned(2, clusters=clusters)
    with pytest.raises(ValueError, match="whose digest stands by"):
        planned(2, clusters=(0, 1), answers=None)


def test_answers_of_another_cluster_than_the_plans_are_refused() -> None:
    items = items_of([5] * 3, [3] * 3, [2] * 3)
    plan = planned(3, clusters=(0, 1, 0))
    with pytest.raises(PotstillError, match="record 0 of the raw log does not say how the teach"):
        agreement_finding(plan, items, "aa")
    with pytest.raises(PotstillError, match="record 2 of the raw log has an answer of the teacher"):
        agreement_finding(plan, clustered(items, [0, 1, 2]), "aa")


def test_the_teacher_is_no_control() -> None:
    with pytest.raises(PotstillError, match="a control of the agreement is the teacher itself"):
        AgreementPlanned(teacher="blake3:t", prompts=("p",), controls=("blake3:c", "blake3:t"))


def test_the_figure_of_single_prompts_on_the_page_is_that_of_the_committed_log() -> None:
    root = Path(__file__).parents[2]
    with lzma.open(root / "benchmarks/results/zoo/base-21/agreement.jsonl.xz") as log:
        rows = [json.loads(line) for line in log]
    differences = [[row["suspect"] - theirs for theirs in row["controls"]] for row in rows]
    p = max(sign_flip_p(column) for column in zip(*differences, strict=True))
    page = (root / "docs/methods/trace-ancestry.md").read_text(encoding="utf-8")
    assert f"p = {p:.0e} for base-21" in page
