"""The plan in words: how much each stage does, and how long it is foretold to take."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.runs.minutes.predict import Amounts, RunSizes, StageSeconds
from potstill.work.time_plan import StageTime

STAGES = ("collect", "shrink", "train", "evaluate")


def amounts_in_words(amounts: Amounts, sizes: RunSizes) -> dict[str, str]:
    """Return how much each stage does."""
    measured = sizes.held_out * (2 if amounts.greedy else 1)
    collect = f"{amounts.answers:,} answers to learn from, {measured:,} to measure on"
    shrink = f"healed on {amounts.calibration_tokens:,} tokens" if sizes.heals else "no repair"
    if sizes.search_rounds:
        shrink += f", about {sizes.trials(amounts.candidates):,} trials"
    passes = amounts.steps * sizes.batch_tokens / max(1.0, amounts.answers * sizes.text)
    train = f"{amounts.steps:,} steps, {passes:.2g} passes"
    if sizes.own_share:
        own = round(sizes.own_share * amounts.steps)
        train += f", {own:,} of the steps on the student's own answers"
    return {
        "collect": collect,
        "shrink": shrink,
        "train": train,
        "evaluate": f"{sizes.held_out:,} held-out prompts, {sizes.models} models",
    }


def rows_of(amounts: Amounts, sizes: RunSizes, seconds: StageSeconds) -> tuple[StageTime, ...]:
    """Return the rows of a plan that nothing was done of."""
    said = amounts_in_words(amounts, sizes)
    return tuple(
        StageTime(stage=s, amount=said[s], at_start=seconds.of(s), predicted=seconds.of(s))
        for s in STAGES
    )


def replanned_rows(
    rows: Sequence[StageTime], amounts: Amounts, sizes: RunSizes, seconds: StageSeconds
) -> tuple[StageTime, ...]:
    """Return the rows with what is foretold now of the stages that are not done."""
    said = amounts_in_words(amounts, sizes)
    return tuple(
        row
        if row.taken is not None
        else row.model_copy(update={"amount": said[row.stage], "predicted": seconds.of(row.stage)})
        for row in rows
    )


def table(title: str, rows: Sequence[StageTime], *, before: float, whole: float) -> list[str]:
    """Return a plan as lines: stage, how much, minutes. `before` is used already."""
    width = max(len(row.amount) for row in rows)
    lines = [f"  {row.stage:<9} {row.amount:<{width}} {_minutes(row.predicted)}" for row in rows]
    start = f"  {'start':<9} {'loaded, checked and measured':<{width}} {_minutes(before)}"
    return [title, start, *lines, f"  {'in all':<9} {'':<{width}} {_minutes(whole)}"]


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:5.1f} min"
