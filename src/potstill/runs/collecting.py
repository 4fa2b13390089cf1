"""Collect: the run's prompts, and the teacher's answers to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

from potstill.collect.answers import Question, collect, gold_exchanges, plan_waves, questions
from potstill.collect.calls import exchanges_from_calls, prompts_from_calls
from potstill.collect.magpie import written_prompts
from potstill.collect.prompts import plan_prompts, read_prompts
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.collect.served.unanswered import no_training_answer, why_stopped
from potstill.collect.sources import MAGPIE
from potstill.collect.task_rows import read_known
from potstill.endpoint.wire import ANSWERED_IN_VAIN
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Prompt, Turns
from potstill.exchanges.overlap import OverlapReport
from potstill.exchanges.specs import TargetSpec
from potstill.models.sampling import Sampling
from potstill.recipe import PromptsConfig, Recipe
from potstill.runs.asking import Asked, asked_of_a_server, for_fidelity
from potstill.runs.parts import Parts
from potstill.runs.reading import check_reading, spent_on_reading
from potstill.work.plan import Known, PromptPlan
from potstill.work.samplings import held_out_sampling, train_sampling
from potstill.work.speaking import AnswerRoom, askable
from potstill.work.target_specs import target_specs, training_spec

# Who answered, where the rows came with their answers.
GOLD = "gold"


def collect_answers(parts: Parts) -> dict[str, Any]:
    """Plan the prompts, have them answered, and return the figures.

    Raises PotstillError where no training answer is stored in the end.
    """
    if parts.recipe.collect.gold:
        found = _from_gold(parts)
    elif parts.recipe.collect.answers_given:
        found = _from_calls(parts)
    elif parts.recipe.teacher.endpoint is not None:
        found = _from_endpoint(parts)
    else:
        found = _from_teacher(parts)
    if not _training_answers(parts):
        raise PotstillError(
            "there is no training answer: collecting stored none; look at what was left out, and "
            "give more rows in prompts.source or collect.calls"
        )
    return found


def _training_answers(parts: Parts) -> int:
    return int(parts.store.stats()["splits"].get("train", 0))


def some_failed(parts: Parts, *, in_vain: bool = True) -> bool:
    """Tell whether prompts are without an answer that asking again may give.

    Without `in_vain`, blank and refused answers are none: the same question would get them again.
    """
    failures = ((parts.run.done("collect") or {}).get("figures") or {}).get("failures") or ()
    return any(in_vain or reason not in ANSWERED_IN_VAIN for _, reason in failures)


def _from_endpoint(parts: Parts) -> dict[str, Any]:
    """Ask a server. Raises PotstillError where it stopped before the end; what came is stored."""
    plan = _planned(parts)
    check_reading(parts)
    found = []
    for part in asked_of_a_server(parts.recipe, plan):
        figures = _ask(parts, part)
        found.append(figures)
        if figures.stopped is not None:
            raise PotstillError(why_stopped(figures))
        if figures.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in figures.failed.items())
            parts.progress.note(
                f"{part.label}: no answer to {len(figures.failures)} prompts ({reasons})"
            )
        if part.training and not _training_answers(parts):
            # Nothing more is paid for: held-out answers would have nothing to measure.
            raise PotstillError(no_training_answer(figures))
    stats = parts.store.stats()
    together = _together(found)
    together["notes"] += _targets_note(parts, found)
    return {
        "figures": together,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def _ask(parts: Parts, part: Asked) -> EndpointFigures:
    """Ask a server for one part of what a recipe wants of it; return what came."""
    endpoint = parts.recipe.teacher.endpoint
    assert endpoint is not None
    if not part.targets:
        # They would be sent for nothing.
        endpoint = endpoint.model_copy(update={"top_logprobs": 0})
    return collect_from_endpoint(
        endpoint,
        parts.recipe.teacher.model,
        part.prompts,
        part.sampling,
        parts.store,
        parts.decision,
        samples=part.samples,
        tokens=parts.opened.served_tokens if part.targets else None,
        spec=_served_spec(parts) if part.targets else None,
        spent=spent_on_reading(parts),
        paid=parts.run.readings_path.with_name("paid.jsonl"),
        progress=parts.progress,
        currency=parts.recipe.cost.currency,
        label=part.label,
    )


def _served_spec(parts: Parts) -> TargetSpec | None:
    return training_spec(parts.recipe.collect, parts.recipe.train.temperature)


def _targets_note(parts: Parts, found: Sequence[EndpointFigures]) -> list[str]:
    """Return how many training answers have a server's likeliest tokens, and why others have none.

    The reasons are those of this call: what an earlier one stored is not judged again.
    """
    spec = _served_spec(parts)
    if not parts.recipe.served_targets or spec is None:
        return []
    ids = {row.exchange_id for row in parts.store.read("train")}
    ids |= {row.exchange_id for row in parts.store.read("validation")}
    having = len(ids & parts.store.target_ids(parts.corpus.scorer_identity, spec))
    reasons: Counter[str] = Counter()
    for figures in found:
        reasons.update(figures.without_targets)
    earlier = len(ids) - having - reasons.total()
    if earlier > 0:
        reasons["stored by an earlier call"] = earlier
    others = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
    more = f"; the others have none: {others}" if others else ""
    return [f"{having} of {len(ids)} answers have the server's likeliest tokens{more}"]


def _together(found: Sequence[EndpointFigures]) -> dict[str, Any]:
    """Return the figures of all that a server was asked as one collection's."""
    seconds = sum(f.seconds for f in found)
    tokens = sum(f.response_tokens for f in found)
    prices = [f.money for f in found if f.money is not None]
    failed: Counter[str] = Counter()
    for figures in found:
        failed.update(figures.failed)
    models = sorted({name for f in found for name in f.returned_models})
    return {
        "exchanges": sum(f.before + f.stored for f in found),
        "computed": sum(f.stored for f in found),
        "response_tokens": tokens,
        "seconds": seconds,
        "tokens_per_s": tokens / seconds if seconds else 0.0,
        "money": sum(prices) if prices else None,
        "failed": dict(failed),
        "failures": [list(pair) for f in found for pair in f.failures],
        "notes": [
            *([f"the server called its model {' and '.join(models)}"] if models else []),
            *(note for figures in found for note in figures.notes()),
        ],
    }


