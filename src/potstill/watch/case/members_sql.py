"""The query of the members of a case: what each account shows by itself."""

from __future__ import annotations

from potstill.watch.case import sql
from potstill.watch.signals.timing import HANDED_S

# A request asks for reasoning or for grades.
ASKING = sql.matches("|".join(sql.PATTERNS.values()))


def members(*, sketches: bool, text: bool) -> str:
    """Return what each account shows by itself.

    Of its requests: those with a template of the case, those put together as by a client that
    chose a group of the case (`alike`), those that repeat within two minutes what another party of
    the case was refused, those that were refused and another one repeated, those that ask for
    reasoning or grades; and how many other parties of the case have its payment, device or relay,
    or its network or e-mail domain.
    """
    joins = ["LEFT JOIN linked USING (party)"]
    parts = [
        "linked AS (SELECT party,\n"
        "    max(n - 1) FILTER (WHERE kind IN ('payment', 'device', 'relay')) AS links,\n"
        "    max(n - 1) FILTER (WHERE kind IN ('subnet', 'email_domain', 'client network'))"
        " AS places\n"
        "  FROM links JOIN (\n"
        "    SELECT kind, value, count(*) AS n FROM links\n"
        "    WHERE party IN (SELECT party FROM members) GROUP BY ALL) USING (kind, value)\n"
        "  GROUP BY party)"
    ]
    templated = alike = taken = handed = asking = "0"
    if sketches:
        joins += [f"LEFT JOIN {name} USING (source, row)"
                  for name in ("marked", "as_client", "taken", "handed")]  # fmt: skip
        templated, alike = "count(template)", "count(as_client.is_so)"
        taken, handed = "count(taken.is_so)", "count(handed.is_so)"
        parts += [
            "as_client AS (SELECT DISTINCT source, row, true AS is_so FROM (\n"
            "    SELECT source, row, party, unnest([\n"
            "      CASE WHEN system_hash IS NOT NULL THEN 's|' || settings END,\n"
            "      'h|' || settings || chr(10) || prompt_head::VARCHAR,\n"
            "      't|' || settings || chr(10) || prompt_tail::VARCHAR]) AS key\n"
            f"    FROM (SELECT *, {sql.SETTINGS} AS settings FROM mine))\n"
            "  JOIN client_keys USING (key) JOIN groups USING (candidate_id, party))",
            "again AS MATERIALIZED (SELECT a.source, a.row, b.source AS by_source, b.row AS by_row"
            "\n  FROM mine a JOIN mine b\n"
            "  ON a.prompt_hash = b.prompt_hash AND a.party <> b.party AND b.micros > a.micros\n"
            f"  AND b.micros <= a.micros + {HANDED_S}000000\n"
            f"  WHERE a.status IN ({sql.REFUSED_LIST}))",
            "taken AS (SELECT DISTINCT by_source AS source, by_row AS row, true AS is_so"
            " FROM again)",
            "handed AS (SELECT DISTINCT source, row, true AS is_so FROM again)",
        ]
    if text:
        asking = f"count(*) FILTER (WHERE {ASKING})"
    return (
        f"WITH {', '.join(parts)}\n"
        "SELECT account_id AS account, count(*) AS requests, count(DISTINCT day) AS days,\n"
        f"  {templated} AS templated, {alike} AS alike, {taken} AS taken_over,\n"
        f"  {handed} AS handed_on, {asking} AS asking,\n"
        "  coalesce(max(links), 0) AS linked_to, coalesce(max(places), 0) AS placed_with,\n"
        f"  count(*) FILTER (WHERE status IN ({sql.REFUSED_LIST})) AS refused,\n"
        "  strftime(make_timestamp(min(micros)), '%Y-%m-%dT%H:%M:%SZ') AS first,\n"
        "  strftime(make_timestamp(max(micros)), '%Y-%m-%dT%H:%M:%SZ') AS last\n"
        f"FROM mine {' '.join(joins)}\nGROUP BY account_id ORDER BY account_id"
    )
