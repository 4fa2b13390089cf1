"""The calls' part of evaluate: the student answers the held-out prompts with tools."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from potstill.evaluate.calls import CallRow, score_calls
from potstill.models.greedy import greedy_ids
from potstill.exchanges.exchange import Exchange
from potstill.runs.parts import Parts
from potstill.models.chat import prompt_ids
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel

ReadCalls = Callable[[Sequence[int]], str | None]
"""From the ids that a model wrote to the calls in them, as JSON text; None where there are none."""


def scored_calls(parts: Parts, student: LoadedModel, read: ReadCalls) -> dict[str, Any] | None:
    """Return the scores of the student's calls; None where no held-out answer holds any.

    Asked are the held-out prompts that the teacher answered with calls, and those with tools on
    offer, for answers of evaluate.max_tokens at most; those that do not fit the student are counted
    in a note.
    """
    answers: dict[str, list[Exchange]] = {}
    for row in parts.corpus.exchanges("held_out"):
        answers.setdefault(row.prompt_id, []).append(row)
    if not any(row.calls for rows in answers.values() for row in rows):
        return None
    if not student.conversation.reads_calls:
        parts.progress.note(
            "evaluate: calls of tools are not scored: the student's chat template does not write "
            "their arguments as JSON, so that they cannot be read back"
        )
        return None
    asked, ids, unread = _fitting(parts, student, list(answers.values()))
    if not ids:
        return None
    config = parts.recipe.evaluate
    with parts.progress.step("student calls tools", total=len(asked), unit="prompts") as step:
        given = greedy_ids(student, ids, max_tokens=config.max_tokens, step=step)
    rows = [
        CallRow(tuple(row.tool_calls for row in found), read(written))
        for found, written in zip(asked, given, strict=True)
    ]
    scores = score_calls(rows, resamples=config.resamples, seed=parts.recipe.seed)
    if scores is None:
        return None
    return scores.model_dump(mode="json") | {"left_out": unread}


def _fitting(
    parts: Parts, student: LoadedModel, answers: Sequence[list[Exchange]]
) -> tuple[list[list[Exchange]], list[list[int]], int]:
    """Return those answers whose prompt has calls or tools and fits the student, with its ids.

    And how many of such prompts do not fit.
    """
    asked = [rows for rows in answers if any(row.calls or row.tools for row in rows)]
    ids = [prompt_ids(student, rows[0].messages, rows[0].tool_list) for rows in asked]
    room = context_length(student)
    fits = [i for i, prompt in enumerate(ids) if len(prompt) < room]
    if len(fits) < len(asked):
        parts.progress.note(
            f"{len(asked) - len(fits)} of {len(asked)} held-out prompts with tools are longer than "
            f"the {room:,} tokens that the student reads: its calls are not scored on them"
        )
    return [asked[i] for i in fits], [ids[i] for i in fits], len(asked) - len(fits)
