"""Decode responses with transformers' models: a finished row's slot goes to the next prompt.

transformers' own continuous batching was looked at first (5.24): it gives neither final hidden
states nor random numbers of each row's own, and its sampling depends on the batch.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from transformers import DynamicCache

from potstill.errors import PotstillError
from potstill.models.counter import uniforms
from potstill.models.head import Head
from potstill.models.load import body_of, context_length, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Candidates, Chooser, Sampling, drawn
from potstill.models.score import padded
from potstill.models.slots import SlotCache
from potstill.progress import Step

# Prompts are admitted when this share of the slots is free: reading a prompt alone costs nearly
# as much as reading several (measured: the waiting slots cost less than they save).
_ADMIT_AT = 1 / 16
# Responses that are decoded at the same time where nobody says otherwise.
SLOTS = 96
# Below this share of active rows the cache is packed, so that empty rows cost nothing.
_PACK_BELOW = 0.75


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
    """What is known of a response that is being decoded."""

    request: Request
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
        how = _How(sampling, choose, slots, keep_hidden)
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

    def __init__(
        self,
        model: LoadedModel,
        requests: Sequence[Request],
        how: _How,
        use: SlotUse,
    ) -> None:
        self.model, self.how, self.use = model, how, use
        self.head: Head = head_of(model)
        self.config = model.network.config.get_text_config()
        self.queue = deque(requests)
        self.slots = min(how.slots, len(requests))
        capacity = max(len(r.prompt_ids) for r in requests) + how.sampling.max_tokens
        self.cache = SlotCache(self.config.num_hidden_layers, self.slots, capacity, model.device)
        self.rows: list[_InSlot | None] = [None] * self.slots
        self.token_B = torch.zeros(self.slots, dtype=torch.long, device=model.device)
        self.position_B = torch.zeros(self.slots, dtype=torch.long, device=model.device)
        self.hidden_BRD: Tensor | None = None
        self.eos = set(model.eos_ids)
        self.context = context_length(model)
        longest = max(len(r.prompt_ids) for r in requests)
        if longest >= self.context:
            raise PotstillError(
                f"a prompt has {longest:,} tokens, and {model.source} reads {self.context:,} at "
                "once, so that there is no room for an answer; shorten the prompt, or take a model "
                "with a longer context"
            )

    @torch.inference_mode()
    def run(self) -> Iterator[list[Completion]]:
        while True:
            done = self._admit()
            if done:
                yield done
                continue
            active = sum(row is not None for row in self.rows)
            if not active:
                return
            if active < _PACK_BELOW * len(self.rows):
                self._pack()
            self.use.count(active, self.slots, bool(self.queue))
            done = self._step()
            if done:
                yield done

    def _admit(self) -> list[Completion]:
        """Prefill waiting prompts into all free slots at once; return those done already."""
        free = [b for b, row in enumerate(self.rows) if row is None]
        if not self.queue or len(free) < _ADMIT_AT * self.slots:
            return []
        taken = [(b, self.queue.popleft()) for b in free[: len(self.queue)]]
        lengths = [len(r.prompt_ids) for _, r in taken]
        slots_N = torch.tensor([b for b, _ in taken], device=self.model.device)
        ids_NT = padded([r.prompt_ids for _, r in taken]).to(self.model.device)
        prefilled = DynamicCache()
        output = body_of(self.model.network)(input_ids=ids_NT, cache=prefilled, use_cache=True)
        self.cache.fill(slots_N, prefilled)
        last_N = torch.tensor(lengths, device=self.model.device) - 1
        hidden_ND = output.last_hidden_state[torch.arange(len(taken)), last_N]
        now = time.perf_counter()
        limit = self.how.sampling.max_tokens
        for b, request in taken:
            stream = uniforms(request.key, limit).tolist()
            room = self.context - len(request.prompt_ids)
            self.rows[b] = _InSlot(request, stream, now, min(limit, room))
        self.position_B[slots_N] = last_N + 1
        return self._accept([b for b, _ in taken], hidden_ND)

    def _step(self) -> list[Completion]:
        """Feed each row its last token and draw the next one."""
        # Idle rows aim at position 0 of their own slot: harmless, and one shape for all.
        self.cache.aim(self.position_B)
        output = body_of(self.model.network)(
            input_ids=self.token_B[:, None],
            position_ids=self.position_B[:, None],
            attention_mask=self.cache.masks(self.config),
            cache=self.cache,
            use_cache=True,
        )
        self.position_B += 1
        active = [b for b, row in enumerate(self.rows) if row is not None]
        hidden_BD = output.last_hidden_state[:, 0]
        if len(active) < len(self.rows):
            hidden_BD = hidden_BD[active]
        return self._accept(active, hidden_BD)

    def _accept(self, slots: list[int], hidden_ND: Tensor) -> list[Completion]:
        """Draw a token for the given slots, keep its state, and return what is finished."""
        rows = [row for row in (self.rows[b] for b in slots) if row is not None]
        positions = [len(row.token_ids) for row in rows]
        candidates = Candidates(
            logits_SV=self.head.logits(hidden_ND),
            sampling=self.how.sampling,
            keys=[row.request.key for row in rows],
            uniforms=[row.uniform[at] for row, at in zip(rows, positions, strict=True)],
            prompts=[row.request.prompt_ids for row in rows],
            responses=[row.token_ids for row in rows],
        )
        token_N = self.how.choose(candidates)
        slots_N = torch.tensor(slots, device=self.model.device)
        self.token_B[slots_N] = token_N
        if self.how.keep_hidden:
            self._keep(slots_N, positions, hidden_ND)
        done = []
        for b, row, token in zip(slots, rows, token_N.tolist(), strict=True):
            row.token_ids.append(token)
            stopped = token in self.eos
            if stopped or len(row.token_ids) == row.limit:
                done.append(self._finish(b, row, "stop" if stopped else "length"))
        return done

    def _keep(self, slots_N: Tensor, positions: list[int], hidden_ND: Tensor) -> None:
        if self.hidden_BRD is None:
            shape = (len(self.rows), self.how.sampling.max_tokens, hidden_ND.shape[1])
            self.hidden_BRD = hidden_ND.new_zeros(shape)
        at_N = torch.tensor(positions, device=hidden_ND.device)
        self.hidden_BRD[slots_N, at_N] = hidden_ND

    def _finish(self, b: int, row: _InSlot, reason: str) -> Completion:
        self.rows[b] = None
        self.position_B[b] = 0
        hidden_RD = None
        if self.hidden_BRD is not None:
            hidden_RD = self.hidden_BRD[b, : len(row.token_ids)].cpu().clone()
        return Completion(
            key=row.request.key,
            token_ids=tuple(row.token_ids),
            finish_reason=reason,
            latency_s=time.perf_counter() - row.started,
            hidden_RD=hidden_RD,
        )

    def _pack(self) -> None:
        """Drop idle rows; nothing waits any more when this happens."""
        active = [b for b, row in enumerate(self.rows) if row is not None]
        rows_B = torch.tensor(active, device=self.model.device)
        self.cache.keep(rows_B)
        self.token_B, self.position_B = self.token_B[rows_B], self.position_B[rows_B]
        if self.hidden_BRD is not None:
            self.hidden_BRD = self.hidden_BRD[rows_B]
        self.rows = [self.rows[b] for b in active]
