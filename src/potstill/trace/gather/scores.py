"""Have models read served answers and their twins, and note how likely each finds them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from potstill.endpoint.client import Answered, EndpointClient, Failure
from potstill.endpoint.scoring import ScoredText
from potstill.errors import PotstillError
from potstill.models.likelihood import likelihood_of
from potstill.models.load import context_length
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress, Step
from potstill.trace.gather.local import waves
from potstill.trace.gather.remote import (
    RemoteAsker,
    RemoteModel,
    SpooledReply,
    require_same_tokens,
)
from potstill.trace.items import Outcome
from potstill.trace.served import TwinSet, require_served, salted_answer
from potstill.trace.twins import TwinsItem, TwinsPlanned

# Prompts between two appends: what a kill loses at most.
_AT_ONCE = 16


@dataclass(frozen=True)
class ScoringModel:
    """A model in memory that reads the ids of answers.

    `reads` gives what it is given for a prompt and an answer, in place of the teacher's own ids: a
    model with another tokenizer reads their texts in its own. `found` keeps what it found of sets
    that it is asked of again: a reference of the suspect and of every control is one.
    """

    model: LoadedModel
    reads: Callable[[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]] | None = (
        None
    )
    found: dict[tuple[TwinSet, ...], list[list[float] | None]] = field(
        default_factory=dict, repr=False, compare=False
    )

    def given(
        self, prompt: Sequence[int], answer: Sequence[int]
    ) -> tuple[Sequence[int], Sequence[int]]:
        """Return the ids that it reads."""
        return (prompt, answer) if self.reads is None else self.reads(prompt, answer)


@dataclass(frozen=True)
class _ScoreQuestion:
    """One answer that a server reads: `number` counts all answers of all prompts."""

    number: int
    prompt: tuple[int, ...]
    answer: tuple[int, ...]


class _ScoreReply(SpooledReply):
    """The log-likelihood of one answer, in nats."""

    logp: float | None = None


def gather_scores(
    planned: TwinsPlanned,
    suspect: ScoringModel | RemoteModel,
    reference: ScoringModel | None,
    sets: Sequence[TwinSet],
    salt: str,
    done: Sequence[TwinsItem],
    append: Callable[[TwinsItem], None],
    *,
    decoded: Sequence[str] | None = None,
    enough: Callable[[], bool] = lambda: False,
    progress: Progress | None = None,
    step: Step | None = None,
) -> None:
    """Append an item for each prompt of the plan that has none yet, in plan order.

    `sets` are the served answers with their twins, `salt` is that of the plan's digests of them,
    `decoded` the text of each of the teacher's ids, by which a server's tokenizer is told from
    another. A control goes in the suspect's place, with a log of its own. What the suspect cannot
    read (too long, an error, a refusal) has an item that says so, without figures. Raises
    PotstillError for other sets than the plan's, a reference that is planned and not given, a
    server with another tokenizer, and as a server's asker does.
    """
    _check_sets(planned, sets, salt)
    if (reference is None) is not (planned.reference is None):
        raise PotstillError(
            "the plan's scores are taken "
            + ("against no model" if reference else f"against {planned.reference}")
            + "; give the models that it names"
        )
    if reference is not None and reference.model.identity != planned.reference:
        raise PotstillError(
            f"the model that scores are taken against is {reference.model.identity}, and the plan "
            f"names {planned.reference}; give that one"
        )
    asker = None if isinstance(suspect, ScoringModel) else _asker(suspect, decoded, progress)
    # What a kill interrupted is read again in the same company, whose logits are the same.
    for numbers, before in waves(range(len(sets)), _AT_ONCE, len(done)):
        if enough():
            return
        some = [sets[i] for i in numbers]
        ours = (
            _here(suspect, some)
            if isinstance(suspect, ScoringModel)
            else _there(_required(asker), numbers, sets)
        )
        theirs = [None] * len(some) if reference is None else _here(reference, some)
        rows = zip(numbers, some, ours, theirs, strict=True)
        for number, one, own, other in islice(rows, before, None):
            append(_item(number, one, salt, own, other))
            if step is not None:
                step.advance(1)


def reads_texts(
    teacher: LoadedModel, model: LoadedModel
) -> Callable[[Sequence[int], Sequence[int]], tuple[Sequence[int], Sequence[int]]]:
    """Return how a model with another tokenizer reads a teacher's prompts and answers.

    Both are the texts of the teacher's ids, cut into its own; an answer that ended has the model's
    own end behind it. It is one function of the text for a served answer and for its twins.
    """
    ends = set(teacher.eos_ids)

    def ids_of(text: str) -> list[int]:
        return list(model.tokenizer(text, add_special_tokens=False)["input_ids"])

    def read(prompt: Sequence[int], answer: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
        ended = bool(answer) and answer[-1] in ends
        said = list(answer[:-1]) if ended else list(answer)
        asked = ids_of(teacher.tokenizer.decode(list(prompt)))
        told = ids_of(teacher.tokenizer.decode(said))
        return asked, [*told, *model.eos_ids[:1]] if ended else told

    return read


def _check_sets(planned: TwinsPlanned, sets: Sequence[TwinSet], salt: str) -> None:
    if len(sets) != len(planned.exchanges):
        raise PotstillError(
            f"the plan ranks {len(planned.exchanges):,} served answers, and {len(sets):,} are "
            "given with twins; draw the twins of all of them first"
        )
    require_served(planned.exchanges, ((one.prompt, one.served) for one in sets), salt)
    for number, (one, exchange) in enumerate(zip(sets, planned.exchanges, strict=True)):
        if len(one.twins) != exchange.twins:
            raise PotstillError(
                f"served answer {number} has {len(one.twins)} twins, and {exchange.twins} are "
                "planned; draw them all first"
            )


def _here(scoring: ScoringModel, some: Sequence[TwinSet]) -> list[list[float] | None]:
    """Return the log-likelihoods of each set's answers; None where one does not fit."""
    if (known := scoring.found.get(tuple(some))) is not None:
        return known
    model, room = scoring.model, context_length(scoring.model)
    read = [[scoring.given(one.prompt, answer) for answer in one.answers] for one in some]
    fits = [all(p and a and len(p) + len(a) <= room for p, a in answers) for answers in read]
    texts = [pair for answers, fit in zip(read, fits, strict=True) if fit for pair in answers]
    logp = iter((-likelihood_of(model, texts).nll).tolist() if texts else [])
    scoring.found[tuple(some)] = [
        [next(logp) for _ in answers] if fit else None
        for answers, fit in zip(read, fits, strict=True)
    ]
    return scoring.found[tuple(some)]


