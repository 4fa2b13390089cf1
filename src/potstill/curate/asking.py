"""Have a judge's model say what it thinks of answers, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from potstill.curate.judge import question
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.models.chat import prompt_ids
from potstill.models.greedy import greedy_texts
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.models.score import length_batches
from potstill.progress import Progress

# A judge's answer is a score and little else.
_JUDGE_TOKENS = 48
# Tokens of a batch, answers included: the most that a kill loses, and what memory has to hold.
_BATCH_TOKENS = 16_384


def asked_in_batches(
    model: LoadedModel, progress: Progress, rows: Sequence[Exchange], rubric: str
) -> Iterator[dict[str, str]]:
    """Yield what a judge says of each row, by exchange id, one batch of like lengths after another.

    Which rows share a batch changes a judge's words by rounding alone: it answers greedily, and
    no row sees another's.
    """
    every = sorted(rows, key=lambda row: row.exchange_id)
    in_one = not _takes_system(model)

    def ids(row: Exchange) -> list[int]:
        system, material = question(row.messages, row.answer, rubric)
        if not in_one:
            return prompt_ids(model, (system, material))
        text = f"{system['content']}\n\n{material['content']}"
        return prompt_ids(model, ({"role": "user", "content": text},))

    with progress.step("judge answers", total=len(rows), unit="answers") as step:
        # Ids are made again for each batch: those of all rows would take more room than the rows.
        needed = {row.exchange_id: len(ids(row)) + _JUDGE_TOKENS for row in every}
        room = context_length(model)
        ordered = [row for row in every if needed[row.exchange_id] <= room]
        lengths = [needed[row.exchange_id] for row in ordered]
        if len(ordered) < len(every):
            progress.note(
                f"{len(every) - len(ordered)} of {len(every)} answers are longer than the "
                f"{room:,} tokens that the judge reads at once, and get no score"
            )
            yield {row.exchange_id: "" for row in every if needed[row.exchange_id] > room}
            step.advance(len(every) - len(ordered))
        for batch in length_batches(lengths, _BATCH_TOKENS):
            asked = [ordered[i] for i in batch]
            texts = greedy_texts(model, [ids(row) for row in asked], max_tokens=_JUDGE_TOKENS)
            yield {row.exchange_id: text for row, text in zip(asked, texts, strict=True)}
            step.advance(len(batch))


def _takes_system(model: LoadedModel) -> bool:
    """Tell whether a model's template renders a system message; some refuse one."""
    try:
        prompt_ids(model, ({"role": "system", "content": "a"}, {"role": "user", "content": "b"}))
    except PotstillError:
        return False
    return True
