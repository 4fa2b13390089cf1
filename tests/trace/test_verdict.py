"""What may be claimed: tiers apart, alpha spent over all that was tried, limits named."""

from __future__ import annotations

import math
import re
from pathlib import Path

import bundles
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.trace.agreement import AgreementPlanned
from potstill.trace.finding import Finding
from potstill.trace.limits import DetectionLimit
from potstill.trace.plan import (
    ChainPlace,
    FixedPlan,
    JointTest,
    TracePlan,
    Tried,
)
from potstill.trace.spending import e_of_p, share_after, times_for
from potstill.trace.timestamps import Stamp
from potstill.trace.twins import ServedExchange, TwinsPlanned
from potstill.trace.verdict import Custody, Verdict, order_of_events, verdict_of
from potstill.trace.weights import Shape, WeightsPlanned
from potstill.trace.wording import e_text, example_sentence, p_text

SHAPE = Shape(blocks=2, hidden=4, ffn=8, readers=2)
WEIGHTS = WeightsPlanned(parent="p", parent_shape=SHAPE, suspect_shape=SHAPE)
TWINS = TwinsPlanned(
    configuration="t",
    exchanges=(ServedExchange(prompt="a", served="b", twins=3),),
    snapshot="s",
    temperature=1.0,
)
PLACE = ChainPlace(records=1, head="h", tried=Tried())


def fixed(*tests: object, tried: Tried | None = None, **more: object) -> FixedPlan:
    place = PLACE if tried is None else PLACE.model_copy(update={"tried": tried})
    made: TracePlan = bundles.plan(place, tests, **more)  # type: ignore[arg-type]
    return FixedPlan(made, made.digest)


def finding(test: object, log10_p: float, **more: object) -> Finding:
    values = {
        "test": test.test,  # type: ignore[attr-defined]
        "configuration": test.configuration,  # type: ignore[attr-defined]
        "tier": "descent" if isinstance(test, WeightsPlanned) else "proof",
        "n": 10,
        "statistic": 1.0,
        "null_mean": 0.5,
        "effect": 1.0,
        "effect_unit": "units",
        "p": 10**log10_p,
        "log10_p": log10_p,
    }
    return Finding.model_validate({**values, **more})


def verdict(plan: FixedPlan, *findings: Finding, stamps: tuple[Stamp, ...] = ()) -> Verdict:
    custody = Custody(created_at=bundles.WHEN, potstill="0", logs=(), stamps=stamps)
    return verdict_of(plan, findings, custody)


def test_a_watermark_accuses_and_weights_do_not() -> None:
    mark = bundles.planned()
    plan = fixed(mark, WEIGHTS)
    accused = verdict(plan, finding(mark, -12), finding(WEIGHTS, -0.1))
    assert accused.accused and accused.headline == accused.claims[0].sentence
    derived = verdict(plan, finding(mark, -0.1), finding(WEIGHTS, -40))
    assert not derived.accused
    assert "derived weights" in derived.headline
    assert "Nothing was found that says that their model was trained on outputs" in derived.headline
    both = verdict(plan, finding(mark, -12), finding(WEIGHTS, -40))
    assert both.accused and "Apart from that" in both.headline


def test_a_tier_pays_for_its_own_tests_alone() -> None:
    mark = bundles.planned()
    claims = verdict(
        fixed(mark, WEIGHTS, tried=Tried(plans=3, proof=3, descent=0)),
        finding(mark, -12),
        finding(WEIGHTS, -12),
    ).claims
    assert [claim.times for claim in claims] == [4 * 5, 1 * 2]


def test_a_support_finding_never_accuses_whatever_its_p() -> None:
    plan = fixed(WEIGHTS.model_copy(update={"how": "shuffled"}))
    (test,) = plan.plan.planned
    found = verdict(plan, finding(test, -50, tier="support"))
    assert not found.accused and found.claims[0].tier == "support"


def test_a_finding_may_not_claim_more_than_its_test() -> None:
    with pytest.raises(PotstillError, match="claims the tier proof, and descent is the strongest"):
        verdict(fixed(WEIGHTS), finding(WEIGHTS, -50, tier="proof"))


def test_findings_of_another_plan_are_refused() -> None:
    with pytest.raises(PotstillError, match="not those of the plan's tests"):
        verdict(fixed(WEIGHTS), finding(bundles.planned(), -5))


