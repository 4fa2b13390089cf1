"""A key's mark in how a suspect goes on from marked text: one fresh bit for each new window.

The suspect reads marked texts from left to right, and its own choice of the next token is scored
behind windows that have occurred nowhere before. Under the null hypothesis each such choice is
made by who knows nothing of the numbers behind that window (proof in docs/methods/trace.md). The
number of scores is fixed in the plan; coins stand for those that are missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from potstill.canonical import digest_of
from potstill.errors import PotstillError
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.items import TraceItem, check_order, refuse_record
from potstill.trace.marks import PlannedMark, mark_finding, same_scores, scores_of
from potstill.trace.suspect import Capability
from potstill.watermark.schemes import Scheme


class MarkedText(TraceRecord):
    """One marked answer as it was served, in the teacher's ids, with what stood before it.

    `salt` is random; with it the digest that a plan holds discloses nothing.
    """

    salt: str = Field(min_length=16)
    prompt_ids: tuple[int, ...]
    ids: tuple[int, ...]

    @property
    def digest(self) -> str:
        """What a plan holds in its place."""
        return digest_of([self.salt, list(self.prompt_ids), list(self.ids)])


class PlannedReading(TraceRecord):
    """One marked text that is read: its digest, and before which of its tokens a choice is scored.

    Position t is the suspect's choice after the prompt and the first t tokens of the answer.
    """

    text: str
    positions: tuple[int, ...]


class MarksInChoicesPlanned(TraceRecord):
    """What is read: marked texts in plan order, `n` scores in all.

    The texts give fewer positions where fewer windows are new; the rest of the n are coins. A
    `sequential` plan may stop after any text.
    """

    test: Literal["watermark-reading"] = "watermark-reading"
    needs: ClassVar[frozenset[Capability]] = frozenset(("chooses", "token_ids"))
    configuration: str
    mark: PlannedMark
    readings: tuple[PlannedReading, ...] = Field(min_length=1)
    n: int = Field(ge=1)
    sequential: bool = False

    @model_validator(mode="after")
    def _within_n(self) -> MarksInChoicesPlanned:
        if sum(len(reading.positions) for reading in self.readings) > self.n:
            raise ValueError("the texts have more positions than the plan scores")
        for reading in self.readings:
            if any(a >= b for a, b in pairwise(reading.positions)):
                raise ValueError("positions ascend")
            if reading.positions and reading.positions[0] < self.mark.window:
                raise ValueError("a window never reaches into the prompt")
        return self


class ChoiceItem(TraceItem):
    """What the suspect chose in one text: a token id for each planned position, with its score.

    None where there is no choice to score (the suspect stopped reading, or chose an id that the
    marks' vocabulary does not have).
    """

    choices: tuple[int | None, ...] = ()
    scores: tuple[float | None, ...] = ()

    @model_validator(mode="after")
    def _figures_of_answers_alone(self) -> ChoiceItem:
        if not self.answered and (self.choices or self.scores):
            raise ValueError("what failed has no figures")
        pairs = zip(self.choices, self.scores, strict=False)
        if len(self.choices) != len(self.scores) or any(
            (c is None) != (s is None) for c, s in pairs
        ):
            raise ValueError("each choice has one score")
        return self


def planned_readings(
    texts: Sequence[MarkedText], mark: PlannedMark, n: int
) -> tuple[PlannedReading, ...]:
    """Return the first `n` positions of marked texts, in plan order, that may be scored.

    A position's window are the tokens of the answer right before it. It may be scored if it has
    occurred nowhere earlier in plan order: not in an earlier prompt or answer, nor earlier in this
    prompt and answer, whether or not it was scored there. Texts after the last position are left
    out. Raises PotstillError for no text, ids outside the vocabulary, or no position at all.
    """
    seen: set[tuple[int, ...]] = set()
    readings, left = [], n
    for number, text in enumerate(texts):
        if left <= 0:
            break
        if not all(0 <= i < mark.vocabulary for i in (*text.prompt_ids, *text.ids)):
            raise PotstillError(
                f"marked text {number} has token ids outside the vocabulary of "
                f"{mark.vocabulary:,} that marks were made in; give the ids as they were served"
            )
        new = tuple(_new_positions(text, mark.window, seen))[:left]
        readings.append(PlannedReading(text=text.digest, positions=new))
        left -= len(new)
    while readings and not readings[-1].positions:
        readings.pop()
    if left == n:
        raise PotstillError(
            "no marked text has a window that is new, so that there is no choice to score; give "
            "marked texts that are longer than a window"
        )
    return tuple(readings)


def choices_item(
    scheme: Scheme,
    index: int,
    text: MarkedText,
    reading: PlannedReading,
    choices: Sequence[int | None],
) -> ChoiceItem:
    """Return the item of a text that was read, with the scores of the suspect's choices."""
    return ChoiceItem(
        index=index,
        outcome="answered",
        choices=tuple(choices),
        scores=_choice_scores(scheme, text, reading, choices),
    )


def marks_in_choices_finding(
    planned: MarksInChoicesPlanned,
    items: Sequence[ChoiceItem],
    digest: str,
    scheme: Scheme | None = None,
    texts: Sequence[MarkedText] | None = None,
) -> Finding:
    """Return what the suspect's choices say of the key.

    Without the scheme, which holds the key, stored scores are taken. With it and the marked texts
    the positions are chosen and the scores made once more, and what differs raises PotstillError,
    which names the record; so does the scheme without the texts, and an item that is not the
    plan's. Coins come from `digest`, the plan's.
    """
    _check(planned, items, scheme, texts)
    scores = tuple(_in_order(planned, items, digest))
    return mark_finding(
        planned,
        [score for score, _ in scores],
        [score for score, is_coin in scores if not is_coin],
        of="the suspect's choices",
        nothing="the suspect made no choice that could be scored",
        assumes=_ASSUMED,
    )


_ASSUMED = (
    "The key was drawn at random and known to its owner alone when the suspect was trained.",
    "The marked texts are as the teacher wrote them, and were taken by their place in the log, not "
    "by what they say.",
    "What prompts know of the key stands in them or in texts before them.",
    "The suspect chose each token before it saw that token or any later one.",
)


def _new_positions(text: MarkedText, window: int, seen: set[tuple[int, ...]]) -> Iterator[int]:
    """Yield the answer's positions whose window is new; all windows of the text are seen then."""
    whole, begin = (*text.prompt_ids, *text.ids), len(text.prompt_ids)
    for end in range(window, len(whole) + 1):
        before = whole[end - window : end]
        position = end - begin
        if before not in seen and window <= position < len(text.ids):
            yield position
        seen.add(before)


def _choice_scores(
    scheme: Scheme, text: MarkedText, reading: PlannedReading, choices: Sequence[int | None]
) -> tuple[float | None, ...]:
    k = scheme.window
    pairs = zip(reading.positions, choices, strict=True)
    made = [(text.ids[t - k : t], choice) for t, choice in pairs if choice is not None]
    scores = iter(scores_of(scheme, [w for w, _ in made], [c for _, c in made]))
    return tuple(None if choice is None else next(scores) for choice in choices)


def _in_order(
    planned: MarksInChoicesPlanned, items: Sequence[ChoiceItem], digest: str
) -> Iterator[tuple[float, bool]]:
    """Yield the scores of all positions in plan order, and whether each is a coin.

    A coin's number is its position's place among all n. A sequential plan that was stopped has
    those of the texts until there.
    """
    place = 0

    def coin() -> tuple[float, bool]:
        return planned.mark.coin(digest, planned.test, planned.configuration, place), True

    for reading, item in zip(planned.readings, items, strict=False):
        for score in item.scores if item.answered else (None,) * len(reading.positions):
            yield coin() if score is None else (score, False)
            place += 1
    if len(items) == len(planned.readings):
        while place < planned.n:
            yield coin()
            place += 1


def _check(
    planned: MarksInChoicesPlanned,
    items: Sequence[ChoiceItem],
    scheme: Scheme | None,
    texts: Sequence[MarkedText] | None,
) -> None:
    check_order(items, len(planned.readings), whole=not planned.sequential)
    for reading, item in zip(planned.readings, items, strict=False):
        if item.answered and len(item.choices) != len(reading.positions):
            raise refuse_record(item.index, "does not have one choice for each position")
        planned.mark.check_figures(
            item.index,
            (choice for choice in item.choices if choice is not None),
            (score for score in item.scores if score is not None),
        )
    if scheme is None and texts is None:
        return
    if scheme is not None:
        planned.mark.check(scheme)
    if texts is None:
        raise PotstillError(
            "scores can be made again only behind the windows of the marked texts, which are not "
            "disclosed; give the texts with the key, or verify without both"
        )
    require_texts(planned, texts)
    _check_positions(planned, texts)
    if scheme is not None:
        _check_scores(planned, items, scheme, texts)


def require_texts(planned: MarksInChoicesPlanned, texts: Sequence[MarkedText]) -> None:
    """Raise PotstillError unless these are the marked texts of the plan, all of them."""
    pairs = zip(planned.readings, texts, strict=False)
    for number, (reading, text) in enumerate(pairs):
        if text.digest != reading.text:
            raise PotstillError(
                f"marked text {number} is not the one of the plan; give the texts that it was "
                "made with"
            )
    if len(texts) < len(planned.readings):
        raise PotstillError(
            f"the plan reads {len(planned.readings):,} marked texts, and {len(texts):,} are "
            "given; give them all"
        )


def _check_positions(planned: MarksInChoicesPlanned, texts: Sequence[MarkedText]) -> None:
    """Raise PotstillError unless the plan's positions are those that its rule chooses."""
    if planned_readings(texts, planned.mark, planned.n) != planned.readings:
        raise PotstillError(
            "the plan's positions are not those that its rule chooses in these texts; nothing "
            "follows from such a plan, so make one with potstill trace plan"
        )


def _check_scores(
    planned: MarksInChoicesPlanned,
    items: Sequence[ChoiceItem],
    scheme: Scheme,
    texts: Sequence[MarkedText],
) -> None:
    for reading, item, text in zip(planned.readings, items, texts, strict=False):
        if not item.answered:
            continue
        made = _choice_scores(scheme, text, reading, item.choices)
        stored_N = np.array([s for s in item.scores if s is not None], dtype=np.float64)
        made_N = np.array([s for s in made if s is not None], dtype=np.float64)
        if not same_scores(stored_N, made_N).all():
            raise refuse_record(item.index, "has a score that the key does not give")
