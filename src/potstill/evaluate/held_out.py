"""The held-out text that models are compared on, read from the store in a student's tokens."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from potstill.evaluate.text import HeldOut
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.rows import Mark
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.work.access import Server
from potstill.work.corpus import Corpus, Text, fitting
from potstill.work.left_out import left_out


@dataclass(frozen=True)
class HeldOutRows:
    """The stored answers to held-out prompts, read once, by exchange id.

    `every` holds dropped ones too; `kept` those that curation kept and the recipe asks for now.
    """

    every: tuple[Exchange, ...]
    kept: tuple[Exchange, ...]
    marks: tuple[Mark, ...]

    @classmethod
    def of(cls, corpus: Corpus) -> HeldOutRows:
        """Return what a run has stored."""
        every, kept = corpus.stored("held_out"), corpus.exchanges("held_out")
        return cls(tuple(every), tuple(kept), tuple(corpus.store.marks()))

    def drawn(self, *, greedy: bool | None) -> list[Exchange]:
        """Return the kept ones that are the likeliest text, or those drawn; None for both."""
        rows = self.kept
        return [r for r in rows if greedy is None or (r.sampling["temperature"] == 0) == greedy]

    def left_out(
        self, wanted: Sequence[Prompt], used: Collection[str], *, greedy: bool | None, unasked: int
    ) -> dict[str, int]:
        """Return how many of the `wanted` prompts are not among those `used`, by reason."""
        return left_out(self.every, self.marks, wanted, used, greedy=greedy, unasked=unasked)


def held_out(
    corpus: Corpus,
    rows: Sequence[Exchange],
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    *,
    progress: Progress,
) -> list[HeldOut]:
    """Return a teacher's held-out text `rows`, as a student reads it, with the teacher's states."""
    texts = _texts(corpus, rows, student, vocabulary, progress)
    states = corpus.hidden([text.exchange for text in texts])
    return [
        replace(
            _one(text),
            teacher_prompt_ids=text.exchange.ids[0],
            teacher_response_ids=text.exchange.ids[1],
            teacher_hidden_RD=state,
        )
        for text, state in zip(texts, states, strict=True)
    ]


def held_out_answers(
    corpus: Corpus,
    rows: HeldOutRows,
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    *,
    progress: Progress,
) -> list[HeldOut]:
    """Return the held-out text of a teacher without weights, in a student's tokens."""
    # Of a server both kinds may be there; of answers that came in files nobody says which.
    greedy = False if isinstance(corpus.opened.access.author, Server) else None
    drawn = rows.drawn(greedy=greedy)
    return [_one(text) for text in _texts(corpus, drawn, student, vocabulary, progress)]


def _one(text: Text) -> HeldOut:
    """Return a held-out text as a student reads it, without what its teacher read."""
    return HeldOut(
        prompt_id=text.exchange.prompt_id,
        messages=text.exchange.messages,
        prompt_ids=text.prompt_ids,
        response_ids=text.response_ids,
        response=text.exchange.answer,
        reasoning=text.exchange.reasoning,
        teacher_prompt_ids=(),
        teacher_response_ids=(),
    )


def _texts(
    corpus: Corpus,
    rows: Sequence[Exchange],
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    progress: Progress,
) -> list[Text]:
    """Return held-out text as far as a student can read it, and say what it cannot."""
    texts, too_long = fitting(corpus.texts(rows, student, vocabulary), student)
    if too_long:
        progress.note(
            f"evaluate: {too_long} of {len(rows)} held-out answers are left out: longer than what "
            "the student reads at once"
        )
    return texts
