"""Gold answers and slices of a prompt source, by prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from potstill.collect.prompts import read_prompts
from potstill.collect.sources import Row, read_rows
from potstill.errors import PotstillError
from potstill.exchanges.exchange import prompt_id_of
from potstill.exchanges.task_answers import Answer, AnswerForm
from potstill.recipe import PromptsConfig, TaskConfig


@dataclass(frozen=True)
class TaskFacts:
    """What the source says of one prompt: the right answer and the slice, where it has them."""

    gold: Answer | None
    slice: str | None


def read_task_facts(
    source: str, prompts: PromptsConfig, task: TaskConfig
) -> Mapping[str, TaskFacts]:
    """Return the facts of every row of a source, by prompt id.

    Of rows with the same prompt the first counts, as in the plan of prompts. Raises PotstillError,
    with the row, for a column that is not there and for a gold answer that the task does not
    allow; and where two rows with one prompt have different gold answers.
    """
    form = AnswerForm.of(task)
    found: dict[str, TaskFacts] = {}
    rows = read_rows(source)
    for row, messages in zip(rows, read_prompts(source, prompts), strict=True):
        if not messages[-1]["content"]:
            continue  # the plan leaves blank prompts out
        gold = None
        if task.gold is not None:
            gold = form.gold(_value(row, task.gold, "task.gold"), row.place)
        name = None
        if task.slice is not None:
            name = str(_value(row, task.slice, "task.slice"))
        first = found.setdefault(prompt_id_of(messages), TaskFacts(gold, name))
        if first.gold != gold:
            raise PotstillError(
                f"{row.place}, repeats an earlier prompt with another gold answer; "
                "correct one of them, or remove it"
            )
    return found


def _value(row: Row, column: str, field: str) -> Any:
    if column not in row.values:
        there = ", ".join(sorted(str(name) for name in row.values)) or "none"
        raise PotstillError(
            f"{row.place}, has no column {column}; the columns there are: {there}. Set {field}"
        )
    return row.values[column]
