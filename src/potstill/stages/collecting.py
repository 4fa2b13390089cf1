"""Collect: the run's prompts, and the teacher's answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.collect.answers import Question, collect, plan_waves, questions
from potstill.collect.magpie import written_prompts
from potstill.collect.prompts import PromptPlan, plan_prompts, read_prompts
from potstill.collect.targets import target_specs
from potstill.exchanges.exchange import Prompt
from potstill.job import Job, record
from potstill.models.sampling import Sampling


def collect_answers(job: Job) -> dict[str, Any]:
    """Plan the prompts, have them answered, and return the figures."""
    plan = _planned(job)
    recipe = job.recipe.collect
    asked = [p for p in plan.prompts if p.split != "held_out"]
    figures = _answers(job, "responses", asked, job.train_sampling(), samples=recipe.samples)
    held_out = list(plan.held_out)
    _answers(job, "held-out responses", held_out, job.held_out_sampling())
    if job.recipe.evaluate.greedy:
        sampling = job.held_out_sampling(greedy=True)
        _answers(job, "held-out greedy responses", held_out, sampling)
    job.store.save_head(job.teacher.identity, job.teacher_head)
    stats = job.store.stats()
    return {
        "figures": figures,
        "overlap": plan.overlap.record(),
        "stored": {name: stats[name] for name in ("exchanges", "targets")},
    }


def _planned(job: Job) -> PromptPlan:
    """Return the run's prompts: planned by its first call, then read back."""

    def read(source: str, config: Any) -> Sequence[tuple[dict[str, str], ...]]:
        if source != "magpie":
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
        return [(*head, {"role": "user", "content": text}) for text in written]

    stored = job.run.done("prompts")
    if stored is not None:
        return PromptPlan.from_record(stored)
    plan = plan_prompts(job.recipe.prompts, seed=job.recipe.seed, read=read)
    for note in plan.notes:
        job.progress.note(note)
    job.run.finish("prompts", plan.record())
    return plan


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
    return record(figures)


def rows_are_lost(job: Job) -> bool:
    """Tell whether the store holds less than collecting left there.

    So it is where a call set a damaged shard aside and was killed before its rows were back.
    """
    left = (job.run.done("collect") or {}).get("stored", {})
    stored = job.store.stats()
    return any(stored[name] < count for name, count in left.items())
