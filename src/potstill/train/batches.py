"""How a step is cut into rows that fit into memory.

The cut never changes which examples a step holds (`work.step_plan`), so it never changes the
gradient.
"""

from __future__ import annotations

from collections.abc import Sequence

from potstill.train.examples import TrainingExample

Part = Sequence[Sequence[TrainingExample]]
"""The rows of one forward pass."""


def parts_of(
    step: Sequence[TrainingExample], micro_batch_tokens: int, row_tokens: int = 0
) -> list[Part]:
    """Return the micro-batches of a step, examples of one kind in each."""
    lengths = [example.length for example in step]
    # What cross-entropy alone teaches has no targets, and the student's own text no cross-entropy.
    kinds = [
        [i for i, e in enumerate(step) if (e.by_text, e.own) == kind]
        for kind in ((False, False), (True, False), (False, True))
    ]
    return [
        [[step[i] for i in row] for row in rows]
        for kind in kinds
        if kind
        for rows in micro_batches(kind, lengths, micro_batch_tokens, row_tokens)
    ]


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
