"""Steps are planned from the whole set, in an order that the secret alone decides."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import (
    Order,
    PublicOrder,
    SecretOrder,
    epoch_positions,
    epoch_steps,
    plan_steps,
)

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=120)
orders = st.one_of(
    st.integers(0, 99).map(PublicOrder),
    st.binary(min_size=32, max_size=32).map(OrderSecret).map(SecretOrder),
)
ORDER = SecretOrder(OrderSecret(bytes(range(32))))


@given(lengths, st.integers(1, 400), st.sampled_from([1.0, 2.0, 3.0]), orders)
def test_every_epoch_visits_every_example_once(
    sizes: list[int], batch_tokens: int, epochs: float, order: Order
) -> None:
    steps = plan_steps(sizes, batch_tokens=batch_tokens, epochs=epochs, order=order)
    visits = Counter(i for step in steps for i in step)
    assert visits == dict.fromkeys(range(len(sizes)), int(epochs))
    assert steps == plan_steps(sizes, batch_tokens=batch_tokens, epochs=epochs, order=order)


@given(lengths, orders)
def test_half_an_epoch_visits_half(sizes: list[int], order: Order) -> None:
    steps = plan_steps(sizes, batch_tokens=100, epochs=0.5, order=order)
    visited = [i for step in steps for i in step]
    assert len(visited) == len(set(visited)) == max(1, round(0.5 * len(sizes)))


def test_steps_hold_about_the_tokens_asked_for() -> None:
    sizes = [20 + (i * 37) % 100 for i in range(1000)]
    steps = plan_steps(sizes, batch_tokens=1000, epochs=1, order=ORDER)
    tokens = [sum(sizes[i] for i in step) for step in steps]
    assert 900 < sum(tokens) / len(tokens) < 1100


SIZES = [3 + (7 * i) % 11 for i in range(12)]


def test_the_order_of_a_seed_is_that_of_runs_before_there_were_secrets() -> None:
    assert plan_steps(SIZES, batch_tokens=20, epochs=1.5, order=PublicOrder(3)) == [
        [0, 11, 8, 5, 2],
        [3],
        [9, 6],
        [1],
        [10, 7, 4],
        [0, 11, 5, 2, 4],
        [1],
    ]


def test_the_order_of_a_secret_stays_for_good() -> None:
    """A verdict of later versions plans the steps again."""
    assert plan_steps(SIZES, batch_tokens=20, epochs=1.5, order=ORDER) == [
        [3],
        [1],
        [0, 11, 8, 5, 2],
        [10, 7, 4],
        [9, 6],
        [10, 7, 4],
        [3],
        [9, 6],
    ]


def test_epochs_and_draws_of_a_secret_differ_and_secrets_do() -> None:
    draw, again, other = ORDER.epoch(0), ORDER.epoch(0), ORDER.epoch(1)
    first, second = draw(50), draw(50)
    assert first.tolist() == again(50).tolist()
    assert len({tuple(p) for p in (first, second, other(50))}) == 3
    another = SecretOrder(OrderSecret(bytes(32))).epoch(0)(50)
    assert another.tolist() != first.tolist()
    assert sorted(first) == list(range(50))


def test_every_permutation_of_a_secret_is_equally_likely() -> None:
    """Of four things there are 24; 24,000 secrets made of one seed."""
    rng = np.random.default_rng(20261130)
    counts = Counter(
        tuple(SecretOrder(OrderSecret(rng.bytes(32))).epoch(0)(4).tolist()) for _ in range(24_000)
    )
    assert len(counts) == 24
    assert chisquare(list(counts.values())).pvalue > 1e-3


@given(lengths, st.integers(1, 300), st.sampled_from([0.3, 0.5, 1.0]), orders)
def test_positions_are_those_of_the_steps(
    sizes: list[int], batch_tokens: int, share: float, order: Order
) -> None:
    steps = epoch_steps(sizes, batch_tokens=batch_tokens, share=share, draw=order.epoch(2))
    expected = np.full(len(sizes), -1)
    for place, step in enumerate(steps):
        expected[step] = place
    found = epoch_positions(
        np.array(sizes), batch_tokens=batch_tokens, share=share, draw=order.epoch(2)
    )
    assert found.tolist() == expected.tolist()
