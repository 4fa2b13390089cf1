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
from potstill.job import Job
from potstill.models.sampling import Sampling
from potstill.recipe import PromptsConfig, Recipe
from potstill.stages.asking import Asked, asked_of_a_server, for_fidelity
from potstill.stages.reading import check_reading, spent_on_reading
from potstill.stages.speaking import askable
from potstill.work.plan import Known, PromptPlan
from potstill.work.samplings import held_out_sampling, train_sampling
from potstill.work.target_specs import target_specs, training_spec

# Who answered, where the rows came with their answers.
GOLD = "gold"


def collect_answers(job: Job) -> dict[str, Any]:
    """Plan the prompts, have them answered, and return the figures.

    Raises PotstillError where no training answer is stored in the end.
    """
    if job.recipe.collect.gold:
        found = _from_gold(job)
    elif job.recipe.collect.answers_given:
        found = _from_calls(job)
    elif job.recipe.teacher.endpoint is not None:
        found = _from_endpoint(job)
    else:
        found = _from_teacher(job)
    if not _training_answers(job):
        raise PotstillError(
            "there is no training answer: collecting stored none; look at what was left out, and "
            "give more rows in prompts.source or collect.calls"
        )
    return found


def _training_answers(job: Job) -> int:
    return int(job.store.stats()["splits"].get("train", 0))


def some_failed(job: Job, *, in_vain: bool = True) -> bool:
    """Tell whether prompts are without an answer that asking again may give.

    Without `in_vain`, blank and refused answers are none: the same question would get them again.
    """
    failures = ((job.run.done("collect") or {}).get("figures") or {}).get("failures") or ()
    return any(in_vain or reason not in ANSWERED_IN_VAIN for _, reason in failures)


