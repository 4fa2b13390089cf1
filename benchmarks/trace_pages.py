"""Null trials of a trace in tables, for docs/methods/trace.md and trace-ancestry.md.

From trace_null.json and trace_ancestry.json alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_files import NOT_YET, read_results

_WRONG = "wrong: "


def null_block(results: Path) -> str:
    """Return what null trials of marks and twins came to."""
    found = read_results(results, "trace_null")
    if found is None:
        return NOT_YET
    rows = [row for row in found["rows"] if "test" in row]
    sound = [row for row in rows if not row["test"].startswith(_WRONG)]
    named = {id(row): _null_name(row) for row in rows}
    return "\n\n".join(
        [
            f"{_ran('make trace-null', found)}: least p of the Kolmogorov-Smirnov tests "
            f"{_least(found)}; {_inside(sound, 'inside')}. Conservative rows are not uniform by "
            "design: their rate may lie below the level, never above.",
            _table(
                [(named[id(row)], row["trials"], row["adjusted_ks_p"], _rates(row)) for row in rows]
            ),
        ]
    )


def ancestry_block(results: Path) -> str:
    """Return what null trials of descent and agreement came to, and whom the tests found."""
    found = read_results(results, "trace_ancestry")
    if found is None:
        return NOT_YET
    nulls = [row for row in found["rows"] if "levels" in row]
    held = "all levels held" if found["claims"]["levels_held"]["value"] else "not all levels held"
    parts = [
        f"{_ran('make trace-ancestry', found)}: least p of the Kolmogorov-Smirnov tests "
        f"{_least(found)}; {held}, in rows whose test is exact or bounded.",
        _table(
            [(row["row"], row["trials"], row.get("adjusted_ks_p"), _rates(row)) for row in nulls]
        ),
        _relatives([row for row in found["rows"] if row["part"] == "weights" and "how" in row]),
        _orders([row for row in found["rows"] if row["part"] == "power"]),
    ]
    return "\n\n".join(part for part in parts if part)


def readme_rows(results: Path) -> list[tuple[str, str]]:
    """Return the README's row about null trials; none where they were not run."""
    files = [
        found for name in ("trace_null", "trace_ancestry") if (found := read_results(results, name))
    ]
    if len(files) < 2:
        return []
    least = min(float(found["claims"]["ks_p_min"]["value"]) for found in files)
    trials = sum(row["trials"] for found in files for row in found["rows"] if "trials" in row)
    title = f"Null trials ({trials:,}) of the tests: least p that exact p-values are uniform, Holm"
    return [(title, f"{least:.2g}")]


def _null_name(row: Mapping[str, Any]) -> str:
    named = ": ".join(part for part in (row["test"], row["scheme"], row["who"]) if part)
    return f"{named} (conservative)" if row["conservative"] else named


def _ran(command: str, found: Mapping[str, Any]) -> str:
    return f"`{command}` on {found['date'][:10]} (commit {found['commit']})"


def _least(found: Mapping[str, Any]) -> str:
    claim = found["claims"]["ks_p_min"]
    return f"{claim['value']:.2g} after Holm's correction"


def _inside(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    levels = [level[key] for row in rows for level in row["levels"]]
    return f"{sum(levels)} of {len(levels)} rates inside their intervals"


def _rates(row: Mapping[str, Any]) -> dict[float, float]:
    return {level["level"]: level.get("share", level.get("rate")) for level in row["levels"]}


def _table(rows: Sequence[tuple[str, int, float | None, Mapping[float, float]]]) -> str:
    lines = [
        "| Test and null | trials | KS p, Holm | p <= 0.05 | p <= 0.01 | p <= 0.001 |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, trials, ks, rates in rows:
        shown = [f"{rates[v]:.2%}" if v in rates else "-" for v in (0.05, 0.01, 0.001)]
        fit = "-" if ks is None else f"{ks:.2g}"
        lines.append(f"| {name} | {trials:,} | {fit} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _relatives(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        "| Nano network | compared | related | tier | log10 p |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        related = "yes" if row["related"] else "no"
        name = str(row["row"]).removeprefix("weights: ")
        lines.append(
            f"| {name} | {row['how']} | {related} | {row['tier']} | {row['log10_p']:.1f} |"
        )
    return "\n".join(lines)


def _orders(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    lines = [
        f"Training order, by {rows[0]['redraws']:,} fresh secrets:",
        "",
        "| Suspect | text | rows | reference | correlation | p |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {str(row['row']).removeprefix('order: ')} | {row['text']} | {row['rows']:,} "
        f"| {row['reference']} | {row['statistic']:+.2f} | {row['p']:.2g} |"
        for row in rows
    ]
    return "\n".join(lines)
