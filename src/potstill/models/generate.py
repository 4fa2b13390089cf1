"""Decode responses with transformers' models: a finished row's place goes to the next prompt.

transformers' own continuous batching was looked at first (5.24): it gives neither final hidden
states nor random numbers of each row's own, and its sampling depends on the batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.counter import uniforms
from potstill.models.head import LogitsReader
from potstill.models.load import context_length, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.row_engines import DecodedRows, rows_of
from potstill.models.sampling import Candidates, Chooser, Sampling, drawn
from potstill.progress import Step

# Prompts are admitted when this share of the slots is free: reading few prompts costs nearly as
# much as reading several, and what was admitted together is read together.
_ADMIT_AT = 1 / 8
# Responses that are decoded at the same time where nobody says otherwise.
SLOTS = 96


@dataclass(frozen=True)
class Request:
    """One prompt to answer; `key` (an exchange id) seeds its random numbers."""

    key: str
    prompt_ids: tuple[int, ...]


@dataclass(frozen=True)
class Completion:
    """One finished response: ids (end-of-sequence included) and the states that predicted them.

    `hidden_RD` is None unless asked for.
    """

    key: str
    token_ids: tuple[int, ...]
    finish_reason: str
    latency_s: float
    hidden_RD: Tensor | None


@dataclass
class SlotUse:
    """How many slots did work, out of how many were there, before and after the queue ran dry."""

    busy: int = 0
    offered: int = 0
    busy_while_queued: int = 0
    offered_while_queued: int = 0

    def count(self, busy: int, slots: int, queued: bool) -> None:
        """Record one decoding step."""
        self.busy += busy
        self.offered += slots
        if queued:
            self.busy_while_queued += busy
            self.offered_while_queued += slots


@dataclass
class _InSlot:
    """What is known of a response that is being decoded; its states are kept at `place`."""

    request: Request
    place: int
    uniform: list[float]
    started: float
    limit: int
    token_ids: list[int] = field(default_factory=list)


def decode(
    model: LoadedModel,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    slots: int,
    keep_hidden: bool = False,
    use: SlotUse | None = None,
    choose: Chooser = drawn,
) -> Iterator[list[Completion]]:
    """Yield completions as they finish, in lists, one list a step that finished any.

    The order of work depends on the requests alone, so the same requests give the same
    logits bit by bit on the same machine. `choose` decides every token.
    """
    if requests:
        how = _How(sampling, choose, min(slots, len(requests)), keep_hidden)
        yield from _Decoder(model, requests, how, use or SlotUse()).run()


def completions(
    model: LoadedModel,
    requests: Sequence[Request],
    sampling: Sampling,
    *,
    slots: int = SLOTS,
    keep_hidden: bool = False,
    choose: Chooser = drawn,
    step: Step | None = None,
) -> list[Completion]:
    """Return the completion of each request, in their order; `step` moves on by one for each.

    Raises ValueError where two requests have the same key.
    """
    found: dict[str, Completion] = {}
    if len({request.key for request in requests}) < len(requests):
        raise ValueError("two requests have the same key, and would draw the same numbers")
    done = decode(model, requests, sampling, slots=slots, keep_hidden=keep_hidden, choose=choose)
    for group in done:
        found.update((completion.key, completion) for completion in group)
        if step is not None:
            step.advance(len(group))
    return [found[request.key] for request in requests]


@dataclass(frozen=True)
class _How:
    """How a queue of requests is decoded."""

    sampling: Sampling
    choose: Chooser
    slots: int
    keep_hidden: bool


class _Decoder:
    """The state of one pass over a queue of requests; row b of every tensor is `rows[b]`."""

    @torch.inference_mode()
    def __init__(
        self, model: LoadedModel, requests: Sequence[Request], how: _How, use: SlotUse
    ) -> None:
        self.model, self.how, self.use = model, how, use
        self.context = context_length(model)
        # The longest first: prompts that are read together have nearly one length.
        self.queue = sorted(requests, key=lambda request: -len(request.prompt_ids))
        longest = len(self.queue[0].prompt_ids)
        if longest >= self.context:
            raise PotstillError(
                f"a prompt has {longest:,} tokens, and {model.source} reads {self.context:,} at "
                "once, so that there is no room for an answer; shorten the prompt, or take a model "
                "with a longer context"
            )
        prompts = [request.prompt_ids for request in self.queue]
        self.engine: DecodedRows = rows_of(
            model, prompts, slots=how.slots, room=how.sampling.max_tokens
        )
        self.rows: list[_InSlot] = []
        self.reader = LogitsReader(head_of(model), how.slots)
        self.places = list(range(how.slots))
        self.hidden_SRD: Tensor | None = None
        self.eos = set(model.eos_ids)

    @torch.inference_mode()
    def run(self) -> Iterator[list[Completion]]:
        while self.queue or self.rows:
            free = self.how.slots - len(self.rows)
            if self.queue and free and free >= _ADMIT_AT * self.how.slots:
                done = self._admit(free)
            else:
                self.use.count(len(self.rows), self.how.slots, bool(self.queue))
                last_B = torch.tensor([row.token_ids[-1] for row in self.rows])
                hidden_BD = self.engine.step(last_B.to(self.model.device))
                done = self._accept(self.rows, hidden_BD)
            if done:
                yield done

    def _admit(self, free: int) -> list[Completion]:
        """Read waiting prompts into free slots; return those done already."""
        taken, self.queue = self.queue[:free], self.queue[free:]
        hidden_ND = self.engine.admit([request.prompt_ids for request in taken])
        now = time.perf_counter()
        limit = self.how.sampling.max_tokens
        rows = []
        for request in taken:
            stream = uniforms(request.key, limit).tolist()
            room = self.context - len(request.prompt_ids)
            rows.append(_InSlot(request, self.places.pop(), stream, now, min(limit, room)))
        self.rows += rows
        return self._accept(rows, hidden_ND)

    def _accept(self, rows: Sequence[_InSlot], hidden_ND: Tensor) -> list[Completion]:
        """Draw a token for the given rows, keep its state, and return what is finished."""
        positions = [len(row.token_ids) for row in rows]
        candidates = Candidates(
            logits_SV=self.reader.read(hidden_ND),
            sampling=self.how.sampling,
            keys=[row.request.key for row in rows],
            uniforms=[row.uniform[at] for row, at in zip(rows, positions, strict=True)],
            prompts=[row.request.prompt_ids for row in rows],
            responses=[row.token_ids for row in rows],
        )
        token_N = self.how.choose(candidates)
        if self.how.keep_hidden:
            self._keep([row.place for row in rows], positions, hidden_ND)
        done = []
        for row, token in zip(rows, token_N.tolist(), strict=True):
            row.token_ids.append(token)
            stopped = token in self.eos
            if stopped or len(row.token_ids) == row.limit:
                done.append((row, "stop" if stopped else "length"))
        if done:
            over = {id(row) for row, _ in done}
            gone = [b for b, row in enumerate(self.rows) if id(row) in over]
            self.rows = [self.rows[b] for b in self.engine.drop(gone)]
        return [self._finish(row, reason) for row, reason in done]

    def _keep(self, places: list[int], positions: list[int], hidden_ND: Tensor) -> None:
        if self.hidden_SRD is None:
            shape = (self.how.slots, self.how.sampling.max_tokens, hidden_ND.shape[1])
            self.hidden_SRD = hidden_ND.new_zeros(shape)
        place_N, at_N = torch.tensor([places, positions], device=hidden_ND.device)
        self.hidden_SRD[place_N, at_N] = hidden_ND

    def _finish(self, row: _InSlot, reason: str) -> Completion:
        self.places.append(row.place)
        hidden_RD = None
        if self.hidden_SRD is not None:
            hidden_RD = self.hidden_SRD[row.place, : len(row.token_ids)].cpu().clone()
        return Completion(
            key=row.request.key,
            token_ids=tuple(row.token_ids),
            finish_reason=reason,
            latency_s=time.perf_counter() - row.started,
            hidden_RD=hidden_RD,
        )