def test_resemblance_says_how_often_one_of_the_controls_kind_is_nearest() -> None:
    planned = AgreementPlanned(teacher="t", prompts=("a",), controls=("b", "c", "d"))
    near = finding(planned, -30.0, tier="support", clusters=40, controls=3)
    made = verdict(fixed(planned), near)
    said = made.claims[0].sentence
    assert not made.accused and "more than each control does" in said
    assert made.claims[0].example is None
    assert (
        "Among 3 controls and one more model of their kind, that one is nearest in 1 of 4" in said
    )
    far = verdict(fixed(planned), finding(planned, -0.1, tier="support", clusters=40, controls=3))
    assert "nearest" not in far.claims[0].sentence
    # As verdicts were before there were clusters.
    before = verdict(fixed(planned), finding(planned, -30.0, tier="support"))
    assert before.claims[0].sentence.endswith("That supports a suspicion, and accuses nobody.")
    for spelt in (fixed(planned).plan.as_bytes().decode(), before.model_dump_json()):
        assert "clusters" not in spelt and "answers" not in spelt


def test_a_void_test_claims_nothing() -> None:
    mark = bundles.planned()
    found = verdict(fixed(mark), finding(mark, -50, void="the controls show it too"))
    assert not found.accused and found.claims[0].outcome == "void"
    assert "Nothing follows" in found.headline and "the controls show it too" in found.strength


LIMIT = {
    "test": "watermark-text",
    "configuration": "2026-12",
    "parameters": 1_000_000,
    "tokens": 40_000,
    "alpha": 1e-4,
    "points": [
        {"what": "with all of it marked", "share": 1.0, "found": 2, "of": 2, "scores": 1_900},
        {"what": "with 5% of it marked", "share": 0.05, "found": 0, "of": 3, "scores": 900},
    ],
    "innocents_found": 0,
    "innocents": 52,
    "measured": "a zoo",
}
SMALLER = {**LIMIT, "parameters": 1_000, "tokens": None, "innocents": 0, "measured": "another"}


@pytest.mark.parametrize(
    ("size", "said"),
    [
        (10_000_000, "A suspect that learnt less may go unseen"),
        (10_000_001, "more than ten times the largest of these sizes, and its limit is unknown"),
        (None, "size is not known"),
    ],
)
def test_what_was_not_detected_names_its_limit(size: int | None, said: str) -> None:
    mark = bundles.planned()
    plan = fixed(
        mark,
        limits=tuple(DetectionLimit.model_validate(one) for one in (LIMIT, SMALLER)),
        suspect=bundles.suspect(parameters=size),
    )
    (limit,) = verdict(plan, finding(mark, -0.2)).limits
    assert said in limit
    assert (
        "watermark-text (2026-12): found were, at p 0.0001 of controls with 1,000,000 parameters "
        "that learnt 40,000 tokens of text: 2 of 2 with all of it marked (n 1,900), 0 of 3 with 5% "
        "of it marked (n 900), 0 of 52 innocents (a zoo); at p 0.0001 of controls with 1,000 "
        "parameters: 2 of 2 with all of it marked (n 1,900), 0 of 3 with 5% of it marked (n 900) "
        "(another). Here n is "
    ) in limit


def test_without_controls_the_limit_is_unknown() -> None:
    mark = bundles.planned()
    (limit,) = verdict(fixed(mark), finding(mark, -0.2)).limits
    assert "is unknown" in limit


def test_what_was_found_has_no_limit_and_an_example() -> None:
    mark = bundles.planned()
    found = verdict(fixed(mark), finding(mark, -12))
    assert found.limits == () and "1% likely before" in str(found.claims[0].example)


@pytest.mark.parametrize(
    ("stamps", "said"),
    [
        ((), "owner's word: no timestamp of the plan was checked."),
        (
            (Stamp(file="f", digest="d", checked=False),),
            "A timestamp is attached, which nobody has checked here.",
        ),
        (
            (
                Stamp(
                    file="f",
                    digest="d",
                    checked=True,
                    subject="the plan",
                    time=bundles.WHEN,
                    authority="CN=A",
                ),
            ),
            "The plan was seen by CN=A by 2026-12-01 12:00:00 UTC. The raw logs begin from",
        ),
        (
            (
                Stamp(
                    file="f",
                    digest="d",
                    checked=True,
                    subject="the digest of the key 2026-12",
                    time=bundles.WHEN,
                    authority="CN=A",
                ),
            ),
            "The order of events is the owner's word",
        ),
    ],
)
def test_the_order_of_events_is_the_owner_s_word_without_a_timestamp_of_the_plan(
    stamps: tuple[Stamp, ...], said: str
) -> None:
    assert said in order_of_events(stamps)


