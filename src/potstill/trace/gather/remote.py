"""Questions to a suspect's server: each asked once, kept as it comes, given back in plan order.

Answers come in any order; what came lies in a *spool*, a file of lines that only grows, until it
is an item of the raw log. So a kill loses nothing that was paid for, and nothing is asked twice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from pydantic import ValidationError

from potstill.canonical import canonical_json
from potstill.durable import append_line, read_lines
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Answered, EndpointClient, Failure, client_for
from potstill.endpoint.identity import Served
from potstill.endpoint.many import Taken, ask_many
from potstill.endpoint.open_files import in_flight_allowed
from potstill.endpoint.running import run_async
from potstill.endpoint.scoring import ScoredText
from potstill.endpoint.wire import ChatAnswer, ScoredToken
from potstill.errors import PotstillError
from potstill.progress import Progress, Silent, Step
from potstill.trace.finding import TraceRecord
from potstill.trace.items import Outcome
from potstill.trace.suspect import EndpointSuspect

# How servers spell the space before a word.
_SPACES = " \u0120\u2581"


class SpooledReply(TraceRecord):
    """What came of one question, and what it is charged with; `why` in fixed words.

    `model` and `fingerprint` are what the server says of itself.
    """

    number: int
    outcome: Outcome
    why: str | None = None
    prompt_tokens: int = 0
    response_tokens: int = 0
    model: str | None = None
    fingerprint: str | None = None

    @property
    def used(self) -> Tokens:
        """Tokens that it is charged with."""
        return Tokens(self.prompt_tokens, self.response_tokens)


@dataclass(frozen=True)
class RemoteModel:
    """A suspect's server, the file that its replies are kept in, and what was spent on it before.

    `environ` is the process's environment, where it is not given.
    """

    suspect: EndpointSuspect
    spool: Path
    spent: Tokens = field(default_factory=Tokens)
    environ: Mapping[str, str] | None = None


def require_same_tokens(
    scores: Sequence[ScoredToken] | None, decoded: Sequence[str] | None, test: str
) -> None:
    """Raise PotstillError where a server reads the teacher's ids as other text.

    `scores` are what it told of given ids, `decoded` is the teacher's text of each id. Most of the
    texts have to differ: servers spell parts of characters in any way. None of either tells
    nothing.
    """
    if scores is None or decoded is None:
        return
    told = [
        (score.text.strip(_SPACES), decoded[score.token_id].strip(_SPACES))
        for score in scores
        if score.text and 0 <= score.token_id < len(decoded)
    ]
    plain = [(theirs, ours) for theirs, ours in told if ours.isascii() and ours]
    if sum(theirs != ours for theirs, ours in plain) * 2 > len(plain):
        raise PotstillError(
            "the suspect's server reads the teacher's token ids as other text, so that it has "
            f"another tokenizer; take {test} out of the plan, and ask it for text"
        )


Reply = TypeVar("Reply", bound=SpooledReply)
_A = TypeVar("_A", ChatAnswer, ScoredText)


class AskedByNumber(Protocol):
    """A question with its number: its place among all of the spool."""

    @property
    def number(self) -> int:
        """Its number."""
        ...


_Q = TypeVar("_Q", bound=AskedByNumber)


class Spool(Generic[Reply]):
    """The replies that came, by number; the first to a question stands."""

    def __init__(self, path: Path, kind: type[Reply]) -> None:
        """Read what is there. Raises PotstillError where a line is not of this kind."""
        self._path = path
        self.replies: dict[int, Reply] = {}
        for at, values in enumerate(read_lines(path, strict=True), 1):
            try:
                reply = kind.model_validate_json(canonical_json(values))
            except ValidationError:
                raise PotstillError(
                    f"line {at} of {path} is no reply of this version; restore the file, or begin "
                    "the trace anew in another folder"
                ) from None
            self.replies.setdefault(reply.number, reply)

    def add(self, replies: Sequence[Reply]) -> None:
        """Keep replies, durable on return. Raises PotstillError for a full disk."""
        if replies:
            lines = [canonical_json(reply.model_dump(mode="json")) for reply in replies]
            append_line(self._path, b"\n".join(lines))
            for reply in replies:
                self.replies.setdefault(reply.number, reply)

    @property
    def ever_answered(self) -> bool:
        """Whether the server has done its part at any question."""
        return any(reply.outcome != "error" for reply in self.replies.values())

    @property
    def spent(self) -> Tokens:
        """What all replies are charged with."""
        return sum((reply.used for reply in self.replies.values()), Tokens())


def spent_in(spools: Iterable[Path]) -> Tokens:
    """Return what the replies of spools are charged with, whatever they are replies to."""
    found = Tokens()
    for path in spools:
        for values in read_lines(path, strict=True):
            prompt, response = values.get("prompt_tokens"), values.get("response_tokens")
            if isinstance(prompt, int) and isinstance(response, int):
                found += Tokens(prompt, response)
    return found


class RemoteAsker(Generic[_Q, _A, Reply]):
    """Asks a server what its spool has no reply to."""

    def __init__(
        self,
        remote: RemoteModel,
        kind: type[Reply],
        ask: Callable[[EndpointClient, _Q], Awaitable[Answered[_A] | Failure]],
        read: Callable[[_Q, _A], Reply],
        progress: Progress | None = None,
    ) -> None:
        """`read` makes a reply of an answer; what failed gets one without anything else."""
        self._remote, self._kind = remote, kind
        self._send: Callable[[EndpointClient, _Q], Awaitable[Answered[_A] | Failure]] = ask
        self._read: Callable[[_Q, _A], Reply] = read
        self._progress = progress or Silent()
        self._spool = Spool(remote.spool, kind)
        self._served = Served()

    @cached_property
    def _at_once(self) -> int:
        return in_flight_allowed(self._remote.suspect.settings, self._progress)

    def replies(self, questions: Sequence[_Q], step: Step | None = None) -> list[Reply]:
        """Return the reply to each question, in their order.

        A question that the server refuses, or fails at while it answers others, has a reply that
        says so. Raises PotstillError where the budget allows no more, and where the server fails
        at everything: then nothing counts as failed, and the same command goes on later.
        """
        known = self._spool.replies
        left = [question for question in questions if question.number not in known]
        if left:
            client = client_for(
                self._remote.suspect.settings,
                self._remote.suspect.model,
                spent=self._remote.spent + self._spool.spent,
                environ=self._remote.environ,
                max_in_flight=self._at_once,
            )
            taker = _Taker(client, self, step)
            stopped = run_async(ask_many(client, left, taker, progress=self._progress))
            if stopped == "budget":
                raise PotstillError(
                    "the budget allows no further question to the suspect; raise "
                    "suspect.endpoint.budget or budget_tokens, give the settings to potstill trace "
                    "plan again (the plan stays as it is), and run the same command again"
                )
            if stopped == "failures" or (taker.held and not self._spool.ever_answered):
                raise PotstillError(
                    f"the suspect's server fails at every request ({taker.last_failure}); run the "
                    "same command again when it answers, all that came is kept"
                )
            self._spool.add(taker.held)
        return [known[question.number] for question in questions]


class _Taker(Generic[_Q, _A, Reply]):
    """One call of `ask_many`.

    What failed is held back until the server has answered something after it, or the call is over:
    an outage in which it answers nothing more costs no question.
    """

    def __init__(
        self, client: EndpointClient, asker: RemoteAsker[_Q, _A, Reply], step: Step | None
    ) -> None:
        self._client, self._step = client, step
        self._asker: RemoteAsker[_Q, _A, Reply] = asker
        self.held: list[Reply] = []
        self.last_failure = "no answer"

    async def ask(self, question: _Q) -> Answered[_A] | Failure:
        """Send one question."""
        return await self._asker._send(self._client, question)

    def take(self, question: _Q, outcome: Answered[_A] | Failure) -> Taken[_Q, Reply]:
        """Return what is kept of an outcome."""
        if isinstance(outcome, Failure):
            how: Outcome = "refused" if outcome.final else "error"
            reply = self._asker._kind(number=question.number, outcome=how, why=outcome.reason)
            if not outcome.final:
                self.last_failure = outcome.reason
                self.held.append(reply)
                return Taken(served=False)
            # It judged this question, and says nothing of the others.
            return Taken([reply])
        answer = outcome.answer
        changed = self._asker._served.observe(answer.model, answer.fingerprint)
        if changed is not None:
            self._asker._progress.note(changed)
        charged = {
            "prompt_tokens": outcome.used.prompt,
            "response_tokens": outcome.used.response,
            "model": answer.model,
            "fingerprint": answer.fingerprint,
        }
        reply = self._asker._read(question, answer).model_copy(update=charged)
        rows, self.held = [*self.held, reply], []
        return Taken(rows, served=True)

    def store(self, rows: list[Reply]) -> None:
        """Keep replies."""
        self._asker._spool.add(rows)

    def stored(self, rows: list[Reply]) -> None:
        """Count replies that are kept."""
        if self._step is not None:
            self._step.advance(len(rows), in_flight=self._client.slots.in_flight)
