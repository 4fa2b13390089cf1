"""From a log of calls to exchanges, or to prompts that another teacher can be asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from potstill.canonical import canonical_json
from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt, Split, exchange_id_of
from potstill.logs.call import LoggedCall, Reason
from potstill.logs.reading import Log
from potstill.logs.tally import WAYS_OUT, CallsReport
from potstill.recipe import PromptsConfig
from potstill.terms.gate import TermsDecision
from potstill.text.finish import ending_of, finish_of
from potstill.text.turns import Turns, prompt_id_of, tool_list
from potstill.work.plan import PromptPlan

# What `Exchange.finish_reason` is where a form says nothing of ends; the report counts them apart.
_UNKNOWN_FINISH: Literal["stop", "length"] = "stop"


@dataclass(frozen=True)
class StoredCalls:
    """Exchanges from a log (none where only prompts are used), the plan, and what was left out.

    `exchanges` are sorted by exchange id. Every prompt of the plan is answered by one of them,
    but for held-out prompts that `prompts.held_out` takes from elsewhere.
    """

    exchanges: tuple[Exchange, ...]
    plan: PromptPlan
    report: CallsReport

    @property
    def unanswered(self) -> tuple[Prompt, ...]:
        """The plan's prompts that have no response in the log."""
        answered = {exchange.prompt_id for exchange in self.exchanges}
        return tuple(p for p in self.plan.prompts if p.prompt_id not in answered)


def exchanges_from_calls(
    log: Log, prompts: PromptsConfig, decision: TermsDecision, *, seed: int
) -> StoredCalls:
    """Return the log's calls as exchanges, split by digest as prompts are.

    Of `prompts` the counts, `held_out` and `limit` are used; messages stay as they were logged.
    Several answers to one request differ in `sample_index`, numbered by their content. Raises
    PotstillError where the terms do not permit it, or no call is left.
    """
    require_terms(decision)
    prompt_ids = [prompt_id_of(call.ask.messages, call.ask.tools) for call in log.calls]
    plan = _plan(log, {key: log.asks[key] for key in prompt_ids}, prompts, seed)
    splits: dict[str, Split] = {p.prompt_id: p.split for p in plan.prompts}
    used = [call for call, key in zip(log.calls, prompt_ids, strict=True) if key in splits]
    report = _report(log, len(log.calls) - len(used), used)
    rows = _exchanges(used, log.identities, splits, decision)
    return StoredCalls(tuple(sorted(rows, key=lambda row: row.exchange_id)), plan, report)


def prompts_from_calls(log: Log, prompts: PromptsConfig, *, seed: int) -> StoredCalls:
    """Return what was asked alone, as a plan of prompts for another teacher.

    No terms are asked for, since no response is used. The plan's notes say what was left out.
    Earlier turns of a chat stay in its prompt,
    the model's among them; training learns those with train.turns `all`.
    """
    plan = _plan(log, log.asks, prompts, seed)
    planned = {p.prompt_id for p in plan.prompts}
    missing = sum(key not in planned for key in log.asks)
    report = _report(log, missing, (), prompts=len(log.asks) - missing)
    return StoredCalls((), replace(plan, notes=(*report.notes(), *plan.notes)), report)


def given_answers(log: Log, plan: PromptPlan) -> list[tuple[Turns, str]]:
    """Return what was asked, and the answer, of every call whose prompt is learnt from."""
    train = {p.prompt_id for p in plan.train}
    return [
        (call.ask.turns, call.answer.response)
        for call in log.calls
        if prompt_id_of(call.ask.messages, call.ask.tools) in train
    ]


def require_terms(decision: TermsDecision) -> None:
    if not decision.permitted:
        raise PotstillError(
            f"the calls of {decision.teacher} may not be distilled yet: {decision.reason}; state "
            "whose outputs they are with collect.calls.source, or save the rights holder's "
            "permission as a text file and name it with collect.calls.terms.authorisation"
        )


