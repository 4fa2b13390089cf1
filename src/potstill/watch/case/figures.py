"""What signals observed in every group of a run's cases, and what strangers would have shown.

The printed queries (`sql`) give these figures group by group and kind by kind, each from the whole
store's links. When a run's cases are written they come from one query for all groups; tests ask the
printed ones, and get the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

from potstill.watch.case import sql
from potstill.watch.case.models import Value
from potstill.watch.signals.links import TOGETHER

KINDS = (*sql.KINDS, "relay", "client network", TOGETHER, sql.TEMPLATE)
BINS = (1, 30)
_SHARED = """
SELECT candidate_id, kind, sum(n - 1)::DOUBLE FROM (
  SELECT candidate_id, kind, value, count(*) AS n FROM {groups} JOIN links USING (party)
  GROUP BY ALL)
GROUP BY ALL"""
# What one party alone has adds nothing to what is expected; values whose parties are in the same
# strata are one pattern.
_EXPECTED = """
WITH size AS (SELECT zone, stratum, count(*) AS n FROM strata GROUP BY ALL),
inside AS (SELECT candidate_id, zone, stratum, count(*) AS n FROM {groups} JOIN strata USING (party)
  GROUP BY ALL),
wide AS (SELECT DISTINCT candidate_id, zone FROM inside JOIN size USING (zone, stratum)
  WHERE 2 * inside.n > size.n),
shares AS (
  SELECT candidate_id, stratum, inside.n / size.n AS share
  FROM inside JOIN size USING (zone, stratum) ANTI JOIN wide USING (candidate_id, zone)
  UNION ALL
  SELECT candidate_id, stratum, inner_n / whole_n AS share FROM wide
  JOIN (SELECT candidate_id, zone, sum(n) AS inner_n FROM inside GROUP BY ALL)
    USING (candidate_id, zone)
  JOIN (SELECT zone, sum(n) AS whole_n FROM size GROUP BY ALL) USING (zone)
  JOIN size USING (zone)),
cells AS (SELECT kind, value, stratum, count(*) AS n FROM links JOIN strata USING (party)
  GROUP BY ALL),
patterns AS (SELECT kind, cells, count(*) AS times FROM (
    SELECT kind, value, list((stratum, n) ORDER BY stratum) AS cells FROM cells
    GROUP BY ALL HAVING sum(n) > 1)
  GROUP BY ALL),
numbered AS (SELECT row_number() OVER () AS pattern, kind, times, unnest(cells) AS cell
  FROM patterns),
of_pattern AS (
  SELECT candidate_id, kind, pattern, any_value(times) AS times, sum(share * cell[2]) AS expected,
    product((1 - share) ** cell[2]) AS missed
  FROM numbered JOIN shares ON cell[1] = stratum GROUP BY ALL)
SELECT candidate_id, kind, sum(times * (expected - 1 + missed)) FROM of_pattern GROUP BY ALL"""
_TOGETHER = """
SELECT candidate_id, sum(n * n)::DOUBLE FROM (
  SELECT candidate_id, day, second // {seconds} AS bin, count(*) AS n
  FROM {groups} JOIN {requests} USING (party) {counted} GROUP BY ALL)
GROUP BY candidate_id"""
# Of a group that keys chose those requests are counted that have the settings of its keys.
_COUNTED = {
    False: "ANTI JOIN {keys} USING (candidate_id)",
    True: "SEMI JOIN {keys} USING (candidate_id, has_settings)",
}
_ASKERS = """
SELECT candidate_id,
  count(*) FILTER (WHERE 4 * reasoning >= n)::DOUBLE,
  count(*) FILTER (WHERE 4 * rubric >= n)::DOUBLE
FROM {groups} JOIN (
  SELECT party, count(reasoning) AS n, count(*) FILTER (WHERE reasoning) AS reasoning,
    count(*) FILTER (WHERE rubric) AS rubric
  FROM {requests} WHERE reasoning IS NOT NULL GROUP BY party) USING (party)
GROUP BY candidate_id"""


@dataclass(frozen=True)
class Tables:
    """What figures of all groups are made of.

    `groups` has `candidate_id` and `party`; `requests` those of their parties, in which `reasoning`
    and `rubric` say what prompts ask for, where the `text` is kept; `keys` the settings that each
    group's keys have, and requests theirs of them, as `has_settings`. Without sketches there are
    no `keys`.
    """

    groups: str
    requests: str
    keys: str | None
    text: bool


def group_figures(connection: duckdb.DuckDBPyConnection, made: Tables) -> Mapping[str, Value]:
    """Return the figures of all groups by the queries that are printed for them."""

    def rows(query: str, **names: object) -> list[tuple[str | float, ...]]:
        stated = query.format(groups=made.groups, requests=made.requests, **names)
        found: list[tuple[str | float, ...]] = connection.execute(stated).fetchall()
        return found

    ids = {str(one) for (one,) in rows("SELECT DISTINCT candidate_id FROM {groups}")}
    found: dict[str, Value] = {}
    for query, printed in ((_SHARED, sql.shared_links), (_EXPECTED, sql.expected_links)):
        found |= {printed(kind, one): 0.0 for one in ids for kind in KINDS}
        found |= {printed(str(kind), str(one)): value for one, kind, value in rows(query)}
    keyed = set()
    if made.keys is not None:
        keyed = {str(one) for (one,) in rows(f"SELECT DISTINCT candidate_id FROM {made.keys}")}
    for minutes in BINS:
        found |= {sql.together(one, minutes, keyed=one in keyed): 0.0 for one in ids}
        for has_keys, join in _COUNTED.items() if made.keys is not None else ((False, ""),):
            counted = join.format(keys=made.keys)
            for one, value in rows(_TOGETHER, seconds=60 * minutes, counted=counted):
                found[sql.together(str(one), minutes, keyed=has_keys)] = value
    if made.text:
        for place, signal in enumerate(sql.ASKING, 1):
            found |= {sql.askers(one, signal): 0.0 for one in ids}
            found |= {sql.askers(str(row[0]), signal): row[place] for row in rows(_ASKERS)}
    return found
