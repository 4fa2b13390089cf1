"""The queries of what corroborates a case: figures of its named parties that one group tested."""

from __future__ import annotations

from collections.abc import Iterable

from potstill.watch.case import sql
from potstill.watch.signals.habits import EVEN_FROM, IDLE_ONE_IN


def idle_hours(candidate_id: str) -> str:
    """Return the hours in which a group's named parties ask, beside what even requests reach."""
    return (
        "SELECT avg(hours / (24 * (1 - pow(23 / 24, n)))) FROM (\n"
        f"  SELECT sum(n) AS n, count(*) FILTER (WHERE {IDLE_ONE_IN} * n >= whole) AS hours\n"
        "  FROM (\n"
        "    SELECT party, count(*) AS n, sum(count(*)) OVER (PARTITION BY party) AS whole\n"
        f"    FROM mine WHERE {sql.within(candidate_id)}\n    GROUP BY party, second // 3600)\n"
        f"  GROUP BY party) WHERE n >= {EVEN_FROM}"
    )


def appetite(candidate_id: str) -> str:
    """Return the completion tokens a request of a group's named parties, party by party."""
    return (
        "SELECT avg(written / answered) FROM (\n"
        "  SELECT sum(completion_tokens) AS written, count(completion_tokens) AS answered\n"
        f"  FROM mine WHERE {sql.within(candidate_id)}\n  GROUP BY party) WHERE answered > 0"
    )


def at_limit(candidate_id: str) -> str:
    """Return the share of requests that reach their limit, party by party."""
    return (
        "SELECT avg(reached) FROM (\n"
        "  SELECT avg((completion_tokens >= max_tokens)::INTEGER) AS reached\n"
        f"  FROM mine WHERE {sql.within(candidate_id)}\n  GROUP BY party)"
    )


def moved(candidate_id: str, new: Iterable[str], recent: int) -> str:
    """Return the share of requests from a day on that go to some models, party by party."""
    models = ", ".join(map(sql.quoted, new))
    return (
        f"SELECT avg(share) FROM (\n  SELECT avg(coalesce(model IN ({models}), false)::INTEGER)"
        f" AS share\n  FROM mine WHERE day >= {recent} AND {sql.within(candidate_id)}\n"
        "  GROUP BY party)"
    )
