"""A key's mark in what a suspect writes: every distinct pair of window and token counts once.

The null hypothesis is that the suspect's text does not depend on the key. Given the text, all that
is chosen by the text alone leaves the p-value exact: which pairs there are, in how many answers
they have to stand, how many answers failed (docs/methods/trace.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.items import TraceItem, check_order, refuse_record
from potstill.trace.marks import PlannedMark, mark_finding, same_scores, scores_of
from potstill.trace.suspect import Capability
from potstill.watermark.detect import occurs
from potstill.watermark.distinct import groups_of
from potstill.watermark.schemes import Scheme
from potstill.watermark.token_texts import TokenTexts

# Pairs that a student learnt by heart come again and again, and chance ones as seldom in many
# answers as in few: one answer in so many has to have a pair that is scored.
_ANSWERS_A_PAIR, _LEAST_ANSWERS = 256, 2


def least_answers_of(answers: int) -> int:
    """Return in how many of so many answers a pair has to stand, where a plan states nothing.

    Which pairs are scored is chosen by the suspect's text alone, so that any number is exact. This
    one was chosen on text of copies of SmolLM2 that learnt marked answers (benchmarks/zoo).
    """
    return max(_LEAST_ANSWERS, answers // _ANSWERS_A_PAIR)


class MarksInTextPlanned(TraceRecord):
    """What is asked for marks in text.

    Each of `prompts`, a user's message, is asked `samples` times at a temperature: question
    `index` is sample index // P of prompt index % P, so that every prompt comes once first. Texts
    that were collected have no prompts; each of `collected` is a question.

    A pair is scored if it stands in at least `least_answers` answers. `shown` are texts in the
    teacher's ids that the suspect is given and that may depend on the key: windows in them are
    left out. A `sequential` plan may stop after any answer.
    """

    test: Literal["watermark-text"] = "watermark-text"
    configuration: str
    mark: PlannedMark
    prompts: tuple[str, ...] = ()
    samples: int = Field(1, ge=1)
    temperature: float = Field(0.7, ge=0)
    max_tokens: int = Field(128, ge=1)
    collected: int = Field(0, ge=0)
    least_answers: int = Field(1, ge=1)
    shown: tuple[tuple[int, ...], ...] = ()
    sequential: bool = False

    @property
    def needs(self) -> frozenset[Capability]:
        """What a suspect has to give: answers to prompts, or texts that it wrote."""
        return frozenset(("answers",)) if self.prompts else frozenset(("texts",))

    @model_validator(mode="after")
    def _something_asked(self) -> MarksInTextPlanned:
        if bool(self.prompts) == bool(self.collected):
            raise ValueError("text is either asked for by prompts or was collected")
        return self

    @property
    def questions(self) -> int:
        """How many items a whole log has."""
        return len(self.prompts) * self.samples or self.collected


class AnswerItem(TraceItem):
    """One answer of the suspect: its text, and this in the teacher's token ids.

    `prompt` and `sample` say what was asked, None of collected texts. `scores` has that of every
    token with a whole window before it.
    """

    prompt: int | None = None
    sample: int | None = None
    text: str | None = None
    ids: tuple[int, ...] = ()
    scores: tuple[float, ...] = ()

    @model_validator(mode="after")
    def _figures_of_answers_alone(self) -> AnswerItem:
        if bool(self.ids) != self.answered or (self.scores and not self.ids):
            raise ValueError("an answer has token ids, and what failed has no figures")
        return self


def answer_scores(scheme: Scheme, ids: Sequence[int]) -> tuple[float, ...]:
    """Return what an answer's item stores: the score of each token behind a whole window."""
    k = scheme.window
    if len(ids) <= k:
        return ()
    windows_NK = np.lib.stride_tricks.sliding_window_view(np.asarray(ids, np.uint32), k)[:-1]
    return scores_of(scheme, windows_NK, ids[k:])


def marks_in_text_finding(
    planned: MarksInTextPlanned,
    items: Sequence[AnswerItem],
    digest: str,
    scheme: Scheme | None = None,
) -> Finding:
    """Return what the suspect's text says of the key.

    Without the scheme, which holds the key, stored scores are taken; with it they are made again
    from the ids, and one that differs raises PotstillError, which names its record. The same error
    for items that are not the plan's, and for ids that the vocabulary does not have. `digest`, the
    plan's, is not needed: no coin stands for an answer that failed, as the page explains.
    """
    _check(planned, items, scheme)
    pairs = _Pairs.of(planned, items)
    pairs.check_stored()
    if scheme is not None:
        pairs.check_made(scheme)
    scored = pairs.scored.tolist()
    return mark_finding(
        planned,
        scored,
        scored,
        of="distinct pairs",
        nothing="the suspect's text has no pair of window and token to score",
        assumes=_assumed(planned, items),
    )


