"""What corroborates a case, as its page shows it."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.report.tables import Cell, Table, TableRow
from potstill.watch.evidence import Corroboration

CORROBORATES = (
    "None of this is in an e-value, chose anybody or named anybody: the case stands or falls "
    "without it. Observed is the group's figure, expected the mean of groups drawn at random. "
    "p-values are not corrected for being several, nor for what chose the group; the program draws "
    "the groups by a fixed seed, and potstill watch cases draws the same ones again. p is no "
    "probability of innocence."
)


def corroboration_table(found: Sequence[Corroboration]) -> Table:
    """Return what was observed beside what was expected, of what could be tested."""
    heads = ("Signal", "Observed", "Expected", "p", "Null hypothesis", "It does not say")
    rows = [
        TableRow(
            one.signal,
            [
                Cell(f"{one.observed:,.4g}", one.says),
                Cell(f"{one.expected:,.4g}"),
                Cell(f"{one.p:.3g}", "two-sided" if one.side == "either" else ""),
                Cell(f"one of {one.null}", f"{one.parties:,} of its parties"),
                Cell(one.says_not),
            ],
        )
        for one in found
        if one.observed is not None and one.expected is not None and one.p is not None
    ]
    return Table(heads, rows)


def untested(found: Sequence[Corroboration]) -> list[str]:
    """Return what could not be tested, and why."""
    return [
        f"{one.signal} ({one.says}) could not be tested: {one.untested}."
        for one in found
        if one.untested is not None
    ]
