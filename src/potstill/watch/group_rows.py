"""Rows of groups as numbers, and which of a group's parties show what was found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.watch.campaigns import Grouping
from potstill.watch.clock import Acts, acting_together
from potstill.watch.evidence import Chooser

Ints = NDArray[np.int64]


def asked_in(asked: ir.Table, groups: Sequence[int]) -> ir.Table:
    """Return the requests of some groups, by their places."""
    return asked.filter(asked.group.isin(groups)) if groups else asked.limit(0)


def templates_of(groups: Sequence[tuple[Chooser, Grouping]]) -> dict[str, str]:
    """Return the group by templates that each party has most to do with: most keys used."""
    found: dict[str, tuple[int, str]] = {}
    for number, (by, group) in enumerate(groups):
        if by == "templates":
            for party, used in zip(
                group.parties, group.used or [0] * len(group.parties), strict=True
            ):
                if party not in found or used > found[party][0]:
                    found[party] = (used, str(number))
    return {party: value for party, (_, value) in found.items()}


def volume_without(
    volume: Mapping[tuple[int, int], Ints], product_R: Ints, day_R: Ints, second_R: Ints
) -> dict[tuple[int, int], Ints]:
    """Return the volume of the others on the products and days of a group."""
    found = {}
    for product, day in np.unique(np.stack([product_R, day_R]), axis=1).T.tolist():
        mine = second_R[(product_R == product) & (day_R == day)] // 60
        found[product, day] = volume[product, day] - np.bincount(mine, minlength=1_440)
    return found


def sharing(parties: Iterable[str], value_of: Mapping[str, str]) -> list[str]:
    """Return the parties whose value another one of them has."""
    mine = {party: value_of[party] for party in parties if party in value_of}
    shared = Counter(mine.values())
    return [party for party, value in mine.items() if shared[value] > 1]


def asking_so(parties: Iterable[str], asks_N: Ints, place: Mapping[str, int]) -> list[str]:
    """Return the parties that ask so."""
    return [party for party in parties if party in place and asks_N[place[party]] == 1]


def acting(names: Sequence[str], acts: Acts, width: int, apart: bool) -> list[str]:
    """Return the parties that act together; in `acts` they are places among names."""
    return [names[code] for code in acting_together(acts, width=width, apart=apart)]


def named(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """Return the values, sorted, and the place of each row's among them."""
    found = column.combine_chunks().dictionary_encode()
    order = pc.array_sort_indices(found.dictionary)
    place = np.empty(len(order), np.int64)
    place[np.asarray(order)] = np.arange(len(order))
    return found.dictionary.take(order).to_pylist(), place[np.asarray(found.indices)]


def ints(column: pa.ChunkedArray | pa.Array) -> Ints:
    """Return a column of whole numbers."""
    return np.asarray(column).astype(np.int64)
