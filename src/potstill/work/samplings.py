"""How a recipe has its teacher's answers drawn: those to learn from, and those to measure on."""

from __future__ import annotations

from potstill.models.sampling import Sampling
from potstill.recipe import Recipe


def train_sampling(recipe: Recipe) -> Sampling:
    """Return how responses to training and validation prompts are drawn."""
    collect = recipe.collect
    return Sampling(
        collect.temperature, collect.top_p, collect.top_k, collect.max_tokens, recipe.seed
    )


def held_out_sampling(recipe: Recipe, *, greedy: bool) -> Sampling:
    """Return how held-out text is drawn: the teacher's own distribution, or its likeliest text."""
    return Sampling(
        temperature=0.0 if greedy else 1.0,
        max_tokens=recipe.evaluate.max_tokens,
        seed=recipe.seed,
    )
