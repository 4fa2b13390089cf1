"""The held-out text that models are compared on, read from the store in a student's tokens."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.evaluate.text import HeldOut
from potstill.exchanges.exchange import Exchange
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.work.access import Server
from potstill.work.corpus import Corpus, Text, fitting


def held_out(
    corpus: Corpus,
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    *,
    greedy: bool,
    progress: Progress,
) -> list[HeldOut]:
    """Return the teacher's held-out text, drawn at temperature 1 or greedy, with its states."""
    rows = corpus.exchanges("held_out", greedy=greedy)
    texts = _texts(corpus, rows, student, vocabulary, progress)
    states = corpus.hidden([text.exchange for text in texts])
    return [
        HeldOut(
            prompt_id=text.exchange.prompt_id,
            messages=text.exchange.messages,
            prompt_ids=text.prompt_ids,
            response_ids=text.response_ids,
            response=text.exchange.answer,
            reasoning=text.exchange.reasoning,
            teacher_prompt_ids=text.exchange.ids[0],
            teacher_response_ids=text.exchange.ids[1],
            teacher_hidden_RD=state,
        )
        for text, state in zip(texts, states, strict=True)
    ]


def held_out_answers(
    corpus: Corpus, student: LoadedModel, vocabulary: VocabularyMap | None, *, progress: Progress
) -> list[HeldOut]:
    """Return the held-out text of a teacher without weights, in a student's tokens."""
    # Of a server both kinds may be there; of answers that came in files nobody says which.
    drawn = False if isinstance(corpus.opened.access.author, Server) else None
    rows = corpus.exchanges("held_out", greedy=drawn)
    return [
        HeldOut(
            prompt_id=text.exchange.prompt_id,
            messages=text.exchange.messages,
            prompt_ids=text.prompt_ids,
            response_ids=text.response_ids,
            response=text.exchange.answer,
            reasoning=text.exchange.reasoning,
            teacher_prompt_ids=(),
            teacher_response_ids=(),
        )
        for text in _texts(corpus, rows, student, vocabulary, progress)
    ]


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
