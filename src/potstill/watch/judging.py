"""What the parts of the evidence about a group come to: at least two independent families.

Let e_f and e_g be e-values of two parts. min(e_f, e_g) is one for "f or g is as with strangers", so
that the average over pairs is an e-value for "at most one family is not as with strangers", as
every pair then has a part that is (the average: Vovk and Wang 2021, Ann. Statist. 49, 1736-1754).
Nothing is multiplied, so that no independence is needed for the error. Which pairs count is
another question: whether one innocent fact makes both. Those that do are left out here.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

from potstill.stats.evalues import average_log_e
from potstill.watch.evidence import Chooser, Part
from potstill.watch.schema import Family

FAMILY: Mapping[Part, Family] = {
    "spread": "content",
    "sharding": "content",
    "clock": "time",
    "rounds": "time",
    "hand-off": "time",
    "means": "infrastructure",
    "places": "infrastructure",
    "intent": "intent",
}
FAMILIES: tuple[Family, ...] = tuple(sorted(set(FAMILY.values())))
# Spread is tested where means chose, links where templates did, intent where they did not.
# A shared place explains a common clock and a common subject (a class), and one task set explains
# subject and clock: no such pairs.
PAIRS: tuple[tuple[Part, Part], ...] = (
    ("spread", "means"),
    ("sharding", "clock"),
    ("sharding", "hand-off"),
    ("sharding", "means"),
    ("sharding", "places"),
    ("clock", "means"),
    ("hand-off", "means"),
    ("hand-off", "places"),
    ("hand-off", "intent"),
    ("means", "intent"),
)
# What no class, suite or hackathon has beside its templates: one of these is enough.
BESIDE_TEMPLATES: tuple[Part, ...] = ("means", "hand-off", "rounds")

# More than any ln E that is found.
_ANY = 1e6
# E-values are written from 0.001 on.
_CUT, _DIGITS = -3.0, 3


def two_families_log_e(
    chosen_by: Chooser, parts: Mapping[Part, float], without: Family | None = None
) -> float:
    """Return ln E that two independent families hold, `without` one of them.

    `parts` has ln E of what could be tested. What chose a group by its links is known, not tested:
    beside it one other family is enough. Beside templates, which many innocents have in common,
    one of `BESIDE_TEMPLATES` is. -inf where no pair is left.
    """
    left = {part: log_e for part, log_e in parts.items() if FAMILY[part] != without}
    alone = BESIDE_TEMPLATES if chosen_by == "templates" and without != "content" else ()
    if chosen_by == "templates" or without == "infrastructure":
        # Beside what is enough alone a pair with it would only be less.
        pairs = [pair for pair in PAIRS if not set(pair) & set(alone)]
        found = [min(left[f], left[g]) for f, g in pairs if f in left and g in left]
        found += [left[part] for part in alone if part in left]
    else:
        beside = {f if g == chosen_by else g for f, g in PAIRS if chosen_by in (f, g)}
        found = [log_e for part, log_e in sorted(left.items()) if part in beside]
    if not found or max(found) == -math.inf:
        return -math.inf
    return average_log_e(found)


def counts(chosen_by: Chooser, part: Part) -> bool:
    """Tell whether a part says anything about groups that were chosen so."""
    every: dict[Part, float] = dict.fromkeys(FAMILY, 0.0)
    return two_families_log_e(chosen_by, every) != two_families_log_e(
        chosen_by, every | {part: -math.inf}
    )


def attainable_log_e(
    chosen_by: Chooser, parts: Mapping[Part, float], untested: Sequence[Part]
) -> float:
    """Return what ln E comes to at most, whatever parts say that are not tested yet.

    Each of these may be as large as one likes, or turn out not to be testable. A group that cannot
    come to what a run takes need not be tested further: with E = 0 for what is left out, what is
    said of it is less than it may be, whatever the data are, so that its mean stays 1 at most.
    """
    return max(
        two_families_log_e(chosen_by, {**parts, **dict.fromkeys(some, _ANY)})
        for n in range(len(untested) + 1)
        for some in itertools.combinations(untested, n)
    )


def convicting(
    chosen_by: Chooser, parts: Mapping[Part, float], least_log_e: float
) -> frozenset[Part]:
    """Return the parts with an ln E of at least so much that make a group stand: with another one
    that holds, or beside what chose it."""
    held = {part for part, log_e in parts.items() if log_e >= least_log_e}
    found = {part for pair in PAIRS if set(pair) <= held for part in pair}
    if chosen_by == "templates":
        return frozenset(found | (held & set(BESIDE_TEMPLATES)))
    return frozenset(part for part in held if any({part, chosen_by} == set(pair) for pair in PAIRS))


def families_held(
    chosen_by: Chooser, parts: Mapping[Part, float], least_log_e: float
) -> tuple[Family, ...]:
    """Return the families whose ln E is at least so much, and the one that chose the group.

    Templates count as such only beside what is enough beside them.
    """
    held = {FAMILY[part] for part, log_e in parts.items() if log_e >= least_log_e}
    if chosen_by != "templates":
        held.add("infrastructure")
    elif any(parts.get(part, -math.inf) >= least_log_e for part in BESIDE_TEMPLATES):
        held.add("content")
    return tuple(sorted(held))


def log10_written(log_e: float) -> float:
    """Return log10 of an e-value as findings and pages have it, from its ln."""
    return round(max(log_e / math.log(10), _CUT), _DIGITS)
