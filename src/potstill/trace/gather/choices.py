"""Have a suspect read marked texts, and note its own choice of the next token."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from potstill.endpoint.client import Answered, EndpointClient, Failure
from potstill.endpoint.scoring import ScoredText
from potstill.models.likelihood import likelihood_of
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress, Step
from potstill.trace.gather.local import LocalModel, require_ids, waves
from potstill.trace.gather.remote import (
    RemoteAsker,
    RemoteModel,
    SpooledReply,
    require_same_tokens,
)
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarkedText,
    MarksInChoicesPlanned,
    PlannedReading,
    choices_item,
    require_texts,
)
from potstill.watermark.schemes import Scheme

# Texts between two appends: what a kill loses at most, and what a server is given together.
_AT_ONCE = 32


@dataclass(frozen=True)
class _Reading:
    """One text as far as it is read: ids up to the last position, and where the answer begins."""

    number: int
    text: MarkedText
    planned: PlannedReading

    @property
    def ids(self) -> tuple[int, ...]:
        """Prompt and answer, one token beyond the last position."""
        last = self.planned.positions[-1] if self.planned.positions else -1
        return (*self.text.prompt_ids, *self.text.ids[: last + 1])


class _ChoiceReply(SpooledReply):
    """The likeliest token after each id but the last of a text, None where none is told."""

    likeliest: tuple[int | None, ...] = ()


def gather_choices(
    planned: MarksInChoicesPlanned,
    asked: LocalModel | RemoteModel,
    scheme: Scheme,
    texts: Sequence[MarkedText],
    done: Sequence[ChoiceItem],
    append: Callable[[ChoiceItem], None],
    *,
    tokens: Mapping[str, int] | None = None,
    decoded: Sequence[str] | None = None,
    enough: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    step: Step | None = None,
) -> None:
    """Append an item for each text of the plan that has none yet, in plan order.

    `done` are the items that are there, `tokens` the teacher's ids by token, for a suspect that
    has them under another chat template, `decoded` the text of each of them, by which a server's
    tokenizer is told from another. Where the suspect has no room for a text's end, there is
    no choice; where it errs or refuses, the item says so. Raises PotstillError for a suspect with
    another tokenizer, another key or texts than the plan's, and as a server's asker does.
    """
    planned.mark.check(scheme)
    require_texts(planned, texts)
    every = [
        _Reading(number, text, reading)
        for number, (text, reading) in enumerate(zip(texts, planned.readings, strict=False))
    ]
    vocabulary = planned.mark.vocabulary
    if isinstance(asked, LocalModel):
        require_ids(
            asked.model, planned.mark.tokenizer, tokens, what="the suspect", test=planned.test
        )
    asker = _asker(asked, decoded, progress) if isinstance(asked, RemoteModel) else None
    # What a kill interrupted is read again in the same company, whose logits are the same.
    for some, before in waves(every, _AT_ONCE, len(done)):
        if enough():
            return
        if isinstance(asked, LocalModel):
            items = _read_here(asked.model, some, scheme, vocabulary)
        else:
            assert asker is not None
            items = _read_there(asker, some, scheme, vocabulary)
        for item in islice(items, before, None):
            append(item)
            if step is not None:
                step.advance(1)


def _read_here(
    model: LoadedModel, some: Sequence[_Reading], scheme: Scheme, vocabulary: int
) -> Iterator[ChoiceItem]:
    """Yield what a model in memory chooses; it reads no further than its context."""
    room = context_length(model)
    given = [(one.text.prompt_ids, one.ids[len(one.text.prompt_ids) : room]) for one in some]
    fit = [i for i, (prompt, answer) in enumerate(given) if answer and len(prompt) < room]
    found = likelihood_of(model, [given[i] for i in fit]).by_text() if fit else []
    likeliest = {i: one.likeliest_T.tolist() for i, one in zip(fit, found, strict=True)}
    for i, one in enumerate(some):
        # Row t is the choice after t tokens of the answer.
        chosen = [_known(_at(likeliest.get(i, []), t), vocabulary) for t in one.planned.positions]
        yield choices_item(scheme, one.number, one.text, one.planned, chosen)


def _read_there(
    asker: RemoteAsker[_Reading, ScoredText, _ChoiceReply],
    some: Sequence[_Reading],
    scheme: Scheme,
    vocabulary: int,
) -> Iterator[ChoiceItem]:
    """Yield what a server chooses, that tells of given ids."""
    for one, reply in zip(some, asker.replies(some), strict=True):
        if reply.outcome != "answered":
            yield ChoiceItem(index=one.number, outcome=reply.outcome)
            continue
        # Row t of the answer stands after prompt and t tokens; the first id has no row.
        first = len(one.text.prompt_ids) - 1
        chosen = [
            _known(_at(reply.likeliest, first + t), vocabulary) for t in one.planned.positions
        ]
        yield choices_item(scheme, one.number, one.text, one.planned, chosen)


def _asker(
    remote: RemoteModel, decoded: Sequence[str] | None, progress: Progress | None
) -> RemoteAsker[_Reading, ScoredText, _ChoiceReply]:
    async def ask(client: EndpointClient, one: _Reading) -> Answered[ScoredText] | Failure:
        return await client.score(one.ids, 1)

    def read(one: _Reading, answer: ScoredText) -> _ChoiceReply:
        require_same_tokens(answer.scores, decoded, "watermark-reading")
        return _read(one, answer)

    return RemoteAsker(remote, _ChoiceReply, ask, read, progress)


def _read(one: _Reading, answer: ScoredText) -> _ChoiceReply:
    if answer.scores is None:
        why = "the server tells nothing of given text"
        return _ChoiceReply(number=one.number, outcome="unreadable", why=why)
    likeliest = tuple(_likeliest(score.top) for score in answer.scores)
    return _ChoiceReply(number=one.number, outcome="answered", likeliest=likeliest)


def _likeliest(top: Sequence[tuple[int, str, float]]) -> int | None:
    """Return the likeliest of the tokens that are told; None of a tie or of no number."""
    if not top or any(math.isnan(logp) for _, _, logp in top):
        return None
    best = max(logp for _, _, logp in top)
    ids = [token for token, _, logp in top if logp == best]
    return ids[0] if len(ids) == 1 else None


def _at(row: Sequence[int | None], place: int) -> int | None:
    return row[place] if 0 <= place < len(row) else None


def _known(token: int | None, vocabulary: int) -> int | None:
    """Return a choice that the marks' vocabulary has."""
    return token if token is not None and 0 <= token < vocabulary else None
