"""A nano student is told by the order that it was trained in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.trace.gather.order import first_equals, gather_order, plan_order
from potstill.trace.order import OrderItem, OrderPlanned, order_finding
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder

OURS, THEIRS = OrderSecret(bytes(range(32))), OrderSecret(bytes(32))
Rows = list[tuple[tuple[int, ...], tuple[int, ...]]]


def rows_of(count: int) -> Rows:
    rng = np.random.default_rng(270_401)
    found = [rng.integers(5, 440, int(rng.integers(12, 28))).tolist() for _ in range(count)]
    return [(tuple(ids[:4]), tuple(ids[4:])) for ids in found]


def trained(path: Path, rows: Rows, secret: OrderSecret, folder: Path) -> LoadedModel:
    student = load(str(path), precision="fp32", trainable=True)
    config = TrainConfig(
        learning_rate=1e-2,
        final_learning_rate=1.0,
        batch_tokens=200,
        micro_batch_tokens=2000,
        cross_entropy=1.0,
        checkpoint_every=1000,
    )
    train(
        student,
        [TrainingExample(f"e{i}", *row) for i, row in enumerate(rows)],
        config=config,
        seed=0,
        order=SecretOrder(secret),
        targets=None,
        checkpoints=folder,
        validate=None,
        log=lambda entry: None,
        progress=Silent(),
    )
    return student


def gathered(
    planned: OrderPlanned, suspect: LoadedModel, reference: LoadedModel, rows: Rows
) -> list[OrderItem]:
    items: list[OrderItem] = []
    gather_order(planned, suspect, reference, rows, OURS, [], items.append)
    return items


@pytest.mark.slow
def test_a_student_follows_its_runs_order_and_another_runs_does_not(
    nano_llama: Path, tmp_path: Path
) -> None:
    rows = rows_of(300)
    ours = trained(nano_llama, rows, OURS, tmp_path / "a")
    theirs = trained(nano_llama, rows, THEIRS, tmp_path / "b")
    planned = plan_order(
        rows, OURS, batch_tokens=200, epochs=1.0, reference=theirs.identity, redraws=999
    )
    guilty = order_finding(planned, gathered(planned, ours, theirs, rows), "aa", OURS)
    assert guilty.statistic > 0.1 and guilty.p < 0.02
    base = load(str(nano_llama), precision="fp32")
    innocent = order_finding(planned, gathered(planned, base, theirs, rows), "aa", OURS)
    assert innocent.p > guilty.p


@pytest.fixture(scope="module")
def model(nano_model: Callable[[str], Path]) -> LoadedModel:
    return load(str(nano_model("llama")), precision="fp32")


def test_items_hold_both_models_likelihoods_and_go_on_where_they_stopped(
    model: LoadedModel,
) -> None:
    rows = [*rows_of(20), rows_of(20)[3]]
    planned = plan_order(rows, OURS, batch_tokens=60, epochs=1.0, reference="r", most=10)
    assert planned.same_as is not None and planned.same_as[20] == 3 and len(planned.asked) == 10
    whole = gathered(planned, model, model, rows)
    assert all(item.score == item.reference and (item.score or 0) < 0 for item in whole)
    rest: list[OrderItem] = []
    gather_order(planned, model, model, rows, OURS, whole[:4], rest.append)
    assert [item.index for item in rest] == list(range(4, 10))
    finding = order_finding(planned, whole, "aa", OURS)
    assert finding.coins == 0 and finding.statistic == 0 and finding.p == 1


def test_other_rows_and_another_secret_are_refused(model: LoadedModel) -> None:
    rows = rows_of(20)
    planned = plan_order(rows, OURS, batch_tokens=60, epochs=1.0, reference="r")
    for others in (rows[:-1], rows[::-1], [*rows[:-1], rows[0]]):
        with pytest.raises(PotstillError, match="the training rows are not those that the plan"):
            gather_order(planned, model, model, others, OURS, [], print)
    with pytest.raises(PotstillError, match="this is not the secret of the plan's training order"):
        gather_order(planned, model, model, rows, THEIRS, [], print)
    with pytest.raises(PotstillError, match="cannot have stopped after 5 quarters"):
        plan_order(rows, OURS, batch_tokens=60, epochs=1.0, reference="r", quarters=5)


def test_the_first_of_equal_rows_stands_for_them() -> None:
    one, other = ((1,), (2, 3)), ((1, 2), (3,))
    assert first_equals([one, other]) is None
    assert first_equals([one, other, one, other, one]) == (0, 1, 0, 1, 0)
