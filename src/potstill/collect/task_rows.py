"""Right answers and slices of a prompt source, by prompt."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, TypeGuard

from potstill.collect.prompt_rows import is_blank, same_prompt, value_of
from potstill.collect.prompts import rows_and_prompts
from potstill.errors import PotstillError
from potstill.logs.conversations import without_nulls
from potstill.logs.rows import SourceRow
from potstill.recipe import PromptsConfig, TaskConfig
from potstill.text.answers import AnswerForm
from potstill.text.counts import by_number
from potstill.text.turns import prompt_id_of
from potstill.work.plan import KnownRow


class KnownRows(dict[str, KnownRow]):
    """What rows say of their prompts, by prompt id, and in `notes` what is to be said of that."""

    notes: tuple[str, ...] = ()


def read_known(
    sources: str | Sequence[str],
    prompts: PromptsConfig,
    task: TaskConfig,
    *,
    unlabelled: bool = False,
) -> KnownRows:
    """Return what every row of the sources says of its prompt, by prompt id.

    Of rows with the same prompt the first counts, as in the plan of prompts. Right answers are as
    a student is to write them: labels in the recipe's spelling, and JSON as the row has it,
    without the nulls that a typed column puts into an object (see `_cell`). With `unlabelled`,
    rows may do without the task's columns, or leave them empty (null): what a teacher answers
    needs no right answer. Raises PotstillError, with the row, for a column that is not there, for
    a right answer that the task does not allow, and where one prompt has two.
    """
    form, found, filled = AnswerForm.of(task), KnownRows(), 0
    firsts: dict[str, KnownRow] = {}
    every = (sources,) if isinstance(sources, str) else sources
    for one in (one for source in every for one in rows_and_prompts(source, prompts)[1]):
        row, turns = one.row, one.turns
        if is_blank(turns):
            continue  # the plan leaves blank prompts out
        gold = slice_ = None
        if _wanted(task.gold, row, unlabelled):
            cell = _cell(value_of(row, task.gold, "task.gold"), row, form)
            filled += cell != row.values[task.gold]
            allowed = form.gold(cell, row.place)
            gold = str(allowed) if task.kind == "label" else _spelled(cell)
        if _wanted(task.slice, row, unlabelled):
            slice_ = str(value_of(row, task.slice, "task.slice"))
        first = firsts.setdefault(same_prompt(turns), KnownRow(gold, slice_))
        found.setdefault(prompt_id_of(turns.messages, turns.tools), first)
        if None not in (first.gold, gold) and first.gold != gold:
            raise PotstillError(
                f"{row.place}, repeats an earlier prompt with another gold answer; correct one "
                "of them, or put what tells the two rows apart into the prompt"
            )
    if filled:
        found.notes = (
            by_number(
                filled,
                f"right answer in {task.gold} is an object",
                f"right answers in {task.gold} are objects",
            )
            + " of a typed column, which gives each the keys of all others: keys that are null "
            "were left out; write the column as JSON text where null is meant",
        )
    return found


def _cell(value: Any, row: SourceRow, form: AnswerForm) -> Any:
    """Return a right answer as it was written, before a typed column filled its keys in.

    Which nulls were meant cannot be told: all go, unless the schema only allows them as they are.
    """
    if not row.structs or isinstance(value, str):
        return value
    bare = without_nulls(value)
    if isinstance(value, dict) and not form.fits_schema(bare) and form.fits_schema(value):
        return value
    return bare


def _wanted(column: str | None, row: SourceRow, unlabelled: bool) -> TypeGuard[str]:
    return column is not None and not (unlabelled and row.values.get(column) is None)


def _spelled(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
