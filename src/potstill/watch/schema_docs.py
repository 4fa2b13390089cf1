"""The reference page of the traffic schema, made from it.

python -m potstill.watch.schema_docs > docs/reference/traffic.md
"""

from __future__ import annotations

from collections.abc import Iterable

from potstill.watch.schema import (
    ACCOUNTS,
    MADE,
    REQUESTS,
    SCHEMA,
    SIGNALS,
    SKETCHES,
    SignalNeeds,
    TrafficColumn,
)

_TYPES = {
    "text": "text",
    "time": "timestamp, microseconds, UTC",
    "int32": "int32",
    "int64": "int64",
    "float64": "float64",
    "bool": "boolean",
    "bands": "list of int64",
}
_PAGE = """\
# The traffic schema

Made from `src/potstill/watch/schema.py`; its name is `{schema}`. Every form of log is brought to
these columns ([how](../how-to/watch.md)), and every signal is a function of them. What a
log does not say is null.

## Requests

A row without a *needed* column is set aside and counted. Columns of *text* are stored in the
privacy mode `full` alone. *Keyed* ones are stored as a hash under the store's key.

{requests}

A store has these beside them:

{made}

In the modes `sketches` and `full` also these
([what a sketch is](../methods/traffic-sketches.md)):

{sketches}

## Accounts

{accounts}

## What a missing column switches off

What *corroborates* is shown on cases, is in no e-value and makes none.

{signals}
"""


def reference_page() -> str:
    """Return docs/reference/traffic.md."""
    return _PAGE.format(
        schema=SCHEMA,
        requests=_table(REQUESTS),
        made=_table(MADE),
        sketches=_table(SKETCHES),
        accounts=_table(ACCOUNTS),
        signals=_signals(),
    )


def _table(columns: Iterable[TrafficColumn]) -> str:
    lines = ["| Column | Type | | Meaning |", "| --- | --- | --- | --- |"]
    for column in columns:
        marks = [
            mark
            for mark, is_so in (
                ("needed", column.needed),
                ("text", column.text),
                ("keyed", column.keyed),
            )
            if is_so
        ]
        lines.append(
            f"| `{column.name}` | {_TYPES[column.kind]} | {', '.join(marks)} | {column.meaning} |"
        )
    return "\n".join(lines)


def _signals() -> str:
    lines = ["| Signal | Family | Needs |", "| --- | --- | --- |"]
    lines += [f"| {one.signal} | {_family(one)} | {_needs(one)} |" for one in SIGNALS]
    return "\n".join(lines)


def _family(one: SignalNeeds) -> str:
    return f"{one.family}, corroborates" if one.corroborates else one.family


def _needs(one: SignalNeeds) -> str:
    named = [
        f"{table} {' or '.join(f'`{name}`' for name in names)}"
        for table, wanted in (("requests'", one.requests), ("accounts'", one.accounts))
        for names in wanted
    ]
    return ", ".join(named) or "times alone"


if __name__ == "__main__":
    print(reference_page(), end="")
