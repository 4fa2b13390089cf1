"""potstill in `benchmarks/train.py`: its own loop, with the teacher online or from the store."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from peers.clock import Clock
from peers.setup import BETAS, LEARNING_RATE, PROMPT, SEED, Setup
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, HiddenStates
from potstill.losses.targets import DenseTargets, Targets
from potstill.losses.teacher import TeacherHead
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.precision import resolve_dtype
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.train.target_sources import Scorer, StoredTargets, TargetSource
from potstill.work.step_plan import PublicOrder

# Steps here are few; saving one is no part of them.
_NEVER = 10**6


class OnlineTargets:
    """Asks the teacher for its states in the training's own process, step by step."""

    def __init__(self, teacher: LoadedModel) -> None:
        self._teacher = teacher
        self._head = TeacherHead.of(head_of(teacher), dtype=teacher.compute_dtype)

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return the states at all response positions of the examples, in turn."""
        pairs = [(e.prompt_ids, e.response_ids) for e in examples]
        return DenseTargets(torch.cat(response_hidden(self._teacher, pairs)), self._head)


def online(setup: Setup, precision: str, device: torch.device, **settings: Any) -> dict[str, Any]:
    """Train with the teacher in memory; `settings` are the recipe's."""
    teacher = load(setup.teacher, device=str(device), precision=precision)
    return _trained(setup, precision, device, OnlineTargets(teacher), **settings)


def from_store(
    setup: Setup,
    precision: str,
    device: torch.device,
    *,
    untied: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Train on hidden targets that `fill_store` wrote; no teacher is loaded.

    `untied` gives the student a head of its own; `settings` are the recipe's.
    """
    store = ExchangeStore(_store_folder(setup))
    scorer = (_store_folder(setup) / "scorer").read_text(encoding="utf-8")
    head, dtype = store.head(scorer), resolve_dtype(precision, device)
    head = replace(head, weight_VD=head.weight_VD.to(device))
    stored = store.target_ids(scorer, HIDDEN_FP16)
    source = StoredTargets(store, HIDDEN_FP16, stored, Scorer(scorer, head), dtype)
    return _trained(setup, precision, device, source, untied=untied, **settings)


def fill_store(setup: Setup, precision: str, device: torch.device) -> dict[str, Any]:
    """Write the teacher's states on all rows, once and outside of what is timed."""
    teacher = load(setup.teacher, device=str(device), precision=precision)
    examples = _examples(setup)
    states = response_hidden(teacher, [(e.prompt_ids, e.response_ids) for e in examples])
    folder = _store_folder(setup)
    folder.mkdir(parents=True, exist_ok=True)
    store = ExchangeStore(folder)
    store.append(
        [_exchange(e, teacher.identity) for e in examples],
        [
            ExchangeTargets(e.exchange_id, teacher.identity, HIDDEN_FP16, HiddenStates(hidden_RD))
            for e, hidden_RD in zip(examples, states, strict=True)
        ],
    )
    store.save_head(teacher.identity, head_of(teacher))
    store.compact()
    store.close()
    (folder / "scorer").write_text(teacher.identity, encoding="utf-8")
    return {"seconds": [], "losses": []}


def _trained(
    setup: Setup,
    precision: str,
    device: torch.device,
    source: TargetSource,
    *,
    untied: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    student = load(setup.student, device=str(device), precision=precision, trainable=True)
    if untied:
        _untie(student)
    clock = Clock(device)
    losses: list[float] = []
    whole: list[float] = []

    def log(entry: dict[str, Any]) -> None:
        losses.append(entry["loss"])
        whole.append(setup.tokens / entry["tokens_per_s"])
        clock.step_ended()

    with tempfile.TemporaryDirectory() as checkpoints:
        _train(student, _examples(setup), _config(setup, settings), source, Path(checkpoints), log)
    # With the first step, and without what lies between the steps.
    return clock.report(losses) | {"whole_seconds": [sum(whole)]}


def _untie(student: LoadedModel) -> None:
    """Make the head a matrix of its own, equal to the embedding's."""
    head = student.network.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    student.network.config.tie_word_embeddings = False


def _train(
    student: LoadedModel,
    examples: Sequence[TrainingExample],
    config: TrainConfig,
    source: TargetSource,
    checkpoints: Path,
    log: Any,
) -> None:
    """The one place that knows how the loop is called."""
    train(
        student,
        examples,
        config=config,
        seed=SEED,
        order=PublicOrder(SEED),
        targets=source,
        checkpoints=checkpoints,
        validate=None,
        log=log,
        progress=Silent(),
    )


def _config(setup: Setup, settings: dict[str, Any]) -> TrainConfig:
    return TrainConfig(
        learning_rate=LEARNING_RATE,
        betas=BETAS,
        # The same rate at every step, as the peers are set up.
        warmup=0,
        final_learning_rate=1,
        batch_tokens=setup.tokens,
        micro_batch_tokens=setup.tokens,
        checkpoint_every=_NEVER,
        **({"epochs": 1} | settings),
    )


def _examples(setup: Setup) -> list[TrainingExample]:
    return [
        TrainingExample(f"{number:032x}", tuple(row[:PROMPT]), tuple(row[PROMPT:]))
        for number, row in enumerate(setup.stored_ids())
    ]


def _exchange(example: TrainingExample, teacher: str) -> Exchange:
    return Exchange(
        exchange_id=example.exchange_id,
        prompt_id=example.exchange_id,
        split="train",
        messages=({"role": "user", "content": example.exchange_id},),
        response="",
        prompt_token_ids=example.prompt_ids,
        response_token_ids=example.response_ids,
        tokenizer=None,
        finish_reason="length",
        teacher=teacher,
        sampling={},
        sample_index=0,
        terms_decision="benchmark",
        source="benchmark",
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def _store_folder(setup: Setup) -> Path:
    return Path(setup.folder) / "store"
