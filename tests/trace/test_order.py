"""The training-order test: the true order is one among those of fresh secrets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy.stats import spearmanr

from potstill.errors import PotstillError
from potstill.trace.order import (
    OrderItem,
    OrderPlanned,
    as_far,
    null_secret,
    order_finding,
    order_positions,
    redrawn,
    spearman,
)
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder, plan_steps

SECRET = OrderSecret(bytes(range(32)))
SEED = 270_201
LENGTHS = tuple(np.random.default_rng(SEED).integers(5, 60, 150).tolist())


def planned(**more: Any) -> OrderPlanned:
    given: dict[str, Any] = {
        "secret": SECRET.digest,
        "lengths": LENGTHS,
        "asked": tuple(range(len(LENGTHS))),
        "batch_tokens": 150,
        "epochs": 2.0,
        "redraws": 199,
        "reference": "base",
    }
    return OrderPlanned.model_validate(given | more)


def items_of(
    plan: OrderPlanned, scores: np.ndarray, secret: OrderSecret = SECRET
) -> list[OrderItem]:
    positions = order_positions(plan, secret).tolist()
    return [
        OrderItem(
            index=i,
            row=row,
            score=float(score) - 50.0,
            reference=-50.0,
            position=None if position < 0 else position,
        )
        for i, (row, score, position) in enumerate(zip(plan.asked, scores, positions, strict=True))
    ]


def following(plan: OrderPlanned, noise: float) -> np.ndarray:
    drawn = np.random.default_rng(SEED + 1).standard_normal(len(plan.asked))
    return order_positions(plan, SECRET) + noise * drawn


@given(
    st.lists(st.integers(1, 40), min_size=2, max_size=60),
    st.sampled_from([0.4, 1.0, 1.5, 2.0, 2.25]),
    st.integers(10, 200),
    st.binary(min_size=32, max_size=32).map(OrderSecret),
)
def test_positions_are_the_steps_of_the_last_epoch(
    lengths: list[int], epochs: float, batch_tokens: int, secret: OrderSecret
) -> None:
    plan = planned(
        lengths=lengths, asked=range(len(lengths)), epochs=epochs, batch_tokens=batch_tokens
    )
    whole = plan_steps(lengths, batch_tokens=batch_tokens, epochs=epochs, order=SecretOrder(secret))
    full = int(np.ceil(epochs)) - 1
    before = plan_steps(lengths, batch_tokens=batch_tokens, epochs=full, order=SecretOrder(secret))
    expected = np.full(len(lengths), -1)
    for place, step in enumerate(whole[len(before) :]):
        expected[step] = place
    assert order_positions(plan, secret).tolist() == expected.tolist()


@pytest.mark.parametrize(("quarters", "epoch", "share"), [(1, 0, 0.25), (4, 0, 1.0), (7, 1, 0.75)])
def test_what_was_read_after_training_stopped_does_not_count(
    quarters: int, epoch: int, share: float
) -> None:
    found = order_positions(planned(quarters=quarters), SECRET)
    whole = order_positions(planned(epochs=epoch + 1.0), SECRET)
    taken = int(np.ceil(share * (whole.max() + 1)))
    assert found.max() == taken - 1
    assert np.array_equal(found, np.where(whole < taken, whole, -1))


def test_equal_rows_are_one_and_the_last_reading_counts() -> None:
    same_as = (0, 1, 0, 3, 1, *range(5, len(LENGTHS)))
    plan = planned(same_as=same_as, asked=sorted(set(same_as)))
    single = order_positions(planned(), SECRET)
    found = dict(zip(plan.asked, order_positions(plan, SECRET), strict=True))
    assert found[0] == max(single[0], single[2]) and found[1] == max(single[1], single[4])
    assert found[3] == single[3] and 2 not in found


@given(st.lists(st.integers(-1, 5), min_size=3, max_size=40), st.integers(0, 10**6))
def test_the_correlation_is_scipys_over_rows_that_were_read(
    positions: list[int], seed: int
) -> None:
    scores = np.random.default_rng(seed).integers(0, 9, len(positions)).astype(float)
    place = np.array(positions)
    read = place >= 0
    found = spearman(scores, place)
    if len(set(place[read])) < 2 or len(set(scores[read])) < 2:
        assert found == 0
    else:
        assert found == pytest.approx(spearmanr(scores[read], place[read]).statistic, abs=1e-12)


def test_whoever_follows_the_order_is_found_and_the_others_are_not() -> None:
    plan = planned()
    guilty = order_finding(plan, items_of(plan, following(plan, 20.0)), "aa", SECRET)
    assert guilty.p == 1 / 200 and guilty.tier == "descent" and guilty.statistic > 0.3
    drawn = np.random.default_rng(SEED + 2).standard_normal(len(LENGTHS))
    innocent = order_finding(plan, items_of(plan, drawn), "aa", SECRET)
    assert innocent.p > 0.05
    # One who was trained on the same rows in another order.
    other = order_positions(plan, OrderSecret(bytes(32)))
    assert order_finding(plan, items_of(plan, other.astype(float)), "aa", SECRET).p > 0.05


def test_p_counts_the_fresh_secrets_that_do_as_well() -> None:
    plan = planned()
    scores = following(plan, 120.0)
    finding = order_finding(plan, items_of(plan, scores), "ab")
    drawn = [
        spearman(scores, order_positions(plan, null_secret("ab", "order", b))) for b in range(199)
    ]
    assert redrawn(plan, scores, "ab").tolist() == drawn
    mean = np.mean([*drawn, finding.statistic])
    at_least = sum(abs(d - mean) >= abs(finding.statistic - mean) for d in drawn)
    assert finding.p == (1 + at_least) / 200
    assert 1 < at_least < 199
    assert finding.null_mean == pytest.approx(np.mean(drawn))


def test_rows_that_were_read_first_may_be_the_likelier_ones() -> None:
    plan = planned()
    finding = order_finding(plan, items_of(plan, -following(plan, 20.0)), "aa", SECRET)
    assert finding.p == 1 / 200 and finding.statistic < -0.3


@given(st.lists(st.integers(-20, 20), min_size=2, max_size=30))
def test_each_of_some_correlations_is_farthest_as_often_as_it_may_be(values: list[int]) -> None:
    """The whole argument: whichever of B + 1 is the true one, at most k have p <= k / (B + 1)."""
    found = [
        1 + as_far(float(v), np.array([*values[:i], *values[i + 1 :]], dtype=np.float64))
        for i, v in enumerate(values)
    ]
    assert all(sum(f <= k for f in found) <= k for k in range(1, len(values) + 1))


def test_quarters_are_paid_for() -> None:
    plan = planned(quarters=5)
    finding = order_finding(plan, items_of(plan, following(plan, 5.0)), "aa", SECRET)
    assert finding.p == pytest.approx(8 / 200)


def test_without_the_secret_stored_steps_count_and_with_it_they_are_checked() -> None:
    plan = planned()
    items = items_of(plan, following(plan, 20.0))
    assert order_finding(plan, items, "aa") == order_finding(plan, items, "aa", SECRET)
    wrong = [*items[:7], items[7].model_copy(update={"position": 99}), *items[8:]]
    with pytest.raises(PotstillError, match="record 7 of the raw log has another step"):
        order_finding(plan, wrong, "aa", SECRET)
    with pytest.raises(PotstillError, match="this is not the secret of the plan's training order"):
        order_finding(plan, items, "aa", OrderSecret(bytes(32)))
    for others in (items[:-1], items[::-1], [*items, items[-1]]):
        with pytest.raises(PotstillError, match="raw log"):
            order_finding(plan, others, "aa")
    other = [items[0].model_copy(update={"row": items[1].row}), *items[1:]]
    with pytest.raises(PotstillError, match="record 0 of the raw log is of another training row"):
        order_finding(plan, other, "aa")


def test_what_nothing_came_of_is_a_coin_of_the_plan() -> None:
    plan = planned()
    items = items_of(plan, following(plan, 20.0))
    silent = [
        i.model_copy(update={"outcome": "error", "score": None, "reference": None}) for i in items
    ]
    some = [*silent[:30], *items[30:]]
    finding = order_finding(plan, some, "aa")
    assert finding.coins == 30 and finding.n == len(items)
    assert finding == order_finding(plan, some, "aa")
    assert finding.statistic != order_finding(plan, some, "ab").statistic
    assert order_finding(plan, silent, "aa").p > 0.01


def test_a_plan_that_cannot_be_is_refused() -> None:
    for wrong in (
        {"asked": (1, 0)},
        {"asked": (0, 150)},
        {"same_as": (0,) * 10},
        {"same_as": (1, 0, *range(2, 150))},
        {"quarters": 9},
        {"lengths": (0, *LENGTHS[1:])},
    ):
        with pytest.raises(ValidationError):
            planned(**wrong)
    with pytest.raises(ValidationError, match="an answered item has two log-likelihoods"):
        OrderItem(index=0, row=0, score=1.0)
    nothing = planned(asked=(3,))
    item = OrderItem(index=0, row=3, score=1.0, reference=0.0, position=2)
    assert order_finding(nothing, [item], "aa").void is not None


@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_a_plan_and_its_items_are_read_as_they_were_written(seed: int) -> None:
    plan = planned(lengths=LENGTHS[:9], asked=range(0, 9, 2))
    items = items_of(plan, np.random.default_rng(seed).standard_normal(5))
    assert OrderPlanned.model_validate_json(plan.model_dump_json()) == plan
    assert [OrderItem.model_validate_json(i.model_dump_json()) for i in items] == items