def _there(
    asker: RemoteAsker[_ScoreQuestion, ScoredText, _ScoreReply],
    numbers: Sequence[int],
    sets: Sequence[TwinSet],
) -> Iterator[list[float] | Outcome]:
    """Yield the log-likelihoods by a server of each set's answers, or what became of them."""
    begins = [0]
    for one in sets:
        begins.append(begins[-1] + len(one.answers))
    questions = [
        _ScoreQuestion(begins[i] + at, sets[i].prompt, answer)
        for i in numbers
        for at, answer in enumerate(sets[i].answers)
    ]
    replies = iter(asker.replies(questions))
    for i in numbers:
        mine = [next(replies) for _ in sets[i].answers]
        figures = [reply.logp for reply in mine if reply.logp is not None]
        if len(figures) == len(mine):
            yield figures
        else:
            yield next(reply.outcome for reply in mine if reply.logp is None)


def _item(
    number: int,
    one: TwinSet,
    salt: str,
    own: list[float] | Outcome | None,
    other: list[float] | None,
) -> TwinsItem:
    texts = tuple(salted_answer(salt, one.prompt, answer) for answer in one.answers)
    tokens = tuple(map(len, one.answers))
    if own is None or isinstance(own, str) or not all(map(math.isfinite, own)):
        outcome: Outcome = own if isinstance(own, str) else "unreadable"
        return TwinsItem(index=number, outcome=outcome, texts=texts, tokens=tokens)
    return TwinsItem(
        index=number,
        outcome="answered",
        texts=texts,
        tokens=tokens,
        suspect_logp=tuple(own),
        reference_logp=tuple(other or ()),
    )


def _asker(
    remote: RemoteModel, decoded: Sequence[str] | None, progress: Progress | None
) -> RemoteAsker[_ScoreQuestion, ScoredText, _ScoreReply]:
    async def ask(client: EndpointClient, one: _ScoreQuestion) -> Answered[ScoredText] | Failure:
        return await client.score((*one.prompt, *one.answer), 1)

    def read(one: _ScoreQuestion, answer: ScoredText) -> _ScoreReply:
        require_same_tokens(answer.scores, decoded, "twins")
        return _read(one, answer)

    return RemoteAsker(remote, _ScoreReply, ask, read, progress)


def _read(one: _ScoreQuestion, answer: ScoredText) -> _ScoreReply:
    """Return the sum of the log-probabilities of an answer's own tokens."""
    told = None if answer.scores is None else answer.scores[len(one.prompt) - 1 :]
    logp = [score.logp for score in told or () if score.logp is not None]
    if len(logp) != len(one.answer) or not all(map(math.isfinite, logp)):
        why = "the server tells no log-probability of each token of given text"
        return _ScoreReply(number=one.number, outcome="unreadable", why=why)
    return _ScoreReply(number=one.number, outcome="answered", logp=math.fsum(logp))


def _required(
    asker: RemoteAsker[_ScoreQuestion, ScoredText, _ScoreReply] | None,
) -> RemoteAsker[_ScoreQuestion, ScoredText, _ScoreReply]:
    assert asker is not None
    return asker