def _assumed(planned: MarksInTextPlanned, items: Sequence[AnswerItem]) -> tuple[str, ...]:
    failed = sum(not item.answered for item in items)
    said = [
        "The key was drawn at random and known to its owner alone when the suspect was trained.",
        "Whatever the suspect was shown that depends on the key is in the plan; windows in it are "
        "left out.",
    ]
    if failed:
        said.append(
            f"Answers that failed and gave no text: {failed:,} of {len(items):,}. The p-value "
            "holds for the text that there is; no coin stands for them, since what fails does not "
            "know the key either."
        )
    return tuple(said)


def _check(planned: MarksInTextPlanned, items: Sequence[AnswerItem], scheme: Scheme | None) -> None:
    if scheme is not None:
        planned.mark.check(scheme)
    check_order(items, planned.questions, whole=not planned.sequential)
    for item in items:
        if planned.prompts:
            sample, prompt = divmod(item.index, len(planned.prompts))
            if (item.prompt, item.sample) != (prompt, sample):
                raise refuse_record(item.index, "answers another question than the plan's")
        if len(item.scores) != max(0, len(item.ids) - planned.mark.window):
            raise refuse_record(item.index, "does not have one score for each whole window")
        planned.mark.check_figures(item.index, item.ids, item.scores)


@dataclass(frozen=True)
class _Pairs:
    """The N rows of whole windows in plan order: their columns, items, stored scores.

    `keep_N` marks those whose window was not shown.
    """

    columns: tuple[NDArray[np.uint32], ...]
    item_N: NDArray[np.int64]
    stored_N: NDArray[np.float64]
    keep_N: NDArray[np.bool_]
    least_answers: int

    @staticmethod
    def of(planned: MarksInTextPlanned, items: Sequence[AnswerItem]) -> _Pairs:
        k = planned.mark.window
        texts = TokenTexts.of(item.ids for item in items)
        rows = texts.rows(k)
        inside = rows.inside_N
        windows = tuple(column[inside] for column in rows.windows_KN)
        item_N = texts.text_of_rows(k)[: len(inside)][inside]
        stored_N = np.array([s for item in items for s in item.scores], dtype=np.float64)
        shown = TokenTexts.of(planned.shown)
        keep_N = ~occurs(rows, shown.windows(k))[inside]
        columns = (*windows, rows.tokens_N[inside])
        return _Pairs(columns, item_N, stored_N, keep_N, planned.least_answers)

    @cached_property
    def groups(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each row the number of its pair, and each pair's first row."""
        return groups_of(self.columns)

    def check_stored(self) -> None:
        """Raise PotstillError where equal pairs have unequal scores."""
        group_N, first_G = self.groups
        self._refuse(
            self.stored_N != self.stored_N[first_G][group_N], "scores one pair in two ways"
        )

    def check_made(self, scheme: Scheme) -> None:
        """Raise PotstillError where a stored score is not the key's."""
        group_N, first_G = self.groups
        made_G = scheme.scores(scheme.inputs(*self._pairs(first_G)))
        differs_N = ~same_scores(self.stored_N, made_G[group_N])
        self._refuse(differs_N, "has a score that the key does not give")

    @property
    def scored(self) -> NDArray[np.float64]:
        """The score of each pair that stands in enough answers, as these come to be enough."""
        group_N = self.groups[0]
        # The first row of a pair in each answer, in plan order; then each pair's c-th of them.
        first = np.sort(groups_of((group_N, self.item_N))[1])
        first = first[self.keep_N[first]]
        by_pair = first[np.argsort(group_N[first], kind="stable")]
        pair = group_N[by_pair]
        begins = np.flatnonzero(np.r_[True, pair[1:] != pair[:-1]]) if len(pair) else pair
        counts = np.diff(np.r_[begins, len(pair)])
        enough = begins[counts >= self.least_answers] + self.least_answers - 1
        scored: NDArray[np.float64] = self.stored_N[np.sort(by_pair[enough])]
        return scored

    def _pairs(
        self, rows: NDArray[np.int64]
    ) -> tuple[list[NDArray[np.uint32]], NDArray[np.uint32]]:
        *windows, tokens = (column[rows] for column in self.columns)
        return windows, tokens

    def _refuse(self, wrong_N: NDArray[np.bool_], why: str) -> None:
        if wrong_N.any():
            raise refuse_record(int(self.item_N[wrong_N.argmax()]), why)
