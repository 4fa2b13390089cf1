"""How a recipe has its teacher's answers drawn: those to learn from, and those to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from potstill.models.conversation import Conversation
from potstill.models.sampling import Sampling
from potstill.recipe import EvaluateConfig, Recipe


@dataclass(frozen=True)
class Samplings:
    """How all answers of a run are drawn: those to learn from, held-out text, its likeliest."""

    training: Sampling
    held_out: Sampling
    greedy: Sampling

    @classmethod
    def of(cls, recipe: Recipe) -> Samplings:
        """Return how a recipe has answers drawn."""
        return cls(
            train_sampling(recipe),
            held_out_sampling(recipe, greedy=False),
            held_out_sampling(recipe, greedy=True),
        )


def train_sampling(recipe: Recipe) -> Sampling:
    """Return how responses to training and validation prompts are drawn."""
    collect = recipe.collect
    return Sampling(
        collect.temperature, collect.top_p, collect.top_k, collect.max_tokens, recipe.seed
    )


def held_out_sampling(recipe: Recipe, *, greedy: bool) -> Sampling:
    """Return how held-out text is drawn: the teacher's own distribution, or its likeliest text."""
    return sampling_to_measure(recipe.evaluate, recipe.seed, greedy=greedy)


def sampling_to_measure(config: EvaluateConfig, seed: int, *, greedy: bool) -> Sampling:
    """Return the same, of what evaluation is to be like."""
    temperature = 0.0 if greedy else 1.0
    return Sampling(temperature=temperature, max_tokens=config.max_tokens, seed=seed)


def asked_key(conversation: Conversation, sampling: Sampling) -> dict[str, Any]:
    """Return what decides an answer beside teacher and prompt: how it is drawn and spoken to."""
    return {**sampling.key(), **conversation.key()}
