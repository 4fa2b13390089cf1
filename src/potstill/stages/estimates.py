"""What a recipe would ask its server and what that takes at most: nothing is asked or written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potstill.collect.calls import prompts_from_calls
from potstill.collect.prompts import PromptPlan, plan_prompts, read_prompts
from potstill.collect.served.pending import Estimate, estimate, reading_estimate
from potstill.collect.served.reading_log import PROBE
from potstill.durable import read_lines
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Turns, prompt_id_of
from potstill.exchanges.store import ExchangeStore
from potstill.logs.reading import read_calls
from potstill.recipe import EndpointConfig, Recipe
from potstill.rundir import readings_path
from potstill.stages.collecting import asked_of_a_server, told


def server_estimates(recipe: Recipe, run: Path) -> list[tuple[str, Estimate]]:
    """Return what is left to ask a server and what it takes at most.

    `run` is the run's directory, whose stored responses are not asked again. Raises PotstillError
    where the teacher is no server's.
    """
    endpoint = recipe.teacher.endpoint
    if endpoint is None:
        raise PotstillError(
            "--dry-run estimates what a server would charge, and this teacher is none; name one in "
            "teacher.endpoint"
        )
    plan, given = _plan_and_given(recipe)
    found = [] if recipe.collect.answers_given else _asked(recipe, endpoint, plan, run)
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


def _plan_and_given(recipe: Recipe) -> tuple[PromptPlan, Sequence[tuple[Turns, str]]]:
    """Return the prompts, and the training answers that come in files with theirs."""
    calls = recipe.collect.calls
    if calls is None:
        plan = plan_prompts(recipe.prompts, seed=recipe.seed, read=read_prompts)
        if not recipe.collect.gold:
            return plan, ()
        rows = told(recipe, plan).train
        return plan, [(p.turns, p.gold) for p in rows if p.gold is not None]
    log = read_calls(calls)
    plan = prompts_from_calls(log, recipe.prompts, seed=recipe.seed).plan
    train = {p.prompt_id for p in plan.train}
    used = [c for c in log.calls if prompt_id_of(c.ask.messages, c.ask.tools) in train]
    return plan, [(call.ask.turns, call.answer.response) for call in used]
