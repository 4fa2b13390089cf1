"""The methods page says of power and cost what the benchmark's rows say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROWS = json.loads((ROOT / "benchmarks/results/watermark_power.json").read_text())["rows"]
PAGE = (ROOT / "docs" / "methods" / "watermark.md").read_text(encoding="utf-8")
TEACHERS = ("nats-1", "nats-2", "nats-3", "smollm2")
CUT = ("nats-2", "smollm2")
# Window, gamma, delta; Gumbel without the last two.
SHOWN = (
    (2, 0.5, 0.5),
    (1, 0.5, 1.0),
    (2, 0.5, 1.0),
    (4, 0.5, 1.0),
    (2, 0.25, 1.0),
    (2, 0.5, 2.0),
    (2, 0.25, 2.0),
    (2, 0.5, 3.0),
    (1, None, None),
    (2, None, None),
    (4, None, None),
)
Setting = tuple[int, float | None, float | None]


def setting_of(row: dict[str, Any]) -> Setting:
    return int(row["window"]), row.get("gamma"), row.get("delta")


def found(teacher: str, top_p: float, setting: Setting | None) -> dict[str, Any] | None:
    for row in ROWS:
        if row.get("teacher") == teacher and row["top_p"] == top_p:
            own = None if row["scheme"] is None else setting_of(row)
            if own == setting:
                return dict(row)
    return None


def tokens(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    needed = row["tokens_for_1e-6"]
    return f"over {row['tokens'][-1]:,}" if needed is None else f"{needed:,}"


def cost(teacher: str, setting: Setting) -> str:
    row = found(teacher, 1.0, setting)
    assert row is not None
    more = row["perplexity_expected_more"]
    return "0" if more is None else f"{more:.1%}"


def name(setting: Setting) -> str:
    window, gamma, delta = setting
    return f"| Gumbel | {window} |" if gamma is None else f"| γ {gamma:g}, δ {delta:g} | {window} |"


def power_line(setting: Setting) -> str:
    cells = [tokens(found(teacher, 1.0, setting)) for teacher in TEACHERS]
    cells += [tokens(found(teacher, 0.9, setting)) for teacher in CUT]
    cells += [cost(teacher, setting) for teacher in CUT]
    return " ".join([name(setting), *(f"{cell} |" for cell in cells)])


def share_line(window: int) -> str:
    cells = []
    for teacher, size in (("nats-1", 1000), ("nats-2", 1000), ("nats-2", 8000), ("smollm2", 1000)):
        row = found(teacher, 1.0, None)
        assert row is not None
        share = dict(zip(row["tokens"], row["scored_share"][str(window)], strict=True))[size]
        cells.append(f"{share:.2f} |")
    return " ".join([f"| {window} |", *cells])


STUDENTS = [row for row in ROWS if row.get("student")]


def student_line(row: dict[str, Any]) -> str:
    reading, text = (
        row["reading"],
        [dict(zip(look["tokens"], look["log10_p"], strict=True)) for look in row["text"].values()],
    )
    like = (r for r in STUDENTS if r["learnt"] == row["learnt"])
    plain = next(r["kl"] for r in like if r["scheme"] is None)
    return " ".join(
        [
            f"{name(setting_of(row))} {row['learnt']} |",
            f"{row['kl'] - plain:.2f} |",
            f"{reading['log10_p'][-1]:.0f} | {reading['positions'][-1]:,} |",
            *(f"{at[max(at)]:.1f} |" for at in text),
        ]
    )


@pytest.mark.parametrize("setting", SHOWN)
def test_the_page_has_the_rows_of_power_and_cost(setting: Setting) -> None:
    assert power_line(setting) in PAGE


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_the_page_has_the_shares_of_scored_rows(window: int) -> None:
    assert share_line(window) in PAGE


@pytest.mark.parametrize("row", [r for r in STUDENTS if r["scheme"] is not None])
def test_the_page_has_the_students(row: dict[str, Any]) -> None:
    assert student_line(row) in PAGE
