"""Which examples make an optimiser step, and how a step is cut to fit into memory.

Steps are planned once from all examples and the seed. How a step is cut into micro-batches
never changes which examples it holds, so it never changes the gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Examples are sorted by length inside pools of this many steps: little padding, and steps that
# still mix the whole set.
_POOL_STEPS = 8


def plan_steps(
    lengths: Sequence[int], *, batch_tokens: int, epochs: float, seed: int
) -> list[list[int]]:
    """Return the examples (by position) of each step: about `batch_tokens` tokens, alike in length.

    Every epoch visits each example once, in an order of its own; a fraction of an epoch visits
    that fraction.
    """
    visits: list[list[int]] = []
    epoch = 0
    while epochs - epoch > 1e-9:
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(lengths)).tolist()
        share = min(1.0, epochs - epoch)
        order = order[: max(1, round(share * len(order)))]
        visits += _epoch_steps(order, lengths, batch_tokens, rng)
        epoch += 1
    return visits


def _epoch_steps(
    order: list[int], lengths: Sequence[int], batch_tokens: int, rng: np.random.Generator
) -> list[list[int]]:
    steps: list[list[int]] = []
    pool: list[int] = []
    held = 0
    for example in order:
        pool.append(example)
        held += lengths[example]
        if held >= _POOL_STEPS * batch_tokens:
            steps += _cut(pool, lengths, batch_tokens)
            pool, held = [], 0
    if pool:
        steps += _cut(pool, lengths, batch_tokens)
    return [steps[i] for i in rng.permutation(len(steps))]


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


def micro_batches(
    step: Sequence[int], lengths: Sequence[int], micro_batch_tokens: int
) -> list[list[int]]:
    """Return a step in parts of at most `micro_batch_tokens` tokens, padding included.

    An example longer than that is a part of its own.
    """
    parts: list[list[int]] = []
    width = 0
    for example in sorted(step, key=lambda i: (-lengths[i], i)):
        if parts and width * (len(parts[-1]) + 1) <= micro_batch_tokens:
            parts[-1].append(example)
        else:
            parts.append([example])
            width = lengths[example]
    return parts
