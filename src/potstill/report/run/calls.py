"""How often the student calls the tools that the teacher calls."""

from __future__ import annotations

from dataclasses import dataclass

from potstill.report import words
from potstill.report.run.names import left_out
from potstill.report.tables import Table, row, table
from potstill.work.scores import CallScores

HEADS = ("Held-out prompts that the teacher answered with calls", "Prompts", "Share")


@dataclass(frozen=True)
class CallSection:
    """The section on tool calls: what it measures, what the student did, and on other prompts."""

    lead: str
    table: Table | None
    text: str | None


def tool_calls(scores: CallScores | None) -> CallSection | None:
    """Return the table of what the student did, and sentences; None where nothing was called."""
    if scores is None:
        return None
    counts = scores.outcomes
    rows = [
        row(
            name,
            words.whole(count),
            words.NOTHING if count is None else words.percent(count / scores.prompts),
            key=key,
        )
        for count, name, key in (
            (counts.get("right"), "The same calls", "student"),
            (counts.get("other_arguments"), "The same functions with other arguments", "plain"),
            (counts.get("other_name"), "Another function, or another number of calls", "plain"),
            (counts.get("no_call"), "No call", "plain"),
        )
    ]
    return CallSection(_lead(scores), table(HEADS, rows), _text(scores))


def _lead(scores: CallScores) -> str:
    return (
        f"The student's greedy answer holds the teacher's calls on {words.with_ends(scores.right)} "
        "of these prompts: the same functions, with arguments that are equal as JSON."
        + _left_out(scores.left_out)
    )


def _left_out(count: int) -> str:
    if not count:
        return ""
    return f" {left_out({'too_long': count})}.".replace("more left out", "more are left out")


def _text(scores: CallScores) -> str | None:
    if scores.text_kept is None:
        return None
    return (
        f"Of {words.whole(scores.text_prompts)} prompts with tools on offer that the teacher "
        "answered in text alone, the student called nothing on "
        f"{words.with_ends(scores.text_kept)}."
    )
