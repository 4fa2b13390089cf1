"""Which stage of a run each field of its recipe decides about first.

A changed field leaves the stages before that one as they are: what a teacher was paid for is not
asked again because training is to be another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from potstill.recipe.differences import differences
from potstill.recipe.whole import Recipe

COLLECT, CURATE, SHRINK, TRAIN, EVALUATE, REPORT = (
    "collect",
    "curate",
    "shrink",
    "train",
    "evaluate",
    "report",
)
ORDER = (COLLECT, CURATE, SHRINK, TRAIN, EVALUATE, REPORT)
# What is asked of the teacher for measuring, and how many answers are decoded at once: another
# value may ask for more, and leaves what is stored of use.
ASKS_MORE = frozenset(
    {
        "evaluate.fidelity_prompts",
        "evaluate.max_tokens",
        "evaluate.greedy",
        "task",
        "collect.slots",
        "collect.wave",
    }
)
# How a server is reached, and what may be spent on it, decides nothing about its answers; nor does
# the place of a key's file, whose digest the run knows.
REACHES = (
    *("url", "key_env", "max_in_flight", "requests_per_minute", "timeout_s", "tries"),
    *("budget", "budget_tokens"),
)
DECIDES_NOTHING = frozenset(
    ["collect.watermark.key", "minutes", *(f"teacher.endpoint.{name}" for name in REACHES)]
)
# What was paid is counted at the end; what a call costs is measured where a task is.
_PRICES = frozenset(
    {"teacher.endpoint.price_in", "teacher.endpoint.price_out", "cost.machine_hour"}
)
_BY_SECTION = {
    "name": REPORT,
    "cost": REPORT,
    "evaluate": EVALUATE,
    "task": EVALUATE,
    "train": TRAIN,
    "shrink": SHRINK,
    # What a student cannot read is left out by curation.
    "student": CURATE,
    "curate": CURATE,
}
_BY_FIELD = {
    "evaluate.cross_entropy_baseline": TRAIN,
    # Text alone is curated in another way than distributions.
    "train.cross_entropy": CURATE,
    # A plan of prompts knows the right answers that its rows came with.
    "task.gold": CURATE,
    "task.slice": EVALUATE,
    # What a student is for, and who permits it, is stated beside it at the end.
    "student.intent": REPORT,
    "student.licence": REPORT,
    "student.kind": REPORT,
    "teacher.terms.authorisation": REPORT,
    "collect.calls.terms.authorisation": REPORT,
}


def stage_of(field: str, recipe: Recipe) -> str:
    """Return the first stage that a field, written with dots, decides about in a recipe.

    Fields that belong to no later stage (`seed`, `teacher`, `prompts`, ...) are those of collect.
    """
    if field in ASKS_MORE or _decides_targets(field, recipe):
        return COLLECT
    if field in _PRICES:
        return REPORT if recipe.task is None else EVALUATE
    section = field.partition(".")[0]
    return _BY_FIELD.get(field) or _BY_SECTION.get(section, COLLECT)


def _decides_targets(field: str, recipe: Recipe) -> bool:
    """Tell whether what is stored of the answers would be another thing with another value."""
    if field == "train.temperature":
        return recipe.collect.targets in ("sampled", "top-k")
    if field.startswith("student.model"):
        # Its tokenizer reads a server's likeliest tokens.
        return recipe.served_targets
    return field == "task.gold" and recipe.collect.gold


@dataclass(frozen=True)
class Change:
    """A field that two recipes set differently, in JSON, and the first stage that it touches.

    `asks_more` tells that what was asked before stays of use.
    """

    field: str
    there: str
    here: str
    stage: str
    asks_more: bool

    def __str__(self) -> str:
        return f"{self.field} is {self.there} there and {self.here} in this recipe"


def changes_between(stored: Mapping[str, Any], recipe: Recipe) -> list[Change]:
    """Return where a recipe differs from stored values, but for what decides nothing."""
    return [
        Change(d.key, d.there, d.here, stage_of(d.key, recipe), d.key in ASKS_MORE)
        for d in differences(stored, recipe.model_dump(mode="json"))
        if d.key not in DECIDES_NOTHING
    ]


def first_stage(changes: Sequence[Change]) -> str:
    """Return the first stage that any of the changes touches."""
    return min((change.stage for change in changes), key=ORDER.index)


def from_stage(stage: str) -> tuple[str, ...]:
    """Return a stage and those that follow it."""
    return ORDER[ORDER.index(stage) :]
