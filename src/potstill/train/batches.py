"""Which examples make an optimiser step, and how a step is cut into rows that fit into memory.

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
    step: Sequence[int], lengths: Sequence[int], micro_batch_tokens: int, row_tokens: int = 0
) -> list[list[list[int]]]:
    """Return a step in parts of at most `micro_batch_tokens` tokens, padding included.

    A part is a list of rows and a row a list of examples: as many as fit into `row_tokens`, and
    at least one. A row longer than the part may be is a part of its own.
    """
    parts: list[list[list[int]]] = []
    width = 0
    for row in _rows(step, lengths, row_tokens):
        if parts and width * (len(parts[-1]) + 1) <= micro_batch_tokens:
            parts[-1].append(row)
        else:
            parts.append([row])
            width = sum(lengths[i] for i in row)
    return parts


def _rows(step: Sequence[int], lengths: Sequence[int], row_tokens: int) -> list[list[int]]:
    """Return the step's examples in rows, the longest row first.

    First-fit decreasing, which never takes more than 11/9 of the fewest rows possible, and 6/9
    of a row (Dósa 2007, "The tight bound of first fit decreasing bin-packing algorithm").
    """
    longest_first = sorted(step, key=lambda i: (-lengths[i], i))
    if not row_tokens:
        return [[example] for example in longest_first]
    rows: list[list[int]] = []
    room: list[int] = []
    for example in longest_first:
        length = lengths[example]
        fitting = next((r for r, free in enumerate(room) if length <= free), None)
        if fitting is None:
            rows.append([example])
            room.append(row_tokens - length)
        else:
            rows[fitting].append(example)
            room[fitting] -= length
    order = sorted(range(len(rows)), key=lambda r: room[r])
    return [rows[r] for r in order]
