"""What joins the accounts of a case: a ring of accounts, and inside it what some share."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from potstill.report.charts import WIDTH, Chart, tag
from potstill.watch.case.models import CaseFacts, MemberStrength
from potstill.watch.schema import ACCOUNT

MOST_ACCOUNTS, MOST_VALUES = 60, 40
_SIZE, _RING, _INNER = 400.0, 180.0, 0.62


def graph_chart(facts: CaseFacts, members: Sequence[MemberStrength]) -> Chart | None:
    """Return the graph of the strongest accounts; None where nothing joins them but templates.

    A party that is a tenant is not drawn: values are of parties, and an account of none is one.
    """
    shown = [one.account for one in members[:MOST_ACCOUNTS]]
    joined = _joined(facts, set(shown))[:MOST_VALUES]
    if not joined:
        return None
    strengths = {one.account: one.strength for one in members}
    # Accounts of one value stand together, so that lines cross less.
    order = {name: place for _, who in reversed(joined) for place, name in enumerate(sorted(who))}
    first = {name: number for number, (_, who) in reversed(list(enumerate(joined))) for name in who}
    ring = sorted(shown, key=lambda name: (first.get(name, len(joined)), order.get(name, 0), name))
    at = {name: _on_ring(place, len(ring)) for place, name in enumerate(ring)}
    parts = []
    inner: list[tuple[str, tuple[float, float], int]] = []
    for kind, who in joined:
        x = WIDTH / 2 + _INNER * (sum(at[name][0] for name in who) / len(who) - WIDTH / 2)
        y = _SIZE / 2 + _INNER * (sum(at[name][1] for name in who) / len(who) - _SIZE / 2)
        inner.append((kind, (x, y), len(who)))
        for name in sorted(who):
            parts.append(
                tag("line", class_="whisker link", x1=at[name][0], y1=at[name][1], x2=x, y2=y)
            )
    for kind, (x, y), count in inner:
        title = tag("title", f"{kind} of {count} accounts")
        parts.append(tag("rect", title, class_="bar", x=x - 4, y=y - 4, width=8.0, height=8.0))
    for name in ring:
        title = tag("title", f"{name}: {strengths[name]}")
        dot = tag("circle", title, class_="dot", cx=at[name][0], cy=at[name][1], r=4.5)
        kind = "row student" if strengths[name] == "strong" else "row"
        parts.append(tag("g", dot, class_=kind))
    label = f"Account graph: {len(ring)} accounts and {len(joined)} things that some share"
    svg = tag("svg", *parts, viewBox=f"0 0 {WIDTH} {_SIZE:.0f}", role="img", aria_label=label)
    return Chart("What accounts have in common", _note(members, len(ring), facts, joined), svg)


def _joined(facts: CaseFacts, shown: set[str]) -> list[tuple[str, set[str]]]:
    """Return each shared value's kind and those of the shown accounts that have it."""
    found = []
    for row in facts.shared.rows:
        of: Mapping[str, object] = dict(zip(facts.shared.columns, row, strict=True))
        who = {party.removeprefix(ACCOUNT) for party in str(of["who"]).split("\n")} & shown
        if len(who) > 1:
            found.append((str(of["kind"]), who))
    return found


def _note(
    members: Sequence[MemberStrength],
    drawn: int,
    facts: CaseFacts,
    joined: Sequence[tuple[str, set[str]]],
) -> str:
    left = len(members) - drawn
    more = f"; {left:,} weaker accounts are not drawn" if left else ""
    values = len(facts.shared.rows) - len(joined)
    others = f"; {values:,} more values in case.json" if values else ""
    kinds = ", ".join(sorted({kind.replace("_", " ") for kind, _ in joined}))
    return f"dots are accounts (coloured: strong), squares what some share ({kinds}){more}{others}"


def _on_ring(place: int, count: int) -> tuple[float, float]:
    angle = 2 * math.pi * place / max(1, count) - math.pi / 2
    return WIDTH / 2 + _RING * math.cos(angle), _SIZE / 2 + _RING * math.sin(angle)
