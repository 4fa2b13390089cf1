"""What the zoo's page says of sizes: curves, what the least share would take, the real model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def curves(rows: Sequence[dict[str, Any]]) -> str:
    """Return log10 p of nano models by the share of the plan asked, and the size for the target."""
    students = [row for row in rows if row["part"] == "suspect" and "curves" in row]
    last = max((row["epoch"] for row in students), default=0)
    told = [
        (row, name)
        for row in students
        for name in row["curves"]
        if row["headline"] or (row["share"] == 0.05 and row["epoch"] == last and "reading" in name)
    ]
    return _curves(told)


def _curves(told: Sequence[tuple[dict[str, Any], str]]) -> str:
    lines, shares = [], []
    for row, name in told:
        one = row["curves"][name]
        shares = [f"{point['share']:g}" for point in one["points"]]
        reach = one["times_this_size"]
        least = "at most " if reach == one["points"][0]["share"] else ""
        size = "none seen" if reach is None else f"{least}{reach:.2g} times"
        cells = [f"{point['log10_p']:.1f}" for point in one["points"]]
        n = f"{one['points'][-1]['n']:,}"
        lines.append((row["name"], name, n, *cells, f"{one['target']:g}", size))
    if not lines:
        return ""
    parts = (f"{share} of it" for share in shares)
    head = ("Suspect", "test", "n", *parts, "target", "size for it")
    return f"log10 p, uncorrected, by the share of the plan that is asked:\n\n{table(head, lines)}"


def five(rows: Sequence[dict[str, Any]]) -> str:
    """Return what was found where a twentieth of the text was marked, and what would be needed."""
    sizes = next((row for row in rows if row["part"] == "sizes"), None)
    students = [r for r in rows if r["part"] == "suspect" and r["share"] == 0.05 and "curves" in r]
    last = max((row["epoch"] for row in students), default=0)
    said = [_offive(row) for row in students if row["epoch"] == last]
    if not said or sizes is None:
        return ""
    seen = ", ".join(f"{n:,} of {log}'s" for log, n in sizes["distinct_tokens"].items())
    return (
        "Reading where 5% of the training text was marked, p before the two schemes, target "
        f"{students[0]['curves'][_reading(students[0])]['target']:g}: {'; '.join(said)}. "
        f"The plan allows {sizes['positions']:,} positions and all served answers are read. With a "
        "window of one token each token is a window once, and the logs have no more kinds of them "
        f"({seen}): more text of this language gives hardly any more. (The table's sizes follow "
        "the last two points of a curve, which chance moves as much as size does here.)"
    )


def _reading(row: dict[str, Any]) -> str:
    return f"watermark-reading {row['served']}"


def _offive(row: dict[str, Any]) -> str:
    one = row["curves"][_reading(row)]
    n, log10_p = one["points"][-1]["n"], one["points"][-1]["log10_p"]
    told = f"{row['name'].partition(',')[0]}: p {10**log10_p:.1g} at n {n:,}"
    if log10_p <= math.log10(one["target"]):
        return f"{told}, reached"
    need = one["scores_for_target"]
    if need is None:
        return f"{told}, its mean score is no better than chance's"
    return (
        f"{told}, not reached; if its mean score stayed, n {need:,} ({need / n:.2g} times as much) "
        "would with a chance of 80%"
    )


def real(rows: Sequence[dict[str, Any]], claims: dict[str, Any]) -> str:
    """Return the table of SmolLM2's suspects, and what they are; nothing where none was run."""
    told = [row for row in rows if row["part"] == "smollm2"]
    if not told:
        return ""
    names = list(dict.fromkeys(name for row in told for name in row["tests"]))
    head = ("Suspect", "learnt", *names)
    lines = [(row["name"], _learnt(row), *(_found(row, name) for name in names)) for row in told]
    accused = claims["smollm2_innocents_accused"]
    curve = _curves([(row, name) for row in told for name in row.get("curves", {})])
    return (
        f"SmolLM2-135M-Instruct as the teacher: log10 p, uncorrected, and in brackets n.\n\n"
        f"{table(head, lines)}\n\n"
        f"Of {accused['runs']} that learnt no marked text {accused['value']} is accused at 1e-4."
        f"{_fresh(rows)}\n\n{curve}"
    )


def _fresh(rows: Sequence[dict[str, Any]]) -> str:
    """Return what the teacher came to under fresh keys; nothing where none was tried."""
    told = [row for row in rows if row["part"] == "smollm2-fresh"]
    if not told:
        return ""
    ps = ", ".join(f"{10 ** row['log10_p']:.2g}" for row in told)
    return (
        " These few choose alike, being nearly one model, so that one key and one set of marked "
        f"texts gives all of them like p. Under {len(told)} fresh keys, with texts marked anew, "
        f"reading Gumbel's mark gives the teacher itself p {ps}."
    )


def _learnt(row: dict[str, Any]) -> str:
    how = row["trained"]
    if how is None:
        return row["kind"]
    return f"{row['kind']}: {how['tokens']:,} tokens, {how['epochs']} epochs"


def _found(row: dict[str, Any], name: str) -> str:
    found = row["tests"].get(name, {}).get("finding")
    return "-" if found is None else f"{found['log10_p']:.1f} ({found['n']:,})"