def _from_endpoint(job: Job) -> dict[str, Any]:
    """Ask a server. Raises PotstillError where it stopped before the end; what came is stored."""
    plan = _planned(job)
    check_reading(job)
    found = []
    for part in asked_of_a_server(job.recipe, plan):
        figures = _ask(job, part)
        found.append(figures)
        if figures.stopped is not None:
            raise PotstillError(why_stopped(figures))
        if figures.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in figures.failed.items())
            job.progress.note(
                f"{part.label}: no answer to {len(figures.failures)} prompts ({reasons})"
            )
        if part.training and not _training_answers(job):
            # Nothing more is paid for: held-out answers would have nothing to measure.
            raise PotstillError(no_training_answer(figures))
    stats = job.store.stats()
    together = _together(found)
    together["notes"] += _targets_note(job, found)
    return {
        "figures": together,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def _ask(job: Job, part: Asked) -> EndpointFigures:
    """Ask a server for one part of what a recipe wants of it; return what came."""
    endpoint = job.recipe.teacher.endpoint
    assert endpoint is not None
    if not part.targets:
        # They would be sent for nothing.
        endpoint = endpoint.model_copy(update={"top_logprobs": 0})
    return collect_from_endpoint(
        endpoint,
        job.recipe.teacher.model,
        part.prompts,
        part.sampling,
        job.store,
        job.decision,
        samples=part.samples,
        tokens=job.served_tokens if part.targets else None,
        spec=_served_spec(job) if part.targets else None,
        spent=spent_on_reading(job),
        paid=job.run.readings_path.with_name("paid.jsonl"),
        progress=job.progress,
        currency=job.recipe.cost.currency,
        label=part.label,
    )


def _served_spec(job: Job) -> TargetSpec | None:
    return training_spec(job.recipe.collect, job.recipe.train.temperature)


def _targets_note(job: Job, found: Sequence[EndpointFigures]) -> list[str]:
    """Return how many training answers have a server's likeliest tokens, and why others have none.

    The reasons are those of this call: what an earlier one stored is not judged again.
    """
    spec = _served_spec(job)
    if not job.recipe.served_targets or spec is None:
        return []
    ids = {row.exchange_id for row in job.store.read("train")}
    ids |= {row.exchange_id for row in job.store.read("validation")}
    having = len(ids & job.store.target_ids(job.scorer_identity, spec))
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


def _from_gold(job: Job) -> dict[str, Any]:
    """Store the right answers that the rows came with."""
    plan = _planned(job)
    job.run.finish("teacher", {"identity": GOLD})
    job.store.append(gold_exchanges(plan.prompts, GOLD, job.decision))
    return _stored(job, plan.overlap)


def _from_calls(job: Job) -> dict[str, Any]:
    """Store past calls, and say what was left out."""
    found = exchanges_from_calls(job.calls, job.recipe.prompts, job.decision, seed=job.recipe.seed)
    job.run.finish("prompts", found.plan.record())
    named = sorted({row.teacher for row in found.exchanges})
    job.run.finish("teacher", {"identity": named[0] if len(named) == 1 else "calls/several"})
    for note in (*found.plan.notes, *found.report.notes()):
        job.progress.note(note)
    job.store.append(found.exchanges)
    return _stored(job, found.plan.overlap, notes=list(found.report.notes()))


def _stored(job: Job, found: OverlapReport, **more: Any) -> dict[str, Any]:
    """Return the figures of answers that nobody was asked for."""
    texts = [t for split in ("train", "validation", "held_out") for t in job.parent_ids(split)]
    stats = job.store.stats()
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


def _from_teacher(job: Job) -> dict[str, Any]:
    plan = _planned(job)
    recipe = job.recipe.collect
    asked = [p for p in plan.prompts if p.split != "held_out"]
    figures = _answers(job, "responses", asked, train_sampling(job.recipe), samples=recipe.samples)
    held_out = for_fidelity(job.recipe, plan)
    _answers(job, "held-out responses", held_out, held_out_sampling(job.recipe, greedy=False))
    if job.recipe.evaluate.greedy:
        sampling = held_out_sampling(job.recipe, greedy=True)
        _answers(job, "held-out greedy responses", held_out, sampling)
    job.store.save_head(job.teacher.identity, job.teacher_head)
    stats = job.store.stats()
    return {
        "figures": figures,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def planned_prompts(job: Job) -> PromptPlan | None:
    """Return the run's prompts, planned by its first call and then read back.

    None where nobody is asked anything that could be planned before: prompts that the teacher has
    to write first, and calls that come with their answers.
    """
    stored = job.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    if job.recipe.collect.answers_given and not job.recipe.collect.gold:
        return None
    prompts = job.recipe.prompts
    if MAGPIE in (*prompts.sources, *(prompts.held_out_sources or ())):
        return None
    return _planned(job)


def retold(job: Job, plan: PromptPlan) -> PromptPlan:
    """Return a stored plan with the right answers that the recipe names now; stores it again."""
    wanted = _columns(job.recipe)
    if (job.run.done("prompts") or {}).get("columns", wanted) == wanted:
        return plan
    plan = told(job.recipe, plan.knowing({p.prompt_id: Known(None, None) for p in plan.prompts}))
    _keep(job, plan)
    return plan


def _planned(job: Job) -> PromptPlan:
    """Return the run's prompts: planned by its first call, then read back."""
    stored = job.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    if job.recipe.collect.calls is not None:
        plan = prompts_from_calls(job.calls, job.recipe.prompts, seed=job.recipe.seed).plan
    else:
        plan = plan_prompts(job.recipe.prompts, seed=job.recipe.seed, read=partial(_read, job))
    plan = told(job.recipe, plan)
    for note in plan.notes:
        job.progress.note(note)
    plan = askable(job, plan)
    _keep(job, plan)
    return plan


def _read(job: Job, source: str, config: PromptsConfig) -> Sequence[Turns]:
    """Return the prompts of a source; a teacher is asked to write those of magpie."""
    if source != MAGPIE:
        return read_prompts(source, config)
    head = [{"role": "system", "content": config.system}] if config.system else []
    written = written_prompts(
        job.teacher,
        config.magpie,
        job.decision,
        seed=job.recipe.seed,
        slots=job.recipe.collect.slots,
        system=config.system,
        progress=job.progress,
    )
    return [Turns((*head, {"role": "user", "content": text})) for text in written]


def _keep(job: Job, plan: PromptPlan) -> None:
    job.run.finish("prompts", {**plan.record(), "columns": _columns(job.recipe)})


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
    job: Job,
    label: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    *,
    samples: int = 1,
) -> dict[str, Any]:
    """Collect one set of responses and return its figures."""
    wanted: list[Question] = questions(job.teacher, prompts, sampling, samples=samples)
    recipe = job.recipe.collect
    figures = collect(
        job.teacher,
        wanted,
        plan_waves(wanted, recipe.slots, recipe.wave),
        sampling,
        job.store,
        job.decision,
        slots=recipe.slots,
        targets=target_specs(recipe, job.recipe.train.temperature),
        progress=job.progress,
        label=label,
    )
    if figures.computed:
        before = figures.slots_busy_before_last_wave
        job.progress.note(
            f"{label}: {figures.computed} responses, {figures.response_tokens} tokens, "
            f"{figures.tokens_per_s:.0f} tokens/s, {figures.slots_busy:.0%} of slots busy"
            + (f" ({before:.0%} before the last wave)" if before is not None else "")
        )
    return asdict(figures)


def rows_are_lost(job: Job) -> bool:
    """Tell whether the store holds less than collecting left there.

    So it is where a call set a damaged shard aside and was killed before its rows were back.
    """
    left = (job.run.done("collect") or {}).get("stored", {})
    stored = job.store.stats()
    return any(stored[name] < count for name, count in left.items())