def test_fisher_stands_only_where_it_may() -> None:
    mark = bundles.planned()
    under_it = TWINS.model_copy(update={"marked_with": "green"})
    plan = fixed(mark, under_it, joint=JointTest(watermark=0, twins=1))
    joint = verdict(plan, finding(mark, -3), finding(TWINS, -2)).joint
    assert joint is not None
    assert joint.log10_p == pytest.approx(math.log10(1e-5 * (1 - math.log(1e-5))))
    for bad in (
        (finding(mark, -3, sequential=True), finding(TWINS, -2)),
        (finding(mark, -3), finding(TWINS, -2, sequential=True)),
    ):
        with pytest.raises(PotstillError, match="none that may be combined"):
            verdict(plan, *bad)
    unmarked = fixed(mark, TWINS, joint=JointTest(watermark=0, twins=1))
    swapped = fixed(mark, under_it, joint=JointTest(watermark=1, twins=0))
    for refused in (unmarked, swapped):
        with pytest.raises(PotstillError, match="none that may be combined"):
            verdict(refused, finding(mark, -3), finding(TWINS, -2))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=30))
def test_what_all_plans_spend_never_exceeds_alpha(plans: list[int]) -> None:
    before, spent = 0, 0.0
    for tests in plans:
        spent += tests / times_for(tests, before)
        before += tests
    assert spent == pytest.approx(1 - 1 / (before + 1))


def test_an_owner_who_goes_on_until_one_accuses_is_held_to_alpha() -> None:
    """20,000 owners with 30 plans of two tests each, at alpha 0.05, all nulls true."""
    draw = np.random.default_rng(27)
    p = draw.random((20_000, 30, 2))
    level = np.array([0.05 / times_for(2, 2 * k) for k in range(30)])[None, :, None]
    accused = (p <= level).any(axis=(1, 2)).mean()
    # 0.05 (1 - 1/61) is expected; the interval is 99.9% of 20,000 trials.
    assert 0.0441 < accused < 0.0545
    # Dividing by the number of tests so far alone would not hold it.
    naive = np.array([0.05 / (2 * k + 2) for k in range(30)])[None, :, None]
    assert (p <= naive).any(axis=(1, 2)).mean() > 0.1


def test_an_e_value_of_p_is_one_in_the_mean() -> None:
    # The integral of 1 / (2 sqrt p) over (0, 1), by midpoints of p = x^2.
    x = (np.arange(100_000) + 0.5) / 100_000
    e = 10 ** np.array([e_of_p(2 * math.log10(v)) for v in x[::100]])
    assert np.mean(e * 2 * x[::100]) == pytest.approx(1, rel=1e-6)


def test_the_reader_s_example_is_bayes() -> None:
    assert share_after(math.log10(99), 0.01) == pytest.approx(0.5)
    assert "ends at 50%" in example_sentence(math.log10(99))
    assert "more than 99.9999" in example_sentence(12)


@given(st.floats(4, 400))
def test_the_reader_s_example_is_never_certain(log10_e: float) -> None:
    said = re.fullmatch(r".* ends at more than ([0-9.]+)%\.", example_sentence(log10_e))
    assert said is not None
    shown, true = float(said[1]), 100 * share_after(log10_e, 0.01)
    assert shown < 100 and shown <= true


@pytest.mark.parametrize(
    ("log10", "text"),
    [(0, "1"), (-1.5, "0.032"), (-3.2, "6.3e-4"), (-400.5, "3.2e-401"), (-4, "1.0e-4")],
)
def test_p_of_any_size_is_spelt(log10: float, text: str) -> None:
    assert p_text(log10) == text


@pytest.mark.parametrize(
    ("log10", "text"), [(0, "1"), (3.5, "3,162"), (12, "1.0e12"), (-5, "1.0e-5")]
)
def test_e_of_any_size_is_spelt(log10: float, text: str) -> None:
    assert e_text(log10) == text


def test_the_reference_page_is_up_to_date() -> None:
    from potstill.trace.verdict_docs import verdict_page

    page = Path(__file__).parents[2] / "docs" / "reference" / "verdict.md"
    assert page.read_text(encoding="utf-8") == verdict_page(), "run: make docs"


def test_an_e_value_is_divided_in_full_where_p_times_as_much_is_one() -> None:
    plan = fixed(TWINS, tried=Tried(plans=1, suspects=1, checkpoints=1, proof=2))
    (claim,) = verdict(plan, finding(TWINS, -0.5, log10_e=1.0)).claims
    assert claim.times == 3 * 4
    assert claim.log10_p == 0
    assert claim.log10_e == pytest.approx(1 - math.log10(12))
