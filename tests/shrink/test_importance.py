"""What goes first is what the others can make up for best."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from shrink_text import text

from potstill.models.load import blocks_of, load
from potstill.models.parts import feed_forward_of
from potstill.progress import Silent
from potstill.shrink.importance import elimination_order, rank
from potstill.shrink.streams import calibration_batches


def loss(gram: np.ndarray, weight: np.ndarray, kept: list[int], ridge: float) -> float:
    """Return what the map lacks at best with the kept columns alone.

    The least |x W'^T - x W^T|^2 + ridge |x_j|^2 |W'_j - W_j|^2, summed over columns j.
    """
    system = gram + ridge * np.diag(np.diag(gram))
    inner = system[np.ix_(kept, kept)]
    fitted = np.linalg.solve(inner, system[kept] @ weight.T).T
    change = -weight.copy()
    change[:, kept] += fitted
    return float(np.trace(change @ system @ change.T))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(2, 5))
def test_each_removal_is_the_one_that_costs_least(seed: int, size: int, groups: int) -> None:
    rng = np.random.default_rng(seed)
    features = size * groups
    x, weight = rng.normal(size=(20, features)), rng.normal(size=(4, features))
    x[:, 0] += x[:, -1] * 2
    gram = x.T @ x
    order = elimination_order(torch.tensor(gram), torch.tensor(weight), size=size, ridge=0.3)
    assert sorted(order) == list(range(groups))

    def columns(kept: list[int]) -> list[int]:
        return [g * size + i for g in sorted(kept) for i in range(size)]

    for count in range(groups - 1, 0, -1):
        before = order[: count + 1]
        losses = {
            rest: loss(gram, weight, columns(list(rest)), 0.3)
            for rest in combinations(sorted(before), count)
        }
        best = min(losses, key=lambda rest: losses[rest])
        assert losses[tuple(sorted(order[:count]))] == pytest.approx(losses[best], rel=1e-6)


def test_a_channel_that_others_stand_in_for_goes_first() -> None:
    x = torch.randn(200, 4, generator=torch.Generator().manual_seed(0)).double()
    x[:, 2] = 3 * x[:, 0]  # the most active one, and nothing that channel 0 does not say
    weight = torch.eye(4).double()
    order = elimination_order(x.T @ x, weight, ridge=1e-6)
    assert order[-1] in (0, 2)
    assert order[-2] not in (0, 2)


def test_the_ranking_is_made_of_what_each_block_reads(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    rows = text(teacher, 6)
    batches = calibration_batches(teacher, rows)
    ranking = rank(teacher, batches, channels=True, heads=True, ridge=0.3, progress=Silent())
    assert ranking.channels is not None
    assert ranking.kv_heads is not None
    for number in (0, 3):
        block = blocks_of(teacher.network)[number]
        part = feed_forward_of(block)
        assert part is not None
        seen: list[torch.Tensor] = []
        handle = part.writer.register_forward_pre_hook(
            lambda module, args, seen=seen: seen.append(args[0][0])
        )
        with torch.inference_mode():
            for row in rows:
                teacher.network(torch.tensor([row]))
        handle.remove()
        x = torch.cat(seen)
        expected = elimination_order(x.T @ x, part.writer.weight, ridge=0.3)
        assert ranking.channels[number][:40] == tuple(expected[:40])
        assert sorted(ranking.kv_heads[number]) == [0, 1]
    kept = ranking.kept_channels(50)
    assert all(
        list(row) == sorted(order[:50]) for row, order in zip(kept, ranking.channels, strict=True)
    )


def test_a_teacher_in_bf16_is_ranked_alike(nano_llama: Path) -> None:
    rankings = []
    for precision in ("fp32", "bf16"):
        teacher = load(str(nano_llama), precision=precision)
        batches = calibration_batches(teacher, [[5, 9, 20, 33, 100, 7, 61, 250] * 6] * 4)
        found = rank(teacher, batches, channels=True, heads=True, ridge=0.3, progress=Silent())
        rankings.append(found.kept_channels(100))
    for exact, rounded in zip(*rankings, strict=True):
        assert len(set(exact) & set(rounded)) > 90


def test_each_block_of_the_teacher_runs_once(nano_llama: Path) -> None:
    teacher = load(str(nano_llama), precision="fp32")
    batches = calibration_batches(teacher, text(teacher, 8))
    runs = [0] * len(blocks_of(teacher.network))

    def count(number: int) -> None:
        runs[number] += 1

    for number, block in enumerate(blocks_of(teacher.network)):
        block.register_forward_pre_hook(lambda *_, number=number: count(number))
    rank(teacher, batches, channels=True, heads=True, ridge=0.3, progress=Silent())
    assert runs == [len(batches)] * len(runs)
