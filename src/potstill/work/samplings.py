"""How a recipe has its teacher's answers drawn: those to learn from, and those to measure on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from potstill.models.conversation import Conversation
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.recipe import CollectConfig, EvaluateConfig


@dataclass(frozen=True)
class Samplings:
    """How all answers of a run are drawn: those to learn from, held-out text, its likeliest."""

    training: Sampling
    held_out: Sampling
    greedy: Sampling

    @classmethod
    def of(cls, collect: CollectConfig, evaluate: EvaluateConfig, seed: int) -> Samplings:
        """Return how a recipe has answers drawn."""
        return cls(
            Sampling(collect.temperature, collect.top_p, collect.top_k, collect.max_tokens, seed),
            sampling_to_measure(evaluate, seed, greedy=False),
            sampling_to_measure(evaluate, seed, greedy=True),
        )


def sampling_to_measure(config: EvaluateConfig, seed: int, *, greedy: bool) -> Sampling:
    """Return how held-out text is drawn: the teacher's own distribution, or its likeliest text."""
    temperature = 0.0 if greedy else 1.0
    return Sampling(temperature=temperature, max_tokens=config.max_tokens, seed=seed)


def asked_key(conversation: Conversation, sampling: Sampling) -> dict[str, Any]:
    """Return what decides an answer beside teacher and prompt: how it is drawn and spoken to."""
    return {**sampling.key(), **conversation.key()}


def answered_key(model: LoadedModel, sampling: Sampling) -> dict[str, Any]:
    """Return `asked_key` of a loaded model, and how its maps multiply where that is not as it is.

    So that what a model wrote in int8 is never taken for what it writes by itself.
    """
    precision = {"precision": "int8"} if model.int8 else {}
    return {**asked_key(model.conversation, sampling), **precision}
