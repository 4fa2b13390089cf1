"""What the watch found in simulated worlds, in tables, for docs/methods/watch-measured.md.

From watch_find.json and watch_baselines.json alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from result_files import NOT_YET, read_results

from potstill.simulator.grid import ACCOUNTS, RATES

PARTS = {"open": "open mechanisms", "held_out": "held-out mechanisms"}
BASELINES = {
    "volume": "volume threshold",
    "forest": "isolation forest",
    "templates": "templates by exact hash",
    "mmd": "MMD of a window",
}
_TEMPLATES = {"1": "one template"}
_PUBLISHED = "innocent windows above MMD's threshold as published"
# A line of the first table: title, figure, how it is spelt.
LINES = (
    ("Campaigns made", "campaigns", "{:,}"),
    ("of them to be found", "to be found", "{:,}"),
    ("of those named", "named", "{:.1%}"),
    ("Recall, by requests", "recall by requests", "{:.1%}"),
    ("Recall, by campaign", "recall by campaign", "{:.1%}"),
    ("Cases a named campaign", "cases a named campaign", "{:.2f}"),
    ("B-cubed precision, accounts in cases", "B-cubed precision", "{:.3f}"),
    ("B-cubed recall, accounts in cases", "B-cubed recall", "{:.3f}"),
    (
        "B-cubed recall, all accounts of campaigns",
        "B-cubed recall, all campaigns' accounts",
        "{:.3f}",
    ),
    ("Accounts in true cases", "accounts in true cases", "{:,}"),
    ("of them innocent", "innocents in true cases", "{:,}"),
    ("False cases", "false cases", "{:,}"),
    ("Benign requests", "benign requests", "{:,}"),
    ("False cases a million of them, at most (95%)", "false cases a million, upper 95%", "{:.2f}"),
    ("Requests of awkward innocents", "awkward requests", "{:,}"),
    (
        "False cases of theirs a million, at most (95%)",
        "awkward false cases a million, upper 95%",
        "{:.2f}",
    ),
    ("The worst kind", "worst kind", "{}"),
    ("its requests", "worst kind's requests", "{:,}"),
    ("its false cases a million, at most (95%)", "worst kind a million, upper 95%", "{:.1f}"),
    ("Campaigns looked for day by day and alerted", "alerted", "{:,}"),
    ("share of their requests before the first alert", "share of them", "{:.1%}"),
    ("day of the first alert, median", "median day of the first alert", "{:g}"),
)


def page_block(results: Path) -> str:
    """Return the tables of the page."""
    return (
        f"## What was found\n\n{find_block(results)}\n\n"
        f"## Beside other detectors\n\n{baselines_block(results)}"
    )


def find_block(results: Path) -> str:
    """Return what was found, part by part, and where."""
    found = read_results(results, "watch_find")
    if found is None:
        return NOT_YET
    parts = {row["part"]: row for row in found["rows"] if row["part"] in PARTS}
    if any("surface" not in row["figures"] for row in parts.values()):
        return NOT_YET
    return "\n\n".join(
        [
            f"`benchmarks/watch_find.py` on {_day(found)} (commit {found['commit']}): "
            + "; ".join(_worlds(found, part) for part in parts)
            + ".",
            _summary(parts),
            *([_by_links(parts)] if _by_links(parts) else []),
            *(_swept(part, row["figures"]) for part, row in parts.items()),
            *(_by_family(part, row["figures"]) for part, row in parts.items()),
            *(_by_mechanism(part, row["figures"]) for part, row in parts.items()),
            *(_grid(part, row["figures"]) for part, row in parts.items()),
            *(_missed(part, row["figures"]) for part, row in parts.items()),
        ]
    )


def baselines_block(results: Path) -> str:
    """Return `watch find` beside baselines that judge one account at a time."""
    found = read_results(results, "watch_baselines")
    if found is None:
        return NOT_YET
    parts = []
    for row in found["rows"]:
        passed = row["figures"]["day"][_PUBLISHED]
        parts += [
            f"`benchmarks/watch_baselines.py` on {_day(found)} (commit {found['commit']}), "
            f"{PARTS[row['part']]}, {len(row['worlds'])} worlds:",
            *(_beside(length, row) for length in ("day", "week")),
            f"With the paper's own null (windows drawn from everybody's requests) MMD flags "
            f"{passed:.0%} of innocent account days: an account is not like everybody.",
        ]
    return "\n\n".join(parts)


def readme_block(results: Path) -> str:
    """Return the README's lines about the watch; nothing where it was not measured."""
    found = read_results(results, "watch_find")
    if found is None or "recall_weighted_held_out" not in found["claims"]:
        return ""
    claims = found["claims"]
    rows = []
    for part, title in PARTS.items():
        if f"named_{part}" not in claims:
            continue
        named, false = claims[f"named_{part}"], claims[f"false_cases_per_million_{part}"]
        recall = claims[f"recall_weighted_{part}"]["value"]
        rows += [
            (
                f"Campaigns named, {title}, of {named['runs']}",
                f"{_share(named['value'])} ({_share(recall)} of their requests)",
            ),
            (
                f"False cases, {title}, in {false['runs'] / 1e6:.1f} million benign requests",
                f"{false['false_cases']} (at most {false['value']:.1f} a million, 95%)",
            ),
        ]
    return "\n".join(
        [
            f"Watch, on simulated traffic, {_day(found)} (commit {found['commit']}; "
            "[which campaigns, who is swept in, and other detectors beside it]"
            "(docs/methods/watch-measured.md)):",
            "",
            "| Watch | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def _day(found: Mapping[str, Any]) -> str:
    return str(found["date"])[:10]


def _share(value: float) -> str:
    return f"{value:.1%}"


def _worlds(found: Mapping[str, Any], part: str) -> str:
    worlds = [row for row in found["rows"] if row["part"] == f"{part}: world"]
    benign = sum(row["benign"] for row in worlds)
    return f"{len(worlds)} worlds of {PARTS[part]}, {benign / 1e6:.1f} million benign requests"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(
        [
            f"| {' | '.join(heads)} |",
            f"|{' --- |' * len(heads)}",
            *(f"| {' | '.join(row)} |" for row in rows),
        ]
    )


def _summary(parts: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for title, key, spelt in LINES:
        values = [row["figures"].get(key) for row in parts.values()]
        if any(value is not None for value in values):
            rows.append([title, *(_spelt(spelt, value) for value in values)])
    return _table(["", *(PARTS[part] for part in parts)], rows)


def _spelt(how: str, value: Any) -> str:
    return "-" if value is None else how.format(value).replace("_", " ")


def _swept(part: str, figures: Mapping[str, Any]) -> str:
    kinds = figures["innocents in true cases, by kind"]
    said = ", ".join(f"{kind.replace('_', ' ')} {n}" for kind, n in kinds.items()) or "none"
    return f"Innocent accounts in true cases, {PARTS[part]}, by kind: {said}."


def _by_family(part: str, figures: Mapping[str, Any]) -> str:
    left = ", ".join(f"{name}: {n}" for name, n in figures["named by families"].items())
    held = ", ".join(f"{name}: {n}" for name, n in figures["families that held"].items())
    design = ", ".join(f"{name}: {n}" for name, n in figures["missed by design"].items())
    return (
        f"{PARTS[part].capitalize()}, named by the families that a campaign leaves: {left or '-'}. "
        f"What held in their cases: {held or '-'}. With one family or none, which is missed by "
        f"design: {design or '-'}."
    )


def _by_links(parts: Mapping[str, Mapping[str, Any]]) -> str:
    """Return recall by what joins a campaign's accounts."""
    lines = [
        [PARTS[part], by, of["named"], *(
            _spelt("{:.1%}", of[key]) for key in ("recall by requests", "recall by campaign")
        )]
        for part, row in parts.items()
        for by, of in row["figures"].get("by what joins them", {}).items()
    ]  # fmt: skip
    heads = ["Campaigns that are to be found", "accounts joined by", "named", "recall, by requests",
             "by campaign"]  # fmt: skip
    return _table(heads, lines) if lines else ""


def _by_mechanism(part: str, figures: Mapping[str, Any]) -> str:
    named = ", ".join(
        f"{name.replace('_', ' ')} {n}" for name, n in figures["named by mechanism"].items()
    )
    return f"{PARTS[part].capitalize()}, named by mechanism: {named or '-'}."


def _not_made(figures: Mapping[str, Any]) -> str:
    """Say which accounts and rates of the grid no campaign has, where the whole grid was drawn."""
    there = {(cell["accounts"], cell["rate"]) for cell in figures["surface"]}
    lacking = [
        f"{accounts:,} accounts at {rate:g} a day"
        for accounts in ACCOUNTS
        for rate in RATES
        if (accounts, rate) not in there
    ]
    return f" No campaign in these worlds: {', '.join(lacking)}." if lacking else ""


def _grid(part: str, figures: Mapping[str, Any]) -> str:
    """Return recall over accounts and rate (rows), mix and templates (columns)."""
    cells = [cell for cell in figures["surface"] if cell["families"] >= 2]
    mixes = sorted({cell["mix"] for cell in cells})
    kinds = [
        k for k in ("1", "2 to 4", "5 to 16", "more") if any(c["templates"] == k for c in cells)
    ]
    rows = []
    for accounts, rate in sorted({(cell["accounts"], cell["rate"]) for cell in cells}):
        mine = [c for c in cells if (c["accounts"], c["rate"]) == (accounts, rate)]
        rows.append(
            [
                f"{accounts:,}",
                f"{rate:g}",
                *(_cell([c for c in mine if c["mix"] == mix]) for mix in mixes),
                *(_cell([c for c in mine if c["templates"] == kind]) for kind in kinds),
            ]
        )
    heads = ["accounts", "a day", *(f"mix {mix:.0%}" for mix in mixes)]
    return (
        f"{PARTS[part].capitalize()} that leave two families or more: named of campaigns (share of "
        "their requests), by accounts, requests an account and day, unrelated requests, "
        "and templates."
        + _not_made(figures)
        + "\n\n"
        + _table([*heads, *(_TEMPLATES.get(kind, f"{kind} templates") for kind in kinds)], rows)
    )


def _cell(cells: Sequence[Mapping[str, Any]]) -> str:
    whole = sum(cell["campaigns"] for cell in cells)
    if not whole:
        return ""
    asked = sum(cell["requests"] for cell in cells)
    caught = sum((cell["recall by requests"] or 0) * cell["requests"] for cell in cells)
    return f"{sum(cell['named'] for cell in cells)}/{whole} ({caught / max(asked, 1):.0%})"


def _missed(part: str, figures: Mapping[str, Any]) -> str:
    came = defaultdict(int, figures["what came of them"])
    # Earlier files do not tell these apart.
    told = "in another case" in came
    elsewhere = (
        f"{came['in another case']} in a case that is false or another campaign's; " if told else ""
    )
    return (
        f"{PARTS[part].capitalize()} that are to be found: {came['named']} named; "
        f"{elsewhere}of {came['scattered']} no group held half; "
        f"of {came['among others']} it held more others; "
        f"{came['not convicted']} stood in a group of their own that was not convicted."
    )


def _beside(length: str, row: Mapping[str, Any]) -> str:
    figures, seconds = row["figures"][length], row["seconds a million requests, both windows"]
    ours = figures["ours"]
    lines = [
        [
            "`watch find`",
            f"{ours['rate']:.3%}",
            *_recalls(ours["recall"]),
            "",
            *_together(ours["taken together"]),
            "",
        ]
    ]
    for point in ours.get("roc", ()):
        if point["asked for"] in (0.00003, 0.0003):
            flagged = [f"{point['rate']:.4%}", *_recalls(point["recall"])]
            lines.append(["`watch find`, cases of the largest E", *flagged, "", "", "", ""])
    for name, title in BASELINES.items():
        found = figures["baselines"][name]
        for point in found["roc"]:
            if point["asked for"] not in (0.003, 0.03):
                continue
            whole = found["taken together"] if point["asked for"] == 0.003 else None
            lines.append(
                [
                    title,
                    f"{point['rate']:.2%}",
                    *_recalls(point["recall"]),
                    f"{found['area under the curve']:.2f}",
                    *(_together(whole) if whole else ("", "")),
                    f"{seconds[name]:.1f}" if whole else "",
                ]
            )
    heads = [
        f"Windows: an account's {length}", "false positives", "recall, headline", "recall, all",
        "area under the curve", "flagged accounts that are guilty", "campaigns half flagged",
        "seconds a million",
    ]  # fmt: skip
    return f"{figures['benign windows']:,} innocent windows.\n\n" + _table(heads, lines)


def _recalls(recall: Mapping[str, float | None]) -> tuple[str, str]:
    return _spelt("{:.1%}", recall["headline"]), _spelt("{:.1%}", recall["all to be found"])


def _together(found: Mapping[str, Any]) -> tuple[str, str]:
    return (
        f"{found['of campaigns']:,} of {found['accounts']:,}",
        f"{found['campaigns half of whose accounts are in']} of {found['campaigns']}",
    )
