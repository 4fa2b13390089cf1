"""Prompts to exchanges and targets: the teacher answers, and its states come along."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt, exchange_id_of
from potstill.exchanges.forming import LogitBias, formed
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets
from potstill.models.chat import prompt_ids, reply_of
from potstill.models.generate import Completion, Request, SlotUse, decode
from potstill.models.load import context_length, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling, drawn
from potstill.progress import Progress
from potstill.terms.gate import TermsDecision
from potstill.watermark.marking import MarkedLogits, marking
from potstill.watermark.schemes import GreenList
from potstill.watermark.survivors import OwnScheme
from potstill.work.samplings import answered_key
from potstill.work.target_specs import TargetSpecs

# Finished rows are acknowledged in groups: one transaction costs two disk syncs.
_COMMIT_ROWS = 32


@dataclass(frozen=True)
class Question:
    """One exchange that is wanted: a prompt, its sample index, and the ids that it starts from."""

    exchange_id: str
    prompt: Prompt
    sample_index: int
    prompt_ids: tuple[int, ...]


@dataclass(frozen=True)
class CollectionFigures:
    """What one call of `collect` did; shares are of decoding steps times slots.

    `slots_busy_before_last_wave` is None where there was only one wave.
    """

    exchanges: int
    computed: int
    response_tokens: int
    seconds: float
    tokens_per_s: float
    slots_busy: float
    slots_busy_before_last_wave: float | None
    waves: int


def questions(
    teacher: LoadedModel,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
    mark_id: str | None = None,
) -> list[Question]:
    """Return what has to be asked, in order of exchange id, so that nothing else orders it.

    `mark_id` names the mark that the answers will carry, None for none. Raises PotstillError where
    a prompt leaves no room in the teacher's context.
    """
    wanted = []
    for prompt in prompts:
        ids = tuple(prompt_ids(teacher, prompt.messages, prompt.tool_list))
        room = context_length(teacher) - sampling.max_tokens
        if len(ids) > room:
            raise PotstillError(
                f"prompt {prompt.prompt_id} from {prompt.source} has {len(ids)} tokens, but the "
                f"teacher reads {context_length(teacher)} and {sampling.max_tokens} are kept for "
                "the response: shorten it, or lower collect.max_tokens"
            )
        key = answered_key(teacher, sampling)
        for index in range(samples):
            exchange_id = exchange_id_of(
                teacher.identity,
                prompt.messages,
                key,
                index,
                tools=prompt.tool_list,
                watermark_key_id=mark_id,
            )
            wanted.append(Question(exchange_id, prompt, index, ids))
    return sorted(wanted, key=lambda q: q.exchange_id)


def plan_waves(wanted: Sequence[Question], slots: int, multiple: int) -> list[list[str]]:
    """Return exchange ids in waves of `slots * multiple`; the last one may be smaller.

    A wave is decoded as a whole. It is planned from the whole prompt set, so that a run that
    was killed computes its waves under the same batches and gets the same logits.
    """
    size = slots * multiple
    ids = [q.exchange_id for q in wanted]
    return [ids[i : i + size] for i in range(0, len(ids), size)]


def collect(
    teacher: LoadedModel,
    wanted: Sequence[Question],
    waves: Sequence[Sequence[str]],
    sampling: Sampling,
    store: ExchangeStore,
    decision: TermsDecision,
    *,
    slots: int,
    targets: TargetSpecs,
    progress: Progress,
    label: str = "collect",
    scheme: OwnScheme | None = None,
) -> CollectionFigures:
    """Answer every question whose exchange is not stored yet; durable as it goes.

    `decision` is the terms gate's; it raises where the teacher's outputs may not be used. A
    wave in which anything is missing is decoded again whole; rows already stored stay as they are.
    `targets` come from the states that decoding computes, in the form that the prompt's split has.
    With a `scheme` the answers are marked, and their targets are those of the marked distribution;
    the questions then have its `mark_id`.
    """
    decision.require(asks=True)
    choose = drawn if scheme is None else marking(scheme)
    logits = MarkedLogits(scheme, teacher.device) if isinstance(scheme, GreenList) else None
    storing = _Storing(teacher, sampling, store, decision, targets, scheme, logits)
    by_id = {q.exchange_id: q for q in wanted}
    missing = _missing(by_id, store, teacher.identity, targets)
    before, last = SlotUse(), SlotUse()
    started = time.perf_counter()
    tokens = computed = 0
    with progress.step(label, total=len(by_id), unit="responses") as step:
        step.advance(len(by_id) - len(missing))
        for number, wave in enumerate(waves):
            if not missing.intersection(wave):
                continue
            use = last if number == len(waves) - 1 else before
            requests = [Request(key, by_id[key].prompt_ids) for key in wave]
            keep = any(targets[by_id[key].prompt.split] is not None for key in wave)
            found = decode(
                teacher,
                requests,
                sampling,
                slots=slots,
                keep_hidden=keep,
                use=use,
                choose=choose,
            )
            for group in _groups(found):
                storing.store_group(group, by_id)
                computed += len(group)
                tokens += sum(len(c.token_ids) for c in group)
                rate = tokens / (time.perf_counter() - started)
                step.advance(sum(c.key in missing for c in group), tokens_per_s=round(rate))
    seconds = time.perf_counter() - started
    return CollectionFigures(
        exchanges=len(by_id),
        computed=computed,
        response_tokens=tokens,
        seconds=seconds,
        tokens_per_s=tokens / seconds if tokens else 0.0,
        slots_busy=_share(before.busy + last.busy, before.offered + last.offered) or 0.0,
        slots_busy_before_last_wave=_share(before.busy, before.offered),
        waves=len(waves),
    )


def gold_exchanges(
    prompts: Sequence[Prompt], teacher: str, decision: TermsDecision
) -> list[Exchange]:
    """Return the right answers that rows came with as exchanges; rows without one are left out."""
    decision.require()
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return [
        Exchange(
            exchange_id=exchange_id_of(teacher, prompt.messages, {}, 0, tools=prompt.tool_list),
            prompt_id=prompt.prompt_id,
            split=prompt.split,
            messages=prompt.messages,
            tools=prompt.tools,
            response=prompt.gold,
            prompt_token_ids=None,
            response_token_ids=None,
            tokenizer=None,
            finish_reason="stop",
            teacher=teacher,
            sampling={},
            sample_index=0,
            terms_decision=decision.record(),
            source=prompt.source,
            created_at=now,
            engine="gold",
        )
        for prompt in prompts
        if prompt.gold is not None
    ]


def as_record(figures: CollectionFigures) -> dict[str, Any]:
    """Return the figures as plain JSON values."""
    return asdict(figures)


def _missing(
    by_id: dict[str, Question], store: ExchangeStore, scorer: str, targets: TargetSpecs
) -> set[str]:
    stored = store.ids()
    having = {spec: store.target_ids(scorer, spec) for spec in targets.values() if spec}
    missing = set()
    for key, question in by_id.items():
        spec = targets[question.prompt.split]
        if key not in stored or (spec is not None and key not in having[spec]):
            missing.add(key)
    return missing


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _groups(found: Iterator[list[Completion]]) -> Iterator[list[Completion]]:
    """Gather completions into groups worth a transaction."""
    group: list[Completion] = []
    for done in found:
        group += done
        if len(group) >= _COMMIT_ROWS:
            yield group
            group = []
    if group:
        yield group


@dataclass(frozen=True)
class _Storing:
    """Where completions go, and as what."""

    teacher: LoadedModel
    sampling: Sampling
    store: ExchangeStore
    decision: TermsDecision
    specs: TargetSpecs
    scheme: OwnScheme | None
    logits: MarkedLogits | None

    def store_group(self, group: Sequence[Completion], by_id: dict[str, Question]) -> None:
        """Store completions with their targets."""
        rows = [self._exchange(done, by_id[done.key]) for done in group]
        targets = [self._targets(done, self.specs[by_id[done.key].prompt.split]) for done in group]
        self.store.append(rows, [found for found in targets if found is not None])

    def _targets(self, done: Completion, spec: TargetSpec | None) -> ExchangeTargets | None:
        if spec is None or done.hidden_RD is None:
            return None
        teacher, bias = self.teacher, self._bias(done.token_ids)
        return formed(done.key, teacher.identity, done.hidden_RD, head_of(teacher), spec, bias)

    def _bias(self, response_ids: tuple[int, ...]) -> LogitBias | None:
        """Return what the mark comes to in logits before the temperature that text is drawn at."""
        if self.scheme is None:
            return None
        if self.logits is None:
            raise ValueError(f"a {self.scheme.name} mark gives no distribution to form targets of")
        logits, temperature = self.logits, self.sampling.temperature
        return lambda rows, width: temperature * logits.bias(response_ids, width, rows)

    def _exchange(self, completion: Completion, question: Question) -> Exchange:
        teacher, prompt = self.teacher, question.prompt
        reply = reply_of(teacher, completion.token_ids, tools=prompt.tools is not None)
        return Exchange(
            exchange_id=completion.key,
            prompt_id=prompt.prompt_id,
            split=prompt.split,
            messages=prompt.messages,
            tools=prompt.tools,
            response=reply.text,
            prompt_token_ids=question.prompt_ids,
            response_token_ids=completion.token_ids,
            tokenizer=teacher.tokenizer_id,
            finish_reason="stop" if completion.finish_reason == "stop" else "length",
            teacher=teacher.identity,
            sampling=answered_key(teacher, self.sampling),
            sample_index=question.sample_index,
            terms_decision=self.decision.record(),
            source=prompt.source,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            latency_s=round(completion.latency_s, 4),
            reasoning=reply.reasoning,
            tool_calls=reply.tool_calls,
            watermark_key_id=None if self.scheme is None else self.scheme.mark_id,
            usage={
                "prompt_tokens": len(question.prompt_ids),
                "completion_tokens": len(completion.token_ids),
            },
            dtype="int8" if teacher.int8 else str(teacher.compute_dtype).removeprefix("torch."),
            device=teacher.device.type,
        )