def _plan(
    log: Log, asks: Mapping[str, tuple[Turns, str]], config: PromptsConfig, seed: int
) -> PromptPlan:
    if not asks:
        raise PotstillError(
            f"the log of calls {log.name} has no call that can be used, read as "
            f"{log.detected.form}; left out: {_left_out(log)}{_named(log)}"
        )
    source = f"calls:{log.name}"

    def read(wanted: str, settings: PromptsConfig) -> Sequence[Turns]:
        if wanted == source:
            return [turns for turns, _ in asks.values()]
        return read_prompts(wanted, settings)

    plan = plan_prompts(config.model_copy(update={"source": source}), seed=seed, read=read)
    return replace(
        plan,
        train=_with_files(plan.train, asks),
        validation=_with_files(plan.validation, asks),
        held_out=_with_files(plan.held_out, asks),
    )


def _with_files(
    prompts: Sequence[Prompt], asks: Mapping[str, tuple[Turns, str]]
) -> tuple[Prompt, ...]:
    """Return prompts with the file of the log that each is from, where it is from the log."""
    return tuple(
        replace(p, source=f"calls:{asks[p.prompt_id][1]}") if p.prompt_id in asks else p
        for p in prompts
    )


def _left_out(log: Log) -> str:
    """Return what was left out, with the first place, and a way out where it is not plain."""
    words = []
    for reason, count in log.tally.left_out.items():
        place, way = log.tally.first_place(Reason(reason)), WAYS_OUT.get(Reason(reason))
        more = "; ".join(text for text in (place, way) if text)
        words.append(f"{count} {reason}" + (f" ({more})" if more else ""))
    return ", ".join(words) or "nothing"


def _named(log: Log) -> str:
    """Return which models the log has, where calls of others than the wanted were left out."""
    if str(Reason.OTHER_MODEL) not in log.tally.left_out:
        return ""
    return f". Its models are: {', '.join(list(log.tally.models)[:5]) or 'not stated'}"


def _report(
    log: Log, not_planned: int, used: Sequence[LoggedCall], *, prompts: int | None = None
) -> CallsReport:
    found = log.detected
    calls = len(log.calls) if prompts is None else len(log.asks)
    report = log.tally.report(found.form, found.why, calls, used, prompts=prompts)
    if not not_planned:
        return report
    reason = str(Reason.NOT_PLANNED)
    return replace(
        report,
        left_out={**report.left_out, reason: not_planned},
        places={**report.places, reason: ()},
    )


def _exchanges(
    calls: Sequence[LoggedCall],
    identities: Mapping[str, str],
    splits: Mapping[str, Split],
    decision: TermsDecision,
) -> list[Exchange]:
    """Return a row for each call; calls come in the order of their digests, which numbers them."""
    asked: Counter[bytes] = Counter()
    terms = decision.record()
    rows = []
    for call in calls:
        key = _question(call)
        rows.append(_exchange(call, identities[call.teacher], asked[key], splits, terms))
        asked[key] += 1
    return rows


def _question(call: LoggedCall) -> bytes:
    ask = call.ask
    return canonical_json(
        [call.teacher, list(ask.messages), tool_list(ask.tools), dict(ask.sampling)]
    )


def _exchange(
    call: LoggedCall, teacher: str, sample_index: int, splits: Mapping[str, Split], terms: str
) -> Exchange:
    ask, answer, facts = call.ask, call.answer, call.facts
    prompt_id, sampling = prompt_id_of(ask.messages, ask.tools), dict(ask.sampling)
    tools = tool_list(ask.tools)
    return Exchange(
        exchange_id=exchange_id_of(teacher, ask.messages, sampling, sample_index, tools=tools),
        prompt_id=prompt_id,
        split=splits[prompt_id],
        messages=ask.messages,
        response=answer.response,
        prompt_token_ids=None,
        response_token_ids=None,
        tokenizer=None,
        finish_reason=finish_of(ending_of(answer.finish_reason)) or _UNKNOWN_FINISH,
        teacher=teacher,
        sampling=sampling,
        sample_index=sample_index,
        terms_decision=terms,
        source=f"calls:{call.file}",
        created_at=facts.created_at or "",
        latency_s=facts.latency_s,
        reasoning=answer.reasoning,
        tools=ask.tools,
        tool_calls=answer.tool_calls,
        usage=dict(facts.usage),
        engine="calls",
        dtype="unknown",
        device="unknown",
        returned_model=facts.returned_model,
        system_fingerprint=facts.system_fingerprint,
    )
