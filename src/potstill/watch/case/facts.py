"""The facts of a case: figures of the logs, each made by the query that stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from potstill.text.counts import many
from potstill.watch.case import sql
from potstill.watch.case.asking import Asker, Says
from potstill.watch.case.members_sql import members
from potstill.watch.case.models import CaseFacts, SignalFact, Statement
from potstill.watch.evidence import Campaign, Candidate, SignalFinding
from potstill.watch.signals.links import TOGETHER

_LINKED: Mapping[str, str] = {
    "shared payment": "payment",
    "shared device": "device",
    "shared network of accounts": "subnet",
    "shared e-mail domain": "email_domain",
    "accounts opened together": TOGETHER,
    "template spread": sql.TEMPLATE,
}
_ROUNDED = 6e-4
_BINS = {"synchrony": 1, "complementary load": 30, "common rounds": 1}
_SAYS: Mapping[str, str] = {
    "shares": "members beyond the first of each value that some have in common",
    "template spread": "members beyond the first in each group that templates chose",
    "synchrony": "sum over minutes of the squared number of requests",
    "common rounds": "sum over minutes of the squared number of requests",
    "complementary load": "sum over half hours of the squared number of requests",
    "hand-off": "refused requests that another party repeated word by word within two minutes",
    "reasoning elicitation": "parties of whose prompts a quarter asks for reasoning",
    "rubric and reward prompts": "parties of whose prompts a quarter asks for grades",
}


def facts_of(
    asker: Asker,
    campaign: Campaign,
    files: sql.StoreFiles,
    explanations: tuple[Statement, ...],
    *,
    with_text: bool,
) -> CaseFacts:
    """Return the facts of a campaign, whose tables are prepared."""
    shown = files.sketches
    return CaseFacts(
        totals=tuple(
            asker.statement(name, query, _TOTALS[name]) for name, query in sql.TOTALS.items()
        ),
        timeline=asker.table("requests by day", sql.TIMELINE),
        members=asker.table("members", members(sketches=files.sketches, text=files.text)),
        templates=asker.table("templates", sql.templates()) if shown else None,
        examples=asker.texts(sql.examples()) if with_text and files.text else (),
        shared=asker.table("what members have in common", sql.SHARED),
        signals=tuple(
            _signal(asker, candidate, one)
            for candidate in campaign.candidates
            for one in candidate.signals
        ),
        explanations=explanations,
    )


def observed_query(candidate: Candidate, one: SignalFinding) -> str | None:
    """Return the query of what was observed of a signal; None where it takes more than SQL.

    Slot coverage is told by words and their evenness, which `watch find` computes.
    """
    candidate_id = candidate.candidate_id
    if (kind := link_kind(one)) is not None:
        return sql.shared_links(kind, candidate_id)
    if one.signal in _BINS:
        return sql.together(candidate_id, _BINS[one.signal], keyed=bool(candidate.keys))
    if one.signal == "hand-off":
        return sql.handed_over(candidate_id)
    if one.signal in sql.ASKING:
        return sql.askers(candidate_id, one.signal)
    return None


def expected_query(candidate_id: str, one: SignalFinding) -> str | None:
    """Return the query of what strangers would show; None where it is drawn by permutation."""
    if (kind := link_kind(one)) is not None:
        return sql.expected_links(kind, candidate_id)
    if one.signal == "hand-off":
        return sql.expected_handed_over(candidate_id)
    return None


def agrees(asker: Asker, query: str | None, printed: float) -> bool:
    """Tell whether a query gives a figure of `watch find`, which rounds to three places.

    One that does not is not printed: two figures of one thing would help nobody.
    """
    return query is not None and abs(asker.number(query) - printed) <= _ROUNDED


def link_kind(one: SignalFinding) -> str | None:
    """Return what accounts have in common where a signal is of that."""
    if one.signal == "shared client address":
        return "relay" if one.part == "means" else "client network"
    return _LINKED.get(one.signal)


def _signal(asker: Asker, candidate: Candidate, one: SignalFinding) -> SignalFact:
    query = observed_query(candidate, one)
    observed = None
    if query is not None and agrees(asker, query, one.observed):
        about = _SAYS.get(one.signal, _SAYS["shares"])
        observed = asker.statement(one.signal, query, lambda found: f"{about}: {found:,.10g}")
    return SignalFact(
        candidate_id=candidate.candidate_id, signal=one.signal, part=one.part, observed=observed
    )


def day_words(text: str) -> str:
    """Return the date of a moment in words."""
    when = datetime.fromisoformat(text)
    return f"{when.day} {when:%B %Y}"


_TOTALS: Mapping[str, Says] = {
    "accounts": lambda n: many(n, "account"),
    "parties": lambda n: f"{n:,} parties, where the accounts of one tenant are one",
    "requests": lambda n: many(n, "request"),
    "share of all requests": lambda n: f"{100 * n:.3g}% of all requests of the store",
    "first request": lambda at: f"first request on {day_words(at)}",
    "last request": lambda at: f"last request on {day_words(at)}",
    "requests an account and active day": lambda n: f"{n:.3g} requests an account and active day",
    "refused": lambda n: (
        "no status is known" if n is None else f"{many(n, 'request')} refused (401, 403 or 429)"
    ),
    "tokens written": lambda n: (
        "no count of tokens is known" if n is None else f"{n:,} tokens written for them"
    ),
}
