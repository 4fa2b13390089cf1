"""The rates of a run: of its own models, and of a server by its first answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import fields, replace

from potstill.collect.served.answers import collect_from_endpoint
from potstill.recipe import Recipe
from potstill.runs.collecting import asking
from potstill.runs.minutes.predict import Rates
from potstill.runs.minutes.probes import (
    Ids,
    ProbedStudent,
    expected_length,
    local_rates,
    own_writing,
    pairs_of,
    reading,
    writing,
)
from potstill.runs.parts import Parts
from potstill.work.access import Server, Weights
from potstill.work.plan import PromptPlan

# The lengths that are tried: longer ones would take longer than a few seconds.
_LONGEST_PROMPT, _LONGEST_ANSWER = 512, 128
# Rounds of as many questions as may be open at a time, and the most that are asked.
_ASKED_ROUNDS, _ASKED_AT_MOST = 2, 64
# What a machine takes may vary by this share without being another machine.
_UNSTEADY = 0.1
# No time of this machine, or no time at all. An answer's is a server's, or is spent by then.
_NOT_HERE = ("answer", "answer_tokens", "held_out_tokens")


def shortened(prompts: Sequence[Ids]) -> list[Ids]:
    """Return prompts as they are tried."""
    return [tuple(ids[-_LONGEST_PROMPT:]) for ids in prompts]


def measured_rates(
    parts: Parts, tried: ProbedStudent, prompts: Sequence[Ids], known: float | None = None
) -> Rates:
    """Return what this machine takes, by a tried student that is of no use afterwards.

    `known` is the length of answers that are there already.
    """
    recipe, weights = parts.recipe, isinstance(parts.access.author, Weights)
    rows = shortened(prompts)
    width = len(tried.parent.tokenizer)
    most, held_out = recipe.collect.max_tokens, recipe.evaluate.max_tokens
    before, written, ends = 0.0, 0.0, 0.0
    if weights:
        how = asking(recipe).samplings.training
        before, written, ends = writing(tried.parent, rows, how, recipe.collect.slots)
    length = expected_length(ends, most) if known is None else known
    pairs = pairs_of(rows, round(min(length, _LONGEST_ANSWER)), width)
    teacher = tried.parent if weights else None
    task = 0.0
    if recipe.task is not None:
        own = [tuple(i % len(tried.student.tokenizer) for i in ids) for ids in rows]
        greedy = asking(recipe).samplings.greedy
        task = written + writing(tried.student, own, greedy, recipe.collect.slots)[1]
    own_before, own_token = 0.0, 0.0
    if recipe.train.on_policy is not None:
        own_before, own_token = own_writing(tried, rows, recipe.train.on_policy)
    found = local_rates(tried, teacher, pairs, recipe.shrink, recipe.train)
    if recipe.train.on_policy is not None:
        # Whoever it is that reads: a server takes about as long as for an answer, which is added
        # once it was asked.
        own_before += found.teacher_token * sum(map(len, rows)) / max(1, len(rows))
        own_token += found.teacher_token
    return replace(
        found,
        own_answer=own_before,
        own_token=own_token,
        answer=before,
        answer_token=written,
        task_token=task,
        answer_tokens=length,
        held_out_tokens=expected_length(ends, held_out) if known is None else known,
    )


def asked_of_server(parts: Parts, server: Server, plan: PromptPlan, rates: Rates) -> Rates:
    """Return the rates with what an answer of a server takes: held-out prompts are asked for it.

    Their answers are stored, and asked for no second time.
    """
    how = asking(parts.recipe)
    most = min(_ASKED_AT_MOST, _ASKED_ROUNDS * server.endpoint.max_in_flight)
    few = plan.held_out[: parts.recipe.evaluate.fidelity_prompts][:most]
    start = time.perf_counter()
    figures = collect_from_endpoint(
        server.endpoint.model_copy(update={"top_logprobs": 0}),
        server.model,
        few,
        how.samplings.held_out,
        parts.store,
        parts.decision,
        paid=parts.run.readings_path.with_name("paid.jsonl"),
        progress=parts.progress,
        currency=how.currency,
        label="first responses",
    )
    seconds = time.perf_counter() - start
    if not figures.stored:
        return rates
    answer = seconds / figures.stored
    own = parts.recipe.train.on_policy
    return replace(rates, answer=answer, own_answer=rates.own_answer + (answer if own else 0.0))


def rates_now(rates: Rates, parts: Parts, prompts: Sequence[Ids], recipe: Recipe) -> Rates:
    """Return rates as they are by now: all slower, or faster, by as much as reading is."""
    if rates.teacher_token <= 0:
        return rates
    parent = parts.opened.parent
    length = round(min(rates.answer_tokens, recipe.collect.max_tokens, _LONGEST_ANSWER))
    pairs = pairs_of(shortened(prompts), length, len(parent.tokenizer))
    factor = reading(parent, pairs) / rates.teacher_token
    if abs(factor - 1) <= _UNSTEADY:
        return rates
    return scaled(rates, factor)


def scaled(rates: Rates, factor: float) -> Rates:
    """Return the rates of a machine that takes `factor` times as long."""
    changed = {
        f.name: getattr(rates, f.name) * factor for f in fields(rates) if f.name not in _NOT_HERE
    }
    return replace(rates, **changed)
