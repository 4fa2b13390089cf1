"""Which prompts are in no figure, and why: counted where the figure stands, splits apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence

from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.rows import Mark

NO_ANSWER, TOO_LONG = "no_answer", "too_long"
# Reasons in words, for notes; the report has its own.
WHY = {
    NO_ANSWER: "no answer came",
    TOO_LONG: "longer than the student reads",
    "unrenderable": "its chat template cannot lay them out",
    "invalid": "broken characters or calls of tools",
    "empty": "nothing in them",
}


def left_out(
    rows: Iterable[Exchange],
    marks: Iterable[Mark],
    wanted: Sequence[Prompt],
    used: Collection[str],
    *,
    greedy: bool | None,
    unasked: int,
) -> dict[str, int]:
    """Return how many of the `wanted` prompts are not among those `used`, by reason.

    `rows` are all that is stored of their split, with the `marks` on them. The figure is made of
    `greedy` answers, of drawn ones, or, where that is None, of both. A prompt that curation left an
    answer of is one that the student cannot read. `unasked` prompts of the split were never asked,
    since they leave the student no room for an answer: too long as well.
    """
    why = {mark.exchange_id: mark.reason for mark in marks if not mark.kept}
    stored: dict[str, list[Exchange]] = {}
    for row in rows:
        if greedy is None or (row.sampling["temperature"] == 0) == greedy:
            stored.setdefault(row.prompt_id, []).append(row)
    found: Counter[str] = Counter()
    for prompt in wanted:
        if prompt.prompt_id in used:
            continue
        reasons = [why.get(row.exchange_id, TOO_LONG) for row in stored.get(prompt.prompt_id, ())]
        found[reasons[0].partition(":")[0] if reasons else NO_ANSWER] += 1
    if unasked:
        found[TOO_LONG] += unasked
    return dict(found.most_common())
