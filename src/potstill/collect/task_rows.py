"""Right answers and slices of a prompt source, by prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeGuard

from potstill.collect.prompts import Known, is_blank, rows_and_prompts, value_of
from potstill.errors import PotstillError
from potstill.exchanges.exchange import prompt_id_of
from potstill.logs.rows import Row
from potstill.recipe import PromptsConfig, TaskConfig
from potstill.text.answers import AnswerForm


def read_known(
    source: str, prompts: PromptsConfig, task: TaskConfig, *, unlabelled: bool = False
) -> Mapping[str, Known]:
    """Return what every row of a source says of its prompt, by prompt id.

    Of rows with the same prompt the first counts, as in the plan of prompts. Right answers are as
    a student is to write them: labels in the recipe's spelling, and JSON as the row has it. With
    `unlabelled`, rows may do without the task's columns, or leave them empty (null): what a
    teacher answers needs no right answer. Raises PotstillError, with the row, for a column that
    is not there, for a right answer that the task does not allow, and where one prompt has two.
    """
    form, found = AnswerForm.of(task), dict[str, Known]()
    for row, turns in rows_and_prompts(source, prompts):
        if is_blank(turns):
            continue  # the plan leaves blank prompts out
        gold = slice_ = None
        if _wanted(task.gold, row, unlabelled):
            cell = value_of(row, task.gold, "task.gold")
            allowed = form.gold(cell, row.place)
            gold = str(allowed) if task.kind == "label" else _spelled(cell)
        if _wanted(task.slice, row, unlabelled):
            slice_ = str(value_of(row, task.slice, "task.slice"))
        first = found.setdefault(prompt_id_of(turns.messages, turns.tools), Known(gold, slice_))
        if None not in (first.gold, gold) and first.gold != gold:
            raise PotstillError(
                f"{row.place}, repeats an earlier prompt with another gold answer; correct one "
                "of them, or put what tells the two rows apart into the prompt"
            )
    return found


def _wanted(column: str | None, row: Row, unlabelled: bool) -> TypeGuard[str]:
    return column is not None and not (unlabelled and row.values.get(column) is None)


def _spelled(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
