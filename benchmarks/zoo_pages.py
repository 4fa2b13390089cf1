"""The zoo in words and tables, for the README and docs/methods/trace-zoo.md, from zoo.json."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import trace_pages
import zoo_sizes
from result_files import NOT_YET, read_results

ACCUSING = ("watermark-text", "watermark-reading", "twins")
# Claims with a target: what is said of each.
TARGETS = {
    "marked_full_reading_p_max": "reading marked texts, students of text that is all marked",
    "marked_full_text_p_max": "text alone, the same students",
    "marked_5pct_p": "reading marked texts, 5% of the training text marked",
    "twins_p_max": "twins, students of all served exchanges of the log",
    "smollm2_reading_p_max": "copies of SmolLM2 that learnt marked text: reading it",
    "smollm2_text_p_max": "the same copies, text alone",
    "smollm2_twins_p_max": "the same, twins of served answers",
}
_LEAST = 1e-300


def readme_block(results: Path) -> str:
    """Return the README's lines about the zoo; nothing where it was not measured yet."""
    found = read_results(results, "zoo")
    if found is None:
        return ""
    claims = found["claims"]
    accused = claims["innocents_accused"]
    rows = [
        (
            f"Innocents accused, of {accused['runs']} at alpha 1e-4",
            f"{accused['value']} (95% bound on the chance: {accused['upper_95']:.1%})",
        ),
        *(
            (f"Greatest p, {title}", _p(claims[name]))
            for name, title in TARGETS.items()
            if name in claims
        ),
        *_real_innocents(claims),
        *_peers(claims),
        *trace_pages.readme_rows(results),
    ]
    return "\n".join(
        [
            f"Trace, on a zoo of {_zoo(found)} by `make bench-zoo`, "
            f"{found['date'][:10]} (commit {found['commit']}; "
            "[how, and what each test sees](docs/methods/trace-zoo.md)):",
            "",
            "| Trace | |",
            "|---|---|",
            *(f"| {name} | {value} |" for name, value in rows),
        ]
    )


def page_block(results: Path) -> str:
    """Return the tables of docs/methods/trace-zoo.md."""
    found = read_results(results, "zoo")
    if found is None:
        return NOT_YET
    claims = found["claims"]
    parts = [
        f"One run on {found['date'][:10]}, {found['machine']['cores']} cores, commit "
        f"{found['commit']}: {_held(found)}.",
        _innocents(claims),
        _targets(claims),
        zoo_sizes.curves(found["rows"]),
        zoo_sizes.five(found["rows"]),
        _power(found["rows"]),
        _ancestry(found["rows"]),
        _resembling(claims),
        _degraded(found["rows"]),
        zoo_sizes.real(found["rows"], claims),
        _peer_table(found["rows"]),
    ]
    return "\n\n".join(part for part in parts if part)


def _zoo(found: dict[str, Any]) -> str:
    real = sum(row["part"] == "smollm2" for row in found["rows"])
    return f"{_suspects(found)} nano models{f' and {real} of SmolLM2' if real else ''}"


def _suspects(found: dict[str, Any]) -> int:
    return sum(row["part"] == "suspect" for row in found["rows"])


def _held(found: dict[str, Any]) -> str:
    """Return how many of the planned suspects a run holds."""
    rows = found["rows"]
    sizes = [row for row in rows if row["part"] == "sizes"]
    if not sizes:
        return f"{_suspects(found)} suspects"
    planned = sizes[0]["planned"]
    last = max(planned, key=int)
    held = Counter(str(row["epoch"]) for row in rows if row["part"] == "suspect")
    earlier = sum(planned.values()) - planned[last]
    real = sum(row["part"] == "smollm2" for row in rows)
    all_held = sum(held.values())
    return (
        f"{all_held} of the {sum(planned.values())} suspects, {held[last]} of {planned[last]} "
        f"after the last epoch and {all_held - held[last]} of {earlier} after an earlier one; "
        f"and {real} of SmolLM2"
    )


def _p(claim: dict[str, Any]) -> str:
    """Return a claim's p beside its target; 10^x where it is too small for a number."""
    if claim["value"] is None:
        return "no such suspect"
    spelt = f"{claim['value']:.1g}" if claim["value"] > _LEAST else f"1e{claim['log10']:.0f}"
    short = "" if claim["reached"] else f", not below {claim['below']:g}{_some(claim)}"
    return f"{spelt} (n {claim['runs']}{short})"


def _some(claim: dict[str, Any]) -> str:
    """Return which students are below a target that not all are below."""
    each: dict[str, float] = claim.get("log10_each", {})
    below = [(who, p) for who, p in each.items() if p < math.log10(claim["below"])]
    if not below:
        return ""
    named = ", ".join(f"{who.partition(',')[0]} at {10**p:.1g}" for who, p in below)
    return (
        f"; {len(below)} of {len(each)} is: {named}"
        if len(below) == 1
        else (f"; {len(below)} of {len(each)} are: {named}")
    )


