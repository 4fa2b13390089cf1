"""What watching takes by size, and what a billion requests a day would come to, for
docs/scale-traffic.md.

From watch_scale.json alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from result_files import NOT_YET, read_results

BILLION, DAY_S = 1_000_000_000, 86_400
# Title, figure of a row, how it is spelt.
LINES = (
    ("Requests", "requests", "{:,.0f}"),
    ("`watch ingest`, seconds", "ingest_seconds", "{:.1f}"),
    ("`watch find`, seconds", "find_seconds", "{:.1f}"),
    ("`watch cases`, which finds too, seconds", "cases_seconds", "{:.1f}"),
    ("`ingest` and `cases`, seconds", "seconds", "{:.1f}"),
    ("the same for a million requests", "seconds_per_million", "{:.1f}"),
    ("Highest memory of `ingest`, GB", "ingest_peak_gb", "{:.2f}"),
    ("of `find`", "find_peak_gb", "{:.2f}"),
    ("of `cases`", "cases_peak_gb", "{:.2f}"),
    ("Log on disk (Parquet, zstd), GB", "bytes_of_log", "{:.2f}"),
    ("Store on disk, full text, GB", "bytes_of_store", "{:.2f}"),
)
_BYTES = {"bytes_of_log", "bytes_of_store"}


def page_block(results: Path) -> str:
    """Return the tables of the page, and the arithmetic that follows from them."""
    found = read_results(results, "watch_scale")
    if found is None:
        return NOT_YET
    rows = found["rows"]
    about = (
        f"`make bench-watch` on {found['date'][:10]} (commit {found['commit']}), "
        f"{found['machine']['cpu']}, two cores; worlds of {rows[0]['days']} days, full text. "
        f"Seconds of ten times the requests are {_growth(rows)} times as many."
    )
    return "\n\n".join(
        [about, _table(rows), _baselines(rows), "## A billion a day", _billion(rows)]
    )


def _growth(rows: list[dict[str, Any]]) -> str:
    return f"{rows[-1]['seconds'] / rows[0]['seconds']:.1f}"


def _table(rows: list[dict[str, Any]]) -> str:
    lines = ["|  |" + " |" * len(rows), "| --- |" + " ---: |" * len(rows)]
    for title, name, spelt in LINES:
        told = [
            spelt.format(row[name] / (1e9 if name in _BYTES else 1)) if name in row else "-"
            for row in rows
        ]
        lines.append(f"| {title} | " + " | ".join(told) + " |")
    return "\n".join(lines)


def _baselines(rows: list[dict[str, Any]]) -> str:
    found = rows[0].get("baselines") or []
    if not found:
        return "The baselines were not timed in that run."
    lines = [
        "Baselines that judge one account's day at a time (`benchmarks/watch_baselines.py`), in "
        "the same run:",
        "",
        "| Baseline | seconds a million requests |",
        "| --- | ---: |",
        *(f"| {one['baseline']} | {one['seconds_per_million']:.1f} |" for one in found),
    ]
    return "\n".join(lines)


def _each(rows: list[dict[str, Any]], name: str) -> float:
    """Return the seconds of a request in the largest world that has them."""
    row = [row for row in rows if name in row][-1]
    return float(row[name] / row["requests"])


def _billion(rows: list[dict[str, Any]]) -> str:
    """Return arithmetic alone: figures of the largest world, a thousand and more times over."""
    last = rows[-1]
    each = {name: _each(rows, f"{name}_seconds") for name in ("ingest", "find", "cases")}
    ingest, cases = each["ingest"] * BILLION, each["cases"] * BILLION
    stored = last["bytes_of_store"] / last["requests"] * BILLION
    machines = -(-(ingest + cases) // DAY_S)
    return "\n".join(
        [
            "What follows is arithmetic on the last column, not measured: each figure a request, "
            f"times {BILLION:,}. It holds where the cost a request stays what it is there.",
            "",
            f"- Taking a day in: {ingest / 3600:.1f} hours of a machine of two cores. Files are "
            "independent, so that they part over machines.",
            f"- Finding and writing cases of that day alone: {cases / 3600:.1f} hours of one.",
            f"- Together {ingest / 3600 + cases / 3600:.1f} hours, so {machines:.0f} such "
            f"machine{'s' if machines > 1 else ''} to keep up.",
            f"- Memory is not in this: `watch cases` held {last['cases_peak_gb']:.1f} GB at "
            f"{last['requests']:,} requests, so that traffic is parted over processes before.",
            f"- Disk: {stored / 1e9:,.0f} GB a day in full text, {7 * stored / 1e12:.1f} TB for "
            "seven days.",
        ]
    )
