"""What a recipe would ask its server and what that takes at most: nothing is asked or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potstill.collect.calls import prompts_from_calls
from potstill.collect.served.pending import Estimate, estimate, reading_estimate
from potstill.collect.served.reading_log import PROBE
from potstill.durable import read_lines
from potstill.exchanges.exchange import Turns, prompt_id_of
from potstill.exchanges.store import ExchangeStore
from potstill.job import Job
from potstill.recipe import EndpointConfig, Recipe
from potstill.stages.asking import asked_of_a_server
from potstill.stages.collecting import planned_prompts
from potstill.work.plan import PromptPlan
from potstill.work.rundir import readings_path


def server_estimates(job: Job, run: Path, *, asks: bool) -> list[tuple[str, Estimate]]:
    """Return what is left to ask a server and what it takes at most.

    `run` is the run's directory, whose stored responses are not asked again; `asks` tells whether
    the others are. Empty where the teacher is no server's.
    """
    recipe, endpoint = job.recipe, job.recipe.teacher.endpoint
    if endpoint is None:
        return []
    plan, given = _plan_and_given(job)
    asks = asks and not recipe.collect.answers_given
    found = _asked(recipe, endpoint, plan, run) if asks else []
    if endpoint.scores_text:
        # Of a server's own answers nobody knows which will come without log-probabilities.
        longest = recipe.collect.max_tokens
        own = [(p.turns, longest) for p in plan.train for _ in range(recipe.collect.samples)]
        texts = given if recipe.collect.answers_given else own
        found.append(("answers to read", reading_estimate(endpoint, texts, _have_been_read(run))))
    return found


def _have_been_read(run: Path) -> int:
    """Return how many texts the server of a run was given to read."""
    lines = read_lines(readings_path(run))
    return len({key for line in lines for key in line.get("read", ())} - {PROBE})


def _asked(
    recipe: Recipe, endpoint: EndpointConfig, plan: PromptPlan, run: Path
) -> list[tuple[str, Estimate]]:
    stored: set[str] = set()
    if run.is_dir():
        store = ExchangeStore(run)
        stored = store.ids()
        store.close()
    return [
        (
            part.label,
            estimate(
                endpoint,
                recipe.teacher.model,
                part.prompts,
                part.sampling,
                samples=part.samples,
                stored=stored,
            ),
        )
        for part in asked_of_a_server(recipe, plan)
    ]


def _plan_and_given(job: Job) -> tuple[PromptPlan, Sequence[tuple[Turns, str]]]:
    """Return the prompts, and the training answers that come in files with theirs."""
    recipe = job.recipe
    if recipe.collect.gold or not recipe.collect.answers_given:
        planned = planned_prompts(job)
        assert planned is not None  # a server writes no prompts
        rows = planned.train if recipe.collect.gold else ()
        return planned, [(p.turns, p.gold) for p in rows if p.gold is not None]
    plan = prompts_from_calls(job.calls, recipe.prompts, seed=recipe.seed).plan
    train = {p.prompt_id for p in plan.train}
    used = [c for c in job.calls.calls if prompt_id_of(c.ask.messages, c.ask.tools) in train]
    return plan, [(call.ask.turns, call.answer.response) for call in used]
