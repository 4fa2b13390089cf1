"""Which prompts a teacher answers alike, told from its greedy answers alone.

Greedy answers of a small model run into few loops, whatever was asked: then a hundred prompts agree
or disagree at once, and they are no hundred observations. Prompts whose answers begin alike or end
in one loop form a cluster (docs/methods/trace-ancestry.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from potstill.trace.finding import TraceRecord

# A loop is one that the last tokens go round at least twice, and for so many tokens at least: two
# equal words at a cut are none.
_TURNS, _LOOP_TOKENS = 2, 8


class Likeness(TraceRecord):
    """What makes an answer like another: its first token, and the loop that it ends in.

    `opening` is None where the answer is empty, `loop` is empty where it ends in none; a loop
    begins at its least turn, so that it is the same wherever the answer was cut.
    """

    opening: int | None = None
    loop: tuple[int, ...] = ()


def likeness_of(answer: Sequence[int]) -> Likeness:
    """Return what an answer, as ids, is alike to others by."""
    return Likeness(opening=answer[0] if len(answer) else None, loop=loop_of(answer))


def loop_of(answer: Sequence[int]) -> tuple[int, ...]:
    """Return the ids that an answer goes round in at its end, from the least turn; else ()."""
    ids = tuple(answer)
    for length in range(1, len(ids) // _TURNS + 1):
        tail = ids[-max(_TURNS * length, _LOOP_TOKENS) :]
        if len(tail) >= _LOOP_TOKENS and tail[length:] == tail[:-length]:
            once = ids[-length:]
            return min(once[at:] + once[:at] for at in range(length))
    return ()


def clusters_of(likenesses: Sequence[Likeness]) -> tuple[int, ...]:
    """Return each answer's cluster, numbered from 0 in the order in which they come up.

    Answers of one opening, or of one loop, are in one cluster, and so are those that others link.
    """
    marks: dict[tuple[str, object], int] = {}
    pairs = []
    for at, one in enumerate(likenesses):
        keys: list[tuple[str, object]] = [("opening", one.opening)]
        if one.loop:
            keys.append(("loop", one.loop))
        pairs += [(at, marks.setdefault(key, len(marks))) for key in keys]
    if not pairs:
        return ()
    answers = len(likenesses)
    row, column = np.array(pairs).T
    size = answers + len(marks)
    links = csr_array((np.ones(len(pairs)), (row, answers + column)), shape=(size, size))
    found = connected_components(links, directed=False)[1][:answers].tolist()
    numbers: dict[int, int] = {}
    return tuple(numbers.setdefault(label, len(numbers)) for label in found)
