"""Innocent explanations of a case, each tested by a figure and a rule that is said beside it.

The rules are no statistics: where half of a group behaves as a class or a customer would, the
explanation *may* explain what it covers, and somebody has to look. None is a proof of innocence.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from potstill.watch.case import sql
from potstill.watch.case.asking import Asker
from potstill.watch.case.models import Explanation, Outcome, Statement, Value
from potstill.watch.evidence import Campaign
from potstill.watch.schema import Family

EVERYTHING: tuple[Family, ...] = ("content", "infrastructure", "intent", "time")
PLACE = "one place: an office, a school, a carrier"
HALF, QUARTER = 0.5, 0.25


@dataclass(frozen=True)
class InnocentCause:
    """How an explanation is tested: it may explain what it `covers` where a share `holds`.

    `lacks` are signals without whose columns it cannot be tested. `figure` is what the share is
    of, in words.
    """

    name: str
    figure: str
    query: str
    rule: str
    covers: tuple[Family, ...]
    lacks: tuple[str, ...] = ()
    holds: Callable[[float], bool] = lambda share: share >= HALF


CAUSES: tuple[InnocentCause, ...] = (
    InnocentCause(
        "one customer whose keys are not declared as one tenant",
        "of the parties have one payment in common",
        sql.largest_share("payment"),
        "half or more of the parties have one payment in common, and others at most half as often",
        EVERYTHING,
        ("shared payment",),
    ),
    InnocentCause(
        PLACE,
        "of the parties have one network or e-mail domain in common",
        sql.largest_share("subnet", "client network", "email_domain"),
        "half or more of the parties have one network or e-mail domain in common, and others at "
        "most half as often",
        ("content", "intent", "time"),
        ("shared network of accounts", "shared client address", "shared e-mail domain"),
    ),
    InnocentCause(
        "a public template: an evaluation suite, a harness, a course",
        "as many parties outside the case use its commonest template as inside",
        sql.OUTSIDE,
        "at least half as many parties outside the case use its commonest template as inside",
        ("content", "intent"),
        ("template spread",),
    ),
    InnocentCause(
        "a launch, an outage or another event",
        "of the requests were made on one day",
        sql.LARGEST_DAY,
        "half or more of the requests were made on one day",
        ("time",),
    ),
    InnocentCause(
        "timers at the full hour",
        "of the requests were made in the first minute of an hour",
        sql.FULL_HOUR,
        "a quarter or more of the requests were made in the first minute of an hour",
        ("time",),
        holds=lambda share: share >= QUARTER,
    ),
    InnocentCause(
        "retries: clients that repeat what failed",
        "of the requests repeat one of the same account within two minutes",
        sql.RETRIES,
        "a quarter or more of the requests repeat one of the same account within two minutes",
        ("time",),
        ("template spread",),
        lambda share: share >= QUARTER,
    ),
    InnocentCause(
        "keys of one customer that replace one another",
        "of the parties are active on an average day",
        sql.OVERLAP,
        "a third or less of the parties are active on an average day",
        EVERYTHING,
        holds=lambda share: share <= 1 / 3,
    ),
    InnocentCause(
        "an event that people signed up for: a class, a hackathon",
        "of the accounts were opened within one hour",
        sql.SIGNED_UP,
        "half or more of the accounts were opened within one hour",
        ("content", "intent", "time"),
    ),
)


def tested_explanations(
    asker: Asker, off: Sequence[str], campaign: Campaign, *, sketches: bool
) -> tuple[tuple[Statement, ...], tuple[Explanation, ...]]:
    """Return the figures of the explanations, and what came of each.

    `off` are the signals that were off. What strangers in one place have in common explains links
    too where all links are to places, and none is to payments, devices or relays.
    """
    figures, found = [], []
    places: tuple[Family, ...] = () if _has_means(campaign) else ("infrastructure",)
    for one in CAUSES:
        missing = bool(one.lacks) and all(signal in off for signal in one.lacks)
        if missing or (not sketches and "template spread" in one.lacks):
            found.append(_explanation(one, "not tested", "the store lacks the columns for it"))
            continue
        figure = asker.statement(one.name, one.query, partial(_says, one))
        figures.append(figure)
        if not isinstance(figure.value, int | float):
            found.append(_explanation(one, "not tested", "nothing is there to test it by"))
        elif one.holds(float(figure.value)):
            more = places if one.name == PLACE else ()
            found.append(_explanation(one, "may explain", figure.says, more))
        else:
            found.append(_explanation(one, "does not explain", figure.says))
    return tuple(figures), tuple(found)


def _has_means(campaign: Campaign) -> bool:
    return any(
        candidate.chosen_by == "means"
        or any(one.part == "means" and (one.log10_e or 0) > 0 for one in candidate.signals)
        for candidate in campaign.candidates
    )


def _explanation(
    one: InnocentCause, outcome: Outcome, because: str, more: tuple[Family, ...] = ()
) -> Explanation:
    return Explanation(
        name=one.name,
        rule=one.rule,
        outcome=outcome,
        because=because,
        covers=tuple(sorted({*one.covers, *more})),
    )


def _says(one: InnocentCause, share: Value) -> str:
    if not isinstance(share, int | float):
        return "no figure"
    if one.query == sql.OUTSIDE:
        return f"{share:.2g} times {one.figure}"
    return f"{100 * share:.3g}% {one.figure}"
