"""All queries of a case as one text of SQL, which `duckdb < queries.sql` runs."""

from __future__ import annotations

from collections.abc import Iterator

from potstill.watch.case.models import Case, FactTable, Statement

_HEAD = """-- Every query that is printed in the case {case_id}, in plain DuckDB (written for 2.0).
-- Run it where `potstill watch cases` was run, or say below where the store and the cases lie.
"""


def queries_of(case: Case) -> Iterator[Statement | FactTable]:
    """Yield every figure and table of a case that has a query."""
    facts = case.facts
    yield from facts.totals
    yield facts.timeline
    yield facts.members
    if facts.templates is not None:
        yield facts.templates
    yield facts.shared
    for one in facts.signals:
        if one.observed is not None:
            yield one.observed
    yield from facts.explanations
    yield from facts.corroboration


def queries_text(case: Case) -> str:
    """Return the queries of a case after what they need."""
    parts = [_HEAD.format(case_id=case.case_id), case.prepare]
    parts += [f"\n-- {_name(one)}\n{one.query};\n" for one in queries_of(case)]
    for group in case.inference.groups:
        parts += [
            f"\n-- expected: {one.signal}: {one.expected:g}\n{one.expected_query};\n"
            for one in group.signals
            if one.expected_query is not None
        ]
    return "".join(parts)


def _name(one: Statement | FactTable) -> str:
    return f"{one.name}: {one.value}" if isinstance(one, Statement) else one.name
