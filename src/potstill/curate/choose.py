"""Which of several right answers to a prompt stays: the shortest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

from potstill.curate.spent import generated_tokens
from potstill.exchanges.exchange import Exchange


def not_shortest(rows: Sequence[Exchange], correct: Collection[str], keep: int) -> dict[str, str]:
    """Return the ids of right answers beyond the `keep` shortest of their prompt.

    `correct` holds the ids of the rows that were found right; others are not chosen between.
    Length is in tokens, reasoning included; in characters where a prompt's answers do not all
    have a count. Of equals the lower exchange_id stays.
    """
    prompts: dict[str, list[Exchange]] = defaultdict(list)
    for row in rows:
        if row.exchange_id in correct:
            prompts[row.prompt_id].append(row)
    return {
        row.exchange_id: f"longer than {keep} other right answer{'s' if keep > 1 else ''}"
        for answers in prompts.values()
        for row in _by_length(answers)[keep:]
    }


def _by_length(rows: Sequence[Exchange]) -> list[Exchange]:
    counts = [generated_tokens(row) for row in rows]
    by_tokens = all(count is not None for count in counts)
    characters = [len(row.answer) + len(row.reasoning or "") for row in rows]
    lengths = counts if by_tokens else characters
    keyed = [(length or 0, row.exchange_id, row) for length, row in zip(lengths, rows, strict=True)]
    return [row for _, _, row in sorted(keyed, key=lambda item: item[:2])]
