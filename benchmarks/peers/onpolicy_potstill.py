"""potstill in `benchmarks/onpolicy_speed.py`: its own loop, whose steps are all on own answers."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from peers.clock import Clock
from peers.memory import forget_peak, held_bytes, models_bytes
from peers.onpolicy_case import MEASURED, PROMPTS, TOKENS, Case
from peers.setup import BETAS, LEARNING_RATE, SEED
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets
from potstill.models.generate import Request
from potstill.models.load import context_length, head_of, load
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import OnPolicyConfig, TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.live_teacher import LiveTeacher
from potstill.train.loop import train_steps
from potstill.train.own_answers import own_answers
from potstill.train.rollouts import Rollouts
from potstill.train.step_source import Planned
from potstill.work.step_plan import PublicOrder

# Steps here are few; saving one is no part of them.
_NEVER = 10**6
# Answers are learnt from about two at a time.
MICRO_BATCH = 400


def run(
    case: Case,
    precision: str,
    refresh_every: int | None,
    steps: int = MEASURED,
    *,
    micro_batch_tokens: int = MICRO_BATCH,
) -> dict[str, Any]:
    """Train for a group of steps that is not measured and `steps` that are.

    Seconds are those of a group over its steps. `refresh_every` None is the recipe's default.
    """
    device = torch.device("cpu")
    config = _config(refresh_every, micro_batch_tokens)
    imported = held_bytes(device)
    assert config.on_policy is not None
    group = config.on_policy.refresh_every
    teacher = load(case.teacher, precision=precision)
    student = replace(load(case.student, precision=precision, trainable=True), eos_ids=(case.end,))
    order = PublicOrder(SEED)
    # As many stored answers as there are steps, each of which an own step takes the place of.
    planned = Planned(_placeholders((1 + steps) * group), config, order)
    live = LiveTeacher.of(teacher, None, student.compute_dtype)
    room = context_length(student)
    source = Rollouts(planned, config.on_policy, order, case.prompts, live, room)
    clock, logged = Clock(device), list[dict[str, Any]]()

    def log(entry: dict[str, Any]) -> None:
        clock.step_ended()
        logged.append(entry)

    forget_peak(device)
    with tempfile.TemporaryDirectory() as checkpoints:
        train_steps(
            student,
            source,
            config=config,
            seed=SEED,
            targets=source,
            checkpoints=Path(checkpoints),
            validate=None,
            log=log,
            progress=Silent(),
        )
    clock.ends = clock.ends[group - 1 :: group]
    found = clock.report([entry["loss"] for entry in logged])
    draws = [entry for entry in logged if "slots_busy" in entry]
    return found | {
        "seconds": [seconds / group for seconds in found["seconds"]],
        "refresh_every": group,
        "imported_bytes": imported,
        "models_bytes": models_bytes(student.network, teacher.network),
        "answer_tokens": sum(draw["own_length"] for draw in draws) / len(draws),
        "slots_busy": min(draw["slots_busy"] for draw in draws),
        "writing_s": [draw["writing_s"] / group for draw in draws[1:]],
        "scoring_s": [draw["scoring_s"] / group for draw in draws[1:]],
    }


def same_step(case: Case, precision: str, folder: Path) -> dict[str, Any]:
    """Return TRL's loss of its first step, and potstill's of the same texts."""
    first = json.loads((folder / f"first_{precision}.json").read_text(encoding="utf-8"))
    teacher = load(case.teacher, precision=precision)
    student = load(case.student, precision=precision)
    live = LiveTeacher.of(teacher, None, student.compute_dtype)
    loss, _ = distillation_loss(
        torch.cat(response_hidden(student, first["texts"])),
        head_of(student),
        DenseTargets(torch.cat(live.hidden(first["texts"])), live.head),
        torch.tensor([i for _, response in first["texts"] for i in response]),
        normaliser=sum(len(response) for _, response in first["texts"]),
        divergence=Divergence("reverse_kl"),
    )
    return {"loss": float(loss), "trl_loss": first["loss"]}


def ending(case: Case, precision: str) -> dict[str, Any]:
    """Return how busy the decoder is with answers that end by themselves: the teacher's own."""
    config = OnPolicyConfig()
    model = load(case.teacher, precision=precision)
    asked = case.prompts[: config.prompts * config.refresh_every]
    requests = [Request(f"{number:032x}", ids) for number, ids in enumerate(asked)]
    live = LiveTeacher.of(model, None, model.compute_dtype)
    figures = own_answers(model, requests, live, config, 0).figures
    return {
        "busy_with_ends": figures.busy / figures.offered,
        "answer_tokens": sum(response for _, response in figures.lengths) / len(requests),
    }


def _config(refresh_every: int | None, micro_batch_tokens: int) -> TrainConfig:
    chosen = {} if refresh_every is None else {"refresh_every": refresh_every}
    return TrainConfig(
        objective="reverse_kl",
        learning_rate=LEARNING_RATE,
        betas=BETAS,
        # The same rate at every step, as the peer is set up.
        warmup=0,
        final_learning_rate=1,
        batch_tokens=1,
        micro_batch_tokens=micro_batch_tokens,
        checkpoint_every=_NEVER,
        on_policy=OnPolicyConfig(
            share=1,
            stored_first=0,
            prompts=PROMPTS,
            max_tokens=TOKENS,
            cut_at_most=1,
            **chosen,
        ),
    )


def _placeholders(count: int) -> list[TrainingExample]:
    return [TrainingExample(f"{number:032x}", (0,), (0,)) for number in range(count)]