def _from_gold(parts: Parts) -> dict[str, Any]:
    """Store the right answers that the rows came with."""
    plan = _planned(parts)
    parts.run.finish("teacher", {"identity": GOLD})
    parts.store.append(gold_exchanges(plan.prompts, GOLD, parts.decision))
    return _stored(parts, plan.overlap)


def _from_calls(parts: Parts) -> dict[str, Any]:
    """Store past calls, and say what was left out."""
    found = exchanges_from_calls(
        parts.calls, parts.recipe.prompts, parts.decision, seed=parts.recipe.seed
    )
    parts.run.finish("prompts", found.plan.record())
    named = sorted({row.teacher for row in found.exchanges})
    parts.run.finish("teacher", {"identity": named[0] if len(named) == 1 else "calls/several"})
    for note in (*found.plan.notes, *found.report.notes()):
        parts.progress.note(note)
    parts.store.append(found.exchanges)
    return _stored(parts, found.plan.overlap, notes=list(found.report.notes()))


def _stored(parts: Parts, found: OverlapReport, **more: Any) -> dict[str, Any]:
    """Return the figures of answers that nobody was asked for."""
    texts = [
        t for split in ("train", "validation", "held_out") for t in parts.corpus.parent_ids(split)
    ]
    stats = parts.store.stats()
    figures = {
        "exchanges": len(texts),
        "computed": len(texts),
        "response_tokens": sum(len(response) for _, response in texts),
        "seconds": 0.0,
        "tokens_per_s": 0.0,
        **more,
    }
    return {
        "figures": figures,
        "overlap": found.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def _from_teacher(parts: Parts) -> dict[str, Any]:
    plan = _planned(parts)
    recipe = parts.recipe.collect
    asked = [p for p in plan.prompts if p.split != "held_out"]
    figures = _answers(
        parts, "responses", asked, train_sampling(parts.recipe), samples=recipe.samples
    )
    held_out = for_fidelity(parts.recipe, plan)
    _answers(parts, "held-out responses", held_out, held_out_sampling(parts.recipe, greedy=False))
    if parts.recipe.evaluate.greedy:
        sampling = held_out_sampling(parts.recipe, greedy=True)
        _answers(parts, "held-out greedy responses", held_out, sampling)
    parts.store.save_head(parts.opened.teacher.identity, parts.opened.parent_head)
    stats = parts.store.stats()
    return {
        "figures": figures,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def planned_prompts(parts: Parts) -> PromptPlan | None:
    """Return the run's prompts, planned by its first call and then read back.

    None where nobody is asked anything that could be planned before: prompts that the teacher has
    to write first, and calls that come with their answers.
    """
    stored = parts.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    if parts.recipe.collect.answers_given and not parts.recipe.collect.gold:
        return None
    prompts = parts.recipe.prompts
    if MAGPIE in (*prompts.sources, *(prompts.held_out_sources or ())):
        return None
    return _planned(parts)


def retold(parts: Parts, plan: PromptPlan) -> PromptPlan:
    """Return a stored plan with the right answers that the recipe names now; stores it again."""
    wanted = _columns(parts.recipe)
    if (parts.run.done("prompts") or {}).get("columns", wanted) == wanted:
        return plan
    plan = told(parts.recipe, plan.knowing({p.prompt_id: Known(None, None) for p in plan.prompts}))
    _keep(parts, plan)
    return plan


def _planned(parts: Parts) -> PromptPlan:
    """Return the run's prompts: planned by its first call, then read back."""
    stored = parts.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    if parts.recipe.collect.calls is not None:
        plan = prompts_from_calls(parts.calls, parts.recipe.prompts, seed=parts.recipe.seed).plan
    else:
        plan = plan_prompts(
            parts.recipe.prompts, seed=parts.recipe.seed, read=partial(_read, parts)
        )
    plan = told(parts.recipe, plan)
    for note in plan.notes:
        parts.progress.note(note)
    found = askable(plan, parts.opened, answer_room(parts.recipe), parts.progress)
    if found.left_out:
        parts.run.finish("unasked", found.left_out)
    _keep(parts, found.plan)
    return found.plan


def answer_room(recipe: Recipe) -> AnswerRoom:
    """Return how many tokens a recipe keeps for answers."""
    return AnswerRoom.of(recipe.collect, recipe.evaluate, recipe.task)


def _read(parts: Parts, source: str, config: PromptsConfig) -> Sequence[Turns]:
    """Return the prompts of a source; a teacher is asked to write those of magpie."""
    if source != MAGPIE:
        return read_prompts(source, config)
    head = [{"role": "system", "content": config.system}] if config.system else []
    written = written_prompts(
        parts.opened.teacher,
        config.magpie,
        parts.decision,
        seed=parts.recipe.seed,
        slots=parts.recipe.collect.slots,
        system=config.system,
        progress=parts.progress,
    )
    return [Turns((*head, {"role": "user", "content": text})) for text in written]


def _keep(parts: Parts, plan: PromptPlan) -> None:
    parts.run.finish("prompts", {**plan.record(), "columns": _columns(parts.recipe)})


def _columns(recipe: Recipe) -> list[str | None]:
    """Return the columns that a plan's right answers and slices are from."""
    return [] if recipe.task is None else [recipe.task.gold, recipe.task.slice]


def told(recipe: Recipe, plan: PromptPlan) -> PromptPlan:
    """Return the plan with the right answers and slices that its rows came with."""
    task, prompts = recipe.task, recipe.prompts
    if task is None or (task.gold is None and task.slice is None):
        return plan
    # Only rows that are scored, or trained on as they are, need a right answer.
    unlabelled = prompts.held_out is not None and not recipe.collect.gold
    found = [read_known(prompts.sources, prompts, task, unlabelled=unlabelled)]
    others = prompts.held_out_sources
    if others is not None and others != prompts.sources:
        found.append(read_known(others, prompts, task))
    known = {key: value for rows in found for key, value in rows.items()}
    return plan.knowing(known, [note for rows in found for note in rows.notes])


def _answers(
    parts: Parts,
    label: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
) -> dict[str, Any]:
    """Collect one set of responses and return its figures."""
    wanted: list[Question] = questions(parts.opened.teacher, prompts, sampling, samples=samples)
    recipe = parts.recipe.collect
    figures = collect(
        parts.opened.teacher,
        wanted,
        plan_waves(wanted, recipe.slots, recipe.wave),
        sampling,
        parts.store,
        parts.decision,
        slots=recipe.slots,
        targets=target_specs(recipe, parts.recipe.train.temperature),
        progress=parts.progress,
        label=label,
    )
    if figures.computed:
        before = figures.slots_busy_before_last_wave
        parts.progress.note(
            f"{label}: {figures.computed} responses, {figures.response_tokens} tokens, "
            f"{figures.tokens_per_s:.0f} tokens/s, {figures.slots_busy:.0%} of slots busy"
            + (f" ({before:.0%} before the last wave)" if before is not None else "")
        )
    return asdict(figures)


def rows_are_lost(parts: Parts) -> bool:
    """Tell whether the store holds less than collecting left there.

    So it is where a call set a damaged shard aside and was killed before its rows were back.
    """
    left = (parts.run.done("collect") or {}).get("stored", {})
    stored = parts.store.stats()
    return any(stored[name] < count for name, count in left.items())
