"""What measures a student on the validation prompts, which nothing is trained on."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from potstill.evaluate.fidelity import compare
from potstill.models.likelihood import response_nll
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.work.corpus import Corpus, Text, fitting
from potstill.work.measure import Measure


def validation(corpus: Corpus) -> Measure:
    """Return what measures a student on the validation prompts, against its teacher."""
    return _Validation(corpus)


def text_validation(corpus: Corpus) -> Measure:
    """Return what measures how unlikely a student finds the answers to the validation prompts."""
    rows = corpus.exchanges("validation")

    def measure(student: LoadedModel, vocabulary: VocabularyMap | None) -> dict[str, float]:
        texts, _ = fitting(corpus.texts(rows, student, vocabulary), student)
        pairs = [(t.prompt_ids, t.response_ids) for t in texts]
        responses = [response for _, response in pairs]
        nll = response_nll(response_hidden(student, pairs), head_of(student), responses)
        return {"nll": float(nll.sum() / sum(map(len, responses)))}

    return measure


class _Validation:
    """Measures students on the validation prompts, which nothing is trained on.

    The teacher reads them once for each vocabulary, as long as no more than two take turns.
    """

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._rows = corpus.exchanges("validation")
        self._stored = corpus.hidden(self._rows)
        self._read: list[tuple[VocabularyMap | None, list[Text], list[Tensor]]] = []

    def __call__(self, student: LoadedModel, vocabulary: VocabularyMap | None) -> dict[str, float]:
        texts, teacher_states = self._reading(student, vocabulary)
        pairs = [(t.prompt_ids, t.response_ids) for t in texts]
        sums = compare(
            teacher_states,
            self._corpus.opened.parent_head,
            response_hidden(student, pairs),
            head_of(student),
            [response for _, response in pairs],
            vocabulary,
            precise=False,
        )
        tokens = sums.tokens.sum()
        return {
            "kl": float(sums.kl.sum() / tokens),
            "agreement": float(sums.agree.sum() / tokens),
        }

    def _reading(
        self, student: LoadedModel, vocabulary: VocabularyMap | None
    ) -> tuple[list[Text], list[Tensor]]:
        """Return the prompts in the student's tokens, and the teacher's states on them."""
        for known, texts, states in self._read:
            if known is vocabulary:
                return texts, states
        every = self._corpus.texts(self._rows, student, vocabulary)
        # What is cut up anew may be longer than the student reads.
        texts, _ = fitting(every, student)
        kept = {t.exchange.exchange_id for t in texts}
        stored = [
            state
            for text, state in zip(every, self._stored, strict=True)
            if text.exchange.exchange_id in kept
        ]
        states = _teacher_states(self._corpus, texts, stored, vocabulary)
        self._read = [*self._read[-1:], (vocabulary, texts, states)]
        return texts, states


def _teacher_states(
    corpus: Corpus,
    texts: Sequence[Text],
    stored: Sequence[Tensor | None],
    vocabulary: VocabularyMap | None,
) -> list[Tensor]:
    """Return the parent's states on texts: stored ones where they fit, else scored now."""
    fresh = [i for i, t in enumerate(texts) if not t.unchanged or stored[i] is None]
    pairs = [
        (
            teacher_ids_of(vocabulary, texts[i].prompt_ids),
            teacher_ids_of(vocabulary, texts[i].response_ids),
        )
        for i in fresh
    ]
    scored = dict(
        zip(fresh, response_hidden(corpus.opened.parent, pairs) if pairs else [], strict=True)
    )
    states = []
    for i, state in enumerate(stored):
        known = scored.get(i, state)
        assert known is not None
        states.append(known)
    return states
