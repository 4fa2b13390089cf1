"""The calls' part of evaluate: the student answers the held-out prompts with tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from potstill.evaluate.calls import CallRow, call_items, scores_of_calls
from potstill.exchanges.exchange import Exchange
from potstill.models.chat import prompt_ids
from potstill.models.greedy import greedy_ids
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.recipe import EvaluateConfig
from potstill.work.items import CallItems
from potstill.work.scores import CallScores

ReadCalls = Callable[[Sequence[int]], str | None]
"""From the ids that a model wrote to the calls in them, as JSON text; None where there are none."""


def measured_calls(
    student: LoadedModel,
    rows: Sequence[Exchange],
    *,
    config: EvaluateConfig,
    seed: int,
    progress: Progress,
    read: ReadCalls | None = None,
) -> tuple[CallScores, CallItems] | None:
    """Return the scores of the student's calls, and what they are made of.

    None where no held-out answer in `rows` holds any call.

    Asked are the held-out prompts that the teacher answered with calls, and those with tools on
    offer, for answers of evaluate.max_tokens at most; those that do not fit the student are counted
    in a note. `read` finds the calls in what the student wrote: by its chat template, unless given.
    """
    answers: dict[str, list[Exchange]] = {}
    for row in rows:
        answers.setdefault(row.prompt_id, []).append(row)
    if not any(row.calls for found in answers.values() for row in found):
        return None
    if not student.conversation.reads_calls:
        progress.note(
            "evaluate: calls of tools are not scored: the student's chat template does not write "
            "their arguments as JSON, so that they cannot be read back"
        )
        return None
    asked, ids, unread = _fitting(student, list(answers.values()), progress)
    if not ids:
        return None
    with progress.step("student calls tools", total=len(asked), unit="prompts") as step:
        given = greedy_ids(student, ids, max_tokens=config.max_tokens, step=step)
    calls_in = read or _by_template(student)
    compared = [
        CallRow(tuple(row.tool_calls for row in found), calls_in(written))
        for found, written in zip(asked, given, strict=True)
    ]
    items = call_items(compared)
    if items is None:
        return None
    scores = scores_of_calls(items, resamples=config.resamples, seed=seed)
    return scores.model_copy(update={"left_out": unread}), items


def _by_template(student: LoadedModel) -> ReadCalls:
    """Return what reads the calls in a student's answers."""
    return lambda ids: student.conversation.read(ids, tools=True).tool_calls


def _fitting(
    student: LoadedModel, answers: Sequence[list[Exchange]], progress: Progress
) -> tuple[list[list[Exchange]], list[list[int]], int]:
    """Return those answers whose prompt has calls or tools and fits the student, with its ids.

    And how many of such prompts do not fit.
    """
    asked = [rows for rows in answers if any(row.calls or row.tools for row in rows)]
    ids = [prompt_ids(student, rows[0].messages, rows[0].tool_list) for rows in asked]
    room = context_length(student)
    fits = [i for i, prompt in enumerate(ids) if len(prompt) < room]
    if len(fits) < len(asked):
        progress.note(
            f"{len(asked) - len(fits)} of {len(asked)} held-out prompts with tools are longer than "
            f"the {room:,} tokens that the student reads: its calls are not scored on them"
        )
    return [asked[i] for i in fits], [ids[i] for i in fits], len(asked) - len(fits)
