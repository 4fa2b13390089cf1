"""Everything that a recipe asks a server, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.exchanges.exchange import Prompt
from potstill.models.sampling import Sampling
from potstill.recipe import Recipe
from potstill.work.plan import PromptPlan
from potstill.work.samplings import held_out_sampling, train_sampling


@dataclass(frozen=True)
class Asked:
    """Prompts that a server is asked alike; `targets` tells whether its likeliest tokens too.

    `training`: their answers are what is learnt from.
    """

    label: str
    prompts: Sequence[Prompt]
    sampling: Sampling
    samples: int = 1
    targets: bool = False
    training: bool = False


def asked_of_a_server(recipe: Recipe, plan: PromptPlan) -> list[Asked]:
    """Return everything that a recipe asks its server."""
    training = [p for p in plan.prompts if p.split != "held_out"]
    fidelity = for_fidelity(recipe, plan)
    asked = [
        Asked(
            "responses",
            training,
            train_sampling(recipe),
            recipe.collect.samples,
            targets=recipe.served_targets,
            training=True,
        ),
        Asked("held-out responses", fidelity, held_out_sampling(recipe, greedy=False)),
    ]
    # A task is scored on greedy answers to all rows: evaluate cannot ask the server for them.
    if recipe.evaluate.greedy or recipe.task is not None:
        rows = fidelity if recipe.task is None else plan.held_out
        greedy = held_out_sampling(recipe, greedy=True)
        asked.append(Asked("held-out greedy responses", rows, greedy))
    return asked


def for_fidelity(recipe: Recipe, plan: PromptPlan) -> Sequence[Prompt]:
    """Return the held-out prompts whose responses both models read."""
    return plan.held_out[: recipe.evaluate.fidelity_prompts]
