"""On-policy trainings of nano models, for tests: a teacher, a student apart from it, steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Silent
from potstill.recipe import OnPolicyConfig, TrainConfig
from potstill.train import loop as loop_module
from potstill.train.examples import TrainingExample
from potstill.train.live_teacher import LiveTeacher
from potstill.train.loop import Validate, train_steps
from potstill.train.own_teacher import OwnTeacher
from potstill.train.rollouts import Rollouts
from potstill.train.step_source import Planned
from potstill.train.target_sources import WithOwn
from training_inputs import ORDER, Scored, examples_of

Row = dict[str, Any]


def settings(on_policy: dict[str, Any] | None = None, **values: Any) -> TrainConfig:
    """Return few, short steps, the later half of them mostly on own answers."""
    own = {"stored_first": 0.25, "share": 0.7, "prompts": 3, "max_tokens": 8, "refresh_every": 2}
    plain = {"learning_rate": 1e-3, "batch_tokens": 64, "micro_batch_tokens": 40, "epochs": 2.5}
    chosen = OnPolicyConfig(**{**own, "cut_at_most": 1.0, **(on_policy or {})})
    return TrainConfig(**{**plain, **values}, on_policy=chosen)


def own_alone(on_policy: dict[str, Any] | None = None, **values: Any) -> TrainConfig:
    """Return a few steps, all on own answers."""
    own = {"stored_first": 0.0, "share": 1.0, "refresh_every": 1, **(on_policy or {})}
    return settings(own, **{"epochs": 0.2, **values})


def moved(model: LoadedModel, by: float = 0.02) -> LoadedModel:
    """Return a model whose weights were changed: a student that differs from its teacher."""
    with torch.no_grad():
        generator = torch.Generator().manual_seed(1)
        for parameter in model.network.parameters():
            parameter += by * torch.randn(parameter.shape, generator=generator)
    return model


@dataclass(frozen=True)
class Case:
    """A student and the steps that it is trained on."""

    student: LoadedModel
    rollouts: Rollouts
    targets: WithOwn
    config: TrainConfig


def case(
    teacher: Path,
    config: TrainConfig,
    *,
    student: LoadedModel | None = None,
    vocabulary: VocabularyMap | None = None,
    examples: Sequence[TrainingExample] | None = None,
    precision: str = "fp32",
    own: OwnTeacher | None = None,
) -> Case:
    """Return a training of a student, by default the teacher moved apart, on its answers.

    `own` reads them, by default the teacher in memory.
    """
    asked = load(str(teacher), precision=precision)
    who = student or moved(load(str(teacher), precision=precision, trainable=True))
    chosen = examples or examples_of(who)
    live = own or LiveTeacher.of(asked, vocabulary, who.compute_dtype)
    assert config.on_policy is not None
    prompts = [e.prompt_ids for e in chosen]
    planned = Planned(chosen, config, ORDER)
    rollouts = Rollouts(planned, config.on_policy, ORDER, prompts, live, 256, steps=config.steps)
    return Case(who, rollouts, WithOwn(Scored(asked), rollouts), config)


def run(
    made: Case,
    folder: Path,
    log: Callable[[Row], None] | None = None,
    validate: Validate | None = None,
) -> list[Row]:
    """Train, and return what was logged."""
    logged: list[Row] = []
    train_steps(
        made.student,
        made.rollouts,
        config=made.config,
        seed=0,
        targets=made.targets,
        checkpoints=folder,
        validate=validate,
        log=log or logged.append,
        progress=Silent(),
    )
    return logged


@dataclass(frozen=True)
class FirstStep:
    """A training's first step: its loss, its gradient, and what it learnt from."""

    loss: float
    gradient: dict[str, Tensor]
    examples: Sequence[TrainingExample]

    @property
    def largest(self) -> float:
        """The largest entry of the gradient."""
        return max(float(g.abs().max()) for g in self.gradient.values())

    @property
    def norm(self) -> float:
        """The length of the gradient."""
        return float(torch.cat([g.flatten() for g in self.gradient.values()]).norm())


def first_step(made: Case, folder: Path) -> FirstStep:
    """Train for one step, and return it; the gradient is that before clipping."""
    plain, found = loop_module._Loop._update, list[FirstStep]()

    def update(loop: Any, number: int, loss: float, rate: float) -> float:
        gradient = {n: p.grad.clone() for n, p in loop.network.named_parameters()}
        found.append(FirstStep(loss, gradient, made.rollouts.step(number)))
        return plain(loop, number, loss, rate)

    with patch.object(loop_module._Loop, "_update", update):
        run(made, folder)
    return found[0]
