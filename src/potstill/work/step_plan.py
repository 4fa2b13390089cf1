"""Which examples make an optimiser step, and in which order the steps come.

Steps are planned once from the lengths of all examples and an order, so that whoever knows the two
plans them again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from potstill.work.order_secret import OrderSecret

# Examples are sorted by length inside pools of this many steps: little padding, and steps that
# still mix the whole set.
POOL_STEPS = 8

Permutation = NDArray[np.int64]
Draw = Callable[[int], Permutation]


class Order(Protocol):
    """What the orders of a training's epochs are drawn from."""

    def epoch(self, number: int) -> Draw:
        """Return what draws an epoch's permutations: first of its examples, then of its steps."""

    def keyed(self, label: str) -> str:
        """Return a key of random numbers that belongs to this order and a label alone."""


@dataclass(frozen=True)
class SecretOrder:
    """Orders that nobody knows who does not know the secret.

    A permutation of n sorts n numbers of 64 bits, which BLAKE3 keyed with the secret makes of the
    epoch and of what is permuted: the same on every machine, with every version of numpy. Two equal
    numbers (once in 2^64 / n^2 draws) stay in order.
    """

    secret: OrderSecret

    def epoch(self, number: int) -> Draw:
        """Return what draws an epoch's permutations."""
        drawn = 0

        def draw(count: int) -> Permutation:
            nonlocal drawn
            label = f"potstill training order/epoch {number}/draw {drawn}".encode()
            drawn += 1
            stream = blake3(label, key=self.secret.secret).digest(length=8 * count)
            return np.argsort(np.frombuffer(stream, dtype="<u8"), kind="stable")

        return draw

    def keyed(self, label: str) -> str:
        """Return a key of random numbers that only who knows the secret can tell."""
        return blake3(label.encode(), key=self.secret.secret).hexdigest()


@dataclass(frozen=True)
class PublicOrder:
    """Orders of a recipe's seed, which anybody can draw: those of runs from before secrets."""

    seed: int

    def epoch(self, number: int) -> Draw:
        """Return what draws an epoch's permutations."""
        return np.random.default_rng([self.seed, number]).permutation

    def keyed(self, label: str) -> str:
        """Return a key of random numbers."""
        return f"seed {self.seed}/{label}"


def plan_steps(
    lengths: Sequence[int], *, batch_tokens: int, epochs: float, order: Order
) -> list[list[int]]:
    """Return the examples (by position) of each step: about `batch_tokens` tokens, alike in length.

    Every epoch visits each example once, in an order of its own; a fraction of an epoch visits
    that fraction.
    """
    return [
        step
        for epoch in range(epochs_of(epochs))
        for step in epoch_steps(
            lengths,
            batch_tokens=batch_tokens,
            share=min(1.0, epochs - epoch),
            draw=order.epoch(epoch),
        )
    ]


def epochs_of(epochs: float) -> int:
    """Return how many epochs are begun."""
    return max(0, math.ceil(epochs - 1e-9))


def epoch_steps(
    lengths: Sequence[int], *, batch_tokens: int, share: float, draw: Draw
) -> list[list[int]]:
    """Return the examples of each step of one epoch, of which a share is visited."""
    order = draw(len(lengths)).tolist()
    order = order[: max(1, round(share * len(order)))]
    steps: list[list[int]] = []
    pool: list[int] = []
    held = 0
    for example in order:
        pool.append(example)
        held += lengths[example]
        if held >= POOL_STEPS * batch_tokens:
            steps += _cut(pool, lengths, batch_tokens)
            pool, held = [], 0
    if pool:
        steps += _cut(pool, lengths, batch_tokens)
    return [steps[i] for i in draw(len(steps))]


def _cut(pool: list[int], lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Cut a pool, sorted by length, into parts of nearly equal token counts."""
    ordered = sorted(pool, key=lambda i: (lengths[i], i))
    total = sum(lengths[i] for i in ordered)
    parts = max(1, round(total / batch_tokens))
    steps: list[list[int]] = [[] for _ in range(parts)]
    held = 0
    for example in ordered:
        steps[min(parts - 1, held * parts // max(1, total))].append(example)
        held += lengths[example]
    return [step for step in steps if step]


def epoch_positions(
    lengths_N: NDArray[np.int64], *, batch_tokens: int, share: float, draw: Draw
) -> NDArray[np.int64]:
    """Return the step of each example in one epoch, counted from 0; -1 for those not visited.

    The same as `epoch_steps`, for whoever plans thousands of times.
    """
    order = draw(len(lengths_N))
    order = order[: max(1, round(share * len(order)))]
    pool = _pools(np.cumsum(lengths_N[order]), POOL_STEPS * batch_tokens)
    ordered = np.lexsort((order, lengths_N[order], pool))
    example, pool = order[ordered], pool[ordered]
    length = lengths_N[example]
    new_pool = _changes(pool)
    first = np.flatnonzero(new_pool)
    total_G = np.add.reduceat(length, first)
    parts_G = np.maximum(1, np.rint(total_G / batch_tokens)).astype(np.int64)
    before = np.cumsum(length) - length
    held = before - before[first][pool]
    part = np.minimum(parts_G[pool] - 1, held * parts_G[pool] // np.maximum(1, total_G[pool]))
    step = np.cumsum(new_pool | _changes(part)) - 1
    drawn = draw(int(step[-1]) + 1)
    places = np.empty_like(drawn)
    places[drawn] = np.arange(len(drawn))
    position_N = np.full(len(lengths_N), -1, dtype=np.int64)
    position_N[example] = places[step]
    return position_N


def _pools(held: NDArray[np.int64], full: int) -> NDArray[np.int64]:
    """Return the pool of each example, given how many tokens those up to it hold."""
    ends, base, start = [0], 0, 0
    while start < len(held):
        start = min(len(held), int(np.searchsorted(held, base + full)) + 1)
        base = int(held[start - 1])
        ends.append(start)
    return np.repeat(np.arange(len(ends) - 1), np.diff(ends))


def _changes(value_N: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Tell where a value differs from the one before; the first does."""
    changes_N = np.empty(len(value_N), dtype=np.bool_)
    changes_N[0] = True
    np.not_equal(value_N[1:], value_N[:-1], out=changes_N[1:])
    return changes_N
