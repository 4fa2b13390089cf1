"""What a run's stages cost depends on what they did with the teacher's head."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from potstill.evaluate.cost import ModelShape
from potstill.exchanges.usage import TargetUsage
from potstill.recipe import CollectConfig, TrainConfig
from potstill.runs import cost as run_costs

SHAPE = ModelShape(parameters=1, body=100.0, head=7.0, attention=())


def job(targets: str, **train: Any) -> Any:
    done = {"lengths": [[3, 2], [4, 6]], "tokens": 15, "scored_again": 0}
    specs = {"sampled": "sampled-50", "top-k": "top-k-8"}
    usage = [TargetUsage("hidden-fp16", 1, 5, 0, 0)]
    if targets in specs:
        usage.append(TargetUsage(specs[targets], 2, 8, 0, 0))
    return SimpleNamespace(
        run=SimpleNamespace(done=lambda name: done),
        recipe=SimpleNamespace(
            collect=CollectConfig(targets=targets),  # type: ignore[arg-type]
            train=TrainConfig(**train),
        ),
        store=SimpleNamespace(
            usage=lambda: usage, read=lambda: [SimpleNamespace(ids=((1, 2), (3,)))]
        ),
    )


def training(of: Any) -> float:
    return run_costs._training(of, SHAPE, SHAPE)[0]


@pytest.mark.parametrize("targets", ["sampled", "top-k"])
def test_targets_that_are_formed_while_collecting_need_no_head_in_training(targets: str) -> None:
    hidden, formed = job("hidden"), job(targets)
    assert training(hidden) - training(formed) == pytest.approx(8 * SHAPE.head)
    added = run_costs._collection(formed, SHAPE)[0] - run_costs._collection(hidden, SHAPE)[0]
    assert added == pytest.approx(8 * SHAPE.head)


def test_text_alone_needs_no_teacher() -> None:
    both, text = job("hidden"), job("hidden", cross_entropy=1.0)
    assert training(both) - training(text) == pytest.approx(8 * SHAPE.head)


def test_adapters_spare_the_gradients_of_the_student_s_weights() -> None:
    of = job("hidden", cross_entropy=1.0)
    tokens, positions, weights = 15, 8, 3
    spared = tokens * SHAPE.body + positions * SHAPE.head
    adapted = run_costs._training(of, SHAPE, SHAPE, weights)[0]
    assert training(of) - adapted == pytest.approx(spared - tokens * 3 * 2 * weights)
