"""Whom the order of a training finds: students of the run, and those who are none."""

from __future__ import annotations

import copy
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nano_networks import SEED, nano, nano_models, nano_text

from potstill.models.loaded import LoadedModel
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.trace.gather.order import gather_order, plan_order
from potstill.trace.order import OrderItem, order_finding
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder


def random_rows(count: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return rows of ids that nobody has seen: 4 of a prompt, 8 to 23 of an answer."""
    rng = np.random.default_rng([SEED, seed])
    found = [rng.integers(5, 440, int(rng.integers(12, 28))).tolist() for _ in range(count)]
    return [(tuple(ids[:4]), tuple(ids[4:])) for ids in found]


def chat_rows(count: int, seed: int) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    tokenizer = nano().tokenizer
    pairs = dict.fromkeys(nano_text.exchanges(4 * count, seed))
    ids = [nano_models.chat_ids(tokenizer, *pair) for pair in pairs][:count]
    return [(tuple(i[: len(i) // 2]), tuple(i[len(i) // 2 :])) for i in ids]


def ordered(
    model: LoadedModel,
    rows: Sequence[tuple[tuple[int, ...], tuple[int, ...]]],
    secret: OrderSecret,
    rate: float,
) -> LoadedModel:
    """Return a copy of a model after one epoch in the order of a secret."""
    student = replace(model, network=copy.deepcopy(model.network))
    config = TrainConfig(
        learning_rate=rate,
        batch_tokens=200,
        micro_batch_tokens=2000,
        cross_entropy=1.0,
        final_learning_rate=1.0,
        checkpoint_every=10**6,
    )
    examples = [TrainingExample(f"e{i}", p, r) for i, (p, r) in enumerate(rows)]
    with tempfile.TemporaryDirectory() as folder:
        train(
            student,
            examples,
            config=config,
            seed=0,
            order=SecretOrder(secret),
            targets=None,
            checkpoints=Path(folder),
            validate=None,
            log=lambda entry: None,
            progress=Silent(),
        )
    return student


def order_power() -> list[dict[str, Any]]:
    rows = []
    ours, theirs = (OrderSecret(bytes([n]) * 32) for n in (1, 2))
    base = nano()
    for text, make in (("random ids", random_rows), ("nano chats", chat_rows)):
        for count in (300, 1000):
            learnt, other = make(count, 7), make(count // 2, 8)
            student = ordered(base, learnt, ours, 1e-2)
            twin = ordered(base, learnt, theirs, 1e-2)
            suspects = {
                "student of the run": student,
                "tuned on half as many other rows": ordered(student, other, theirs, 1e-3),
                "another run on the same rows": ordered(base, learnt, OrderSecret(bytes(32)), 1e-2),
            }
            for who, suspect in suspects.items():
                for name, reference in (("base", base), ("run in another order", twin)):
                    planned = plan_order(learnt, ours, batch_tokens=200, epochs=1.0, reference=name)
                    items: list[OrderItem] = []
                    gather_order(planned, suspect, reference, learnt, ours, [], items.append)
                    started = time.time()
                    found = order_finding(planned, items, "power", ours)
                    rows.append(
                        {
                            "row": f"order: {who}",
                            "text": text,
                            "rows": len(learnt),
                            "reference": name,
                            "statistic": found.statistic,
                            "p": found.p,
                            "redraws": planned.redraws,
                            "finding_s": time.time() - started,
                        }
                    )
                    print(json.dumps(rows[-1]), flush=True)
    return rows
