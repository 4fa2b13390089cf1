"""Are the student's calls of tools the teacher's (docs/methods/tool-calls.md)?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from potstill.stats.bootstrap import mean_score_interval
from potstill.text.same_json import same_json
from potstill.text.tool_calls import Flaw, bare, calls_in
from potstill.work.figures import Estimate
from potstill.work.items import CallItems
from potstill.work.scores import CallScores

Outcome = Literal["right", "other_arguments", "other_name", "no_call"]
# From best to worst.
OUTCOMES: tuple[Outcome, ...] = ("right", "other_arguments", "other_name", "no_call")
Calls = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class CallRow:
    """One held-out prompt: the calls of each of the teacher's answers to it, and the student's.

    All are JSON text in the form of `text.tool_calls`, None where an answer holds no call.
    """

    teacher: tuple[str | None, ...]
    student: str | None


def score_calls(rows: Sequence[CallRow], *, resamples: int, seed: int) -> CallScores | None:
    """Return how often the student calls what the teacher does, a row for each prompt.

    Where some of the teacher's answers to a prompt hold calls, these are what is compared with;
    of several the nearest counts. None where no answer holds any.
    """
    items = call_items(rows)
    return None if items is None else scores_of_calls(items, resamples=resamples, seed=seed)


def call_items(rows: Sequence[CallRow]) -> CallItems | None:
    """Return how the student's calls compare, prompt by prompt; None where no answer holds any."""
    calling = [row for row in rows if any(_calls(text) for text in row.teacher)]
    if not calling:
        return None
    texts = [row for row in rows if not any(_calls(text) for text in row.teacher)]
    return CallItems(
        outcomes=tuple(map(_best, calling)),
        text_kept=tuple(not _calls(row.student) for row in texts),
    )


def scores_of_calls(items: CallItems, *, resamples: int, seed: int) -> CallScores:
    """Return how often outcomes are right, with intervals over prompts."""
    counts = Counter(items.outcomes)

    def share(hits: Sequence[bool]) -> Estimate:
        scores = [float(hit) for hit in hits]
        return Estimate.of(mean_score_interval(scores, resamples=resamples, seed=seed))

    return CallScores(
        prompts=len(items.outcomes),
        right=share([outcome == "right" for outcome in items.outcomes]),
        outcomes={outcome: counts[outcome] for outcome in OUTCOMES},
        text_prompts=len(items.text_kept),
        text_kept=share(items.text_kept) if items.text_kept else None,
    )


def outcome_of(teacher: Calls, student: Calls) -> Outcome:
    """Return how a student's calls compare with a teacher's.

    Calls that are made together have no order; each counts once. Values are compared as JSON: the
    order of keys is free, 1 is 1.0 and not true.
    """
    if not student:
        return "no_call"
    wanted, given = bare(teacher), bare(student)
    if Counter(call["name"] for call in wanted) != Counter(call["name"] for call in given):
        return "other_name"
    for call in given:
        # Equality of JSON is transitive: which of several equal ones is taken makes no difference.
        match = next((i for i, other in enumerate(wanted) if same_json(call, other)), None)
        if match is None:
            return "other_arguments"
        del wanted[match]
    return "right"


def _best(row: CallRow) -> Outcome:
    student = _calls(row.student)
    answers = [calls for text in row.teacher if (calls := _calls(text))]
    return min((outcome_of(calls, student) for calls in answers), key=OUTCOMES.index)


def _calls(text: str | None) -> Calls:
    """Return the calls in JSON text; none where there are none that can be read."""
    found = calls_in(text, keep_text=True)
    return [] if isinstance(found, Flaw) else found