def _innocents(claims: dict[str, Any]) -> str:
    everybody = claims["innocents"]
    kinds = "; ".join(f"{kind}: {n}" for kind, n in everybody["by_kind"].items())
    names = ["innocents_accused"]
    names += [f"innocents_accused_{test.replace('-', '_')}" for test in ACCUSING]
    rows = [
        (
            "all that accuse" if name == "innocents_accused" else name.split("accused_")[1],
            str(claims[name]["times"]),
            f"{claims[name]['value']} of {claims[name]['runs']}",
            f"{claims[name]['upper_95']:.1%}",
            f"{10 ** claims[name]['least_log10_p']:.2g}",
        )
        for name in names
    ]
    head = ("Test", "p multiplied by", "accused at 1e-4", "95% upper bound", "least p")
    return f"{everybody['value']} innocents ({kinds}).\n\n{zoo_sizes.table(head, rows)}"


def _targets(claims: dict[str, Any]) -> str:
    rows = [
        (title, f"{claims[name].get('below', 0):g}", _p(claims[name]), claims[name].get("who", ""))
        for name, title in TARGETS.items()
        if name in claims
    ]
    return zoo_sizes.table(("Greatest p", "target", "found", "of"), rows)


def _power(rows: Sequence[dict[str, Any]]) -> str:
    told = [row for row in rows if row["part"] == "power"]
    names = list(dict.fromkeys(row["test"] for row in told))
    groups: dict[tuple[str, int], dict[str, Any]] = {}
    for row in told:
        groups.setdefault((row["kind"], row["epoch"]), {})[row["test"]] = row
    lines = [
        (
            kind,
            str(epoch),
            *(_cell(by_test.get(name)) for name in names),
        )
        for (kind, epoch), by_test in groups.items()
    ]
    head = ("Kind", "epoch", *names)
    return (
        "Median log10 p after Bonferroni over a test's configurations, and how many of a kind are "
        f"at or below 1e-4.\n\n{zoo_sizes.table(head, lines)}"
    )


def _cell(row: dict[str, Any] | None) -> str:
    if row is None:
        return "-"
    found = round(row["found"] * row["n"])
    return f"{row['median_log10_p']:.1f} ({found}/{row['n']})"


def _ancestry(rows: Sequence[dict[str, Any]]) -> str:
    told = [row for row in rows if row["part"] == "ancestry"]
    lines = [
        (
            row["name"],
            row["kind"],
            *(_told(row["told"].get(name)) for name in ("weights", "order")),
            ", ".join(row["called"]) or "nothing",
        )
        for row in told
    ]
    if not lines:
        return ""
    head = ("Relative", "kind", "weights, log10 p", "order, log10 p", "called at 1e-4")
    return (
        "In brackets the tier, and what was found: the share of hidden units that match in "
        f"place, and the correlation with the step.\n\n{zoo_sizes.table(head, lines)}"
    )


def _told(one: dict[str, Any] | None) -> str:
    return "-" if one is None else f"{one['log10_p']:.1f} ({one['tier']}, {one['effect']:.2f})"


def _resembling(claims: dict[str, Any]) -> str:
    found = claims["innocents_like_the_teacher"]
    void = found.get("void", 0)
    return (
        f"Agreement, which is support and accuses nobody, is at or below 1e-4 for {found['value']} "
        f"of {found['runs']} innocents that share no weights with the teacher."
        + (f" For {void} of them nothing follows: it is void." if void else "")
    )


def _degraded(rows: Sequence[dict[str, Any]]) -> str:
    asked = [row for row in rows if row["part"] == "suspect" and row["stops"] is not None]
    if not asked:
        return ""
    flagged = [f"{row['name']} ({row['stops']:.0%})" for row in asked if row["degraded"]]
    teacher, least = asked[0]["teacher_stops"], min(row["stops"] for row in asked)
    said = "; ".join(flagged) or "none"
    return (
        f"Answers that end by themselves within 128 tokens: the teacher's {teacher:.0%}, the "
        f"lowest suspect's {least:.0%}. Degraded, below half of the teacher's: {said}."
    )


def _real_innocents(claims: dict[str, Any]) -> list[tuple[str, str]]:
    claim = claims.get("smollm2_innocents_accused")
    if claim is None:
        return []
    return [
        (
            "Copies of SmolLM2 accused that learnt no marked text",
            f"{claim['value']} of {claim['runs']}",
        )
    ]


def _peers(claims: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (f"Innocents called derived by {_peer(name)}", f"{claim['value']} of {claim['runs']}")
        for name, claim in claims.items()
        if name.startswith("peer_innocents_accused: ")
    ]


def _peer(name: str) -> str:
    return name.partition(": ")[2]


def _peer_table(rows: Sequence[dict[str, Any]]) -> str:
    said = [row for row in rows if row["part"] == "peer"]
    if not said:
        return ""
    lines = []
    for peer in dict.fromkeys(row["peer"] for row in said):
        of = [row for row in said if row["peer"] == peer]
        parts = {
            "no kin, learnt nothing": [r for r in of if not r["claims"] and not r["indirect"]],
            "learnt the teacher's outputs": [r for r in of if "outputs" in r["claims"]],
            "share its weights": [r for r in of if "weights" in r["claims"]],
        }
        for kind, members in parts.items():
            derived = sum(row["derived"] for row in members)
            methods = sorted({name for row in members for name in row["methods"]})
            each = [
                f"{name} {sum(r['methods'].get(name, {}).get('derived', False) for r in members)}"
                for name in methods
            ]
            lines.append((peer, kind, f"{derived} of {len(members)}", ", ".join(each)))
    head = ("Package", "suspects that", "called derived", "by method")
    return zoo_sizes.table(head, lines)
