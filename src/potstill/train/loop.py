"""The training loop: the only one, for every objective and any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from potstill.errors import PotstillError
from potstill.models.loaded import LoadedModel
from potstill.models.memory import freed_memory_kept, release_freed
from potstill.models.precision import fast_products
from potstill.progress import Progress, Step
from potstill.recipe import TrainConfig
from potstill.train.as_computed import as_computed
from potstill.train.batches import Part, parts_of
from potstill.train.best import Best, measures_of
from potstill.train.checkpoint import (
    Position,
    restore_latest,
    save_checkpoint,
    stored_checkpoints,
)
from potstill.train.compute import ComputeBody, pays_to_compile
from potstill.train.examples import TrainingExample
from potstill.train.frozen import FrozenStates
from potstill.train.hidden_matching import HiddenMatching
from potstill.train.lora import adapted
from potstill.train.optimizer import adamw, trained
from potstill.train.packing import row_shape
from potstill.train.prefetch import Prefetch
from potstill.train.result import TrainResult, validation_figures
from potstill.train.schedule import TrainingPace, learning_rate, scheduled
from potstill.train.step_loss import MicroBatch, StepLoss
from potstill.train.step_source import Planned, StepSource
from potstill.train.target_sources import TargetSource
from potstill.work.step_plan import Order
from potstill.work.time_plan import Leg

# Steps after which freed memory goes back to the system.
_RELEASE_EVERY = 10

Validate = Callable[[LoadedModel], dict[str, float]]
LogStep = Callable[[dict[str, Any]], None]


def train(
    student: LoadedModel,
    examples: Sequence[TrainingExample],
    *,
    config: TrainConfig,
    seed: int,
    order: Order,
    targets: TargetSource | None,
    checkpoints: Path,
    validate: Validate | None,
    log: LogStep,
    progress: Progress,
    pace: TrainingPace | None = None,
    matching: HiddenMatching | None = None,
) -> TrainResult:
    """Train the student in place and return the figures; goes on from the last checkpoint.

    `order` is what the orders of the epochs are drawn from, `seed` decides about adapters alone.
    `validate` is asked before the first step, every `validate_every` steps and at the end, and the
    student is left as it was where that was best (by `kl`, else by `nll`, with on-policy steps
    by what these say; less is better).
    The loss of a step is the sum over its response tokens divided by their number, however the
    step is cut into micro-batches or shared out to processes. Without `targets` it is
    cross-entropy on the teacher's text. `pace` says after how many steps it ends, where the clock
    has a say in that. `matching` adds the distance of hidden states, and what it learns is trained
    beside the student. Raises PotstillError where the loss is not finite; the last good checkpoint
    stays.
    """
    return train_steps(
        student,
        Planned(examples, config, order),
        config=config,
        seed=seed,
        targets=targets,
        checkpoints=checkpoints,
        validate=validate,
        log=log,
        progress=progress,
        pace=pace,
        matching=matching,
    )


def train_steps(
    student: LoadedModel,
    source: StepSource,
    *,
    config: TrainConfig,
    seed: int,
    targets: TargetSource | None,
    checkpoints: Path,
    validate: Validate | None,
    log: LogStep,
    progress: Progress,
    pace: TrainingPace | None = None,
    matching: HiddenMatching | None = None,
) -> TrainResult:
    """Train the student as `train` does, on the steps that a source gives."""
    with adapted(student.network, config.lora, frozen_blocks=config.frozen_blocks, seed=seed):
        loop = _Loop(student, source, config, targets, checkpoints, pace, matching)
        return loop.run(validate, log, progress)


class _Loop:
    """One training run: the plan, the optimiser, and where it stands."""

    def __init__(
        self,
        student: LoadedModel,
        source: StepSource,
        config: TrainConfig,
        targets: TargetSource | None,
        folder: Path,
        pace: TrainingPace | None = None,
        matching: HiddenMatching | None = None,
    ) -> None:
        if matching is None and config.hidden_matching is not None:
            raise ValueError("nothing says how the hidden states of train.hidden_matching match")
        self.student, self.source, self.config = student, source, config
        self.folder, self.pace = folder, pace
        self.accelerator = Accelerator(cpu=student.device.type == "cpu")
        self.network = student.network
        planned = min(source.planned, config.steps or source.planned)
        self.legs: tuple[Leg, ...] = (Leg(at=0, total=planned),)
        self.body = ComputeBody(
            self.network,
            student.compute_dtype,
            source.longest,
            config.frozen_blocks,
            checkpointing=config.gradient_checkpointing,
            compiled=pays_to_compile(config, student.device, planned),
        )
        self.rows = row_shape(
            config.packing,
            self.body,
            longest=source.longest,
            micro_batch_tokens=config.micro_batch_tokens,
        )
        self.frozen = FrozenStates(self.body, source.known())
        self.losses = StepLoss(
            student, config, self.body, self.frozen, targets, self.rows.multiple, matching
        )
        self.beside = {} if matching is None else matching.learnt
        self.optimizer = adamw(self.network, config, self.beside.values())
        self.plan = source.digest
        source.follow(partial(as_computed, student, self.body), self.accelerator.num_processes)
        self.updating = False
        self.position = Position(0, 0, 0, 0.0, math.nan, math.nan, self.plan)
        self.best = Best(folder, self.network, self.plan, measures_of(config.on_policy))
        self.last: Mapping[str, float] | None = None

    @property
    def total(self) -> int:
        """After how many steps the training ends, as it stands now."""
        return self.legs[-1].total

    def run(self, validate: Validate | None, log: LogStep, progress: Progress) -> TrainResult:
        if self.pace is not None and not stored_checkpoints(self.folder):
            # Begun again by a clock that has gone on: the steps that are lost were others.
            self.best.forget()
        if validate is not None and self.best.kept is None:
            # Before anything is restored: these are the weights of the untrained student.
            log({"step": 0, **self._validated(validate)})
        torch.manual_seed(0)
        restored = restore_latest(self.folder, self.network, self.optimizer, self.plan, self.beside)
        self.position = restored or self.position
        if self.pace is not None:
            self.legs = self.pace.begun(self.source.planned, self.position.step)
        self.source.resume(self.position.steps)
        self.body.refresh()
        if restored is None and self.beside:
            stored = self.source.stored_steps()
            self.losses.fit(part for step in stored for part in self._all_parts(step))
        self.network.train()
        self.body.train()
        if said := self.frozen.note():
            progress.note(said)
        try:
            with (
                fast_products(),
                freed_memory_kept(),
                progress.step("train", total=self.total, unit="steps") as shown,
                Prefetch(self.losses.read, self.student.device.type != "cpu") as prefetch,
            ):
                shown.advance(self.position.step)
                begin = self._beginning(prefetch)
                while self.position.step < self.total:
                    self._one_step(begin, validate, log, shown)
                    if self.pace is not None and self.position.step < self.total:
                        self.legs = self.pace.legs(self.position.step)
            if validate is not None and self.last is None:
                # Stopped by hand after the last step, and saved there.
                log({"step": self.position.step, **self._validated(validate)})
            self.accelerator.wait_for_everyone()
            self.best.restore()
        except KeyboardInterrupt:
            # In the middle of an update the weights are neither old nor new.
            if not self.updating and self.position.step:
                self._save()
            raise
        finally:
            self.network.eval()
        return self._result()

    def _beginning(self, prefetch: Prefetch[Part, MicroBatch]) -> _Begin:
        """Return what gives a step's examples and micro-batches, read ahead where they may be."""
        coming = range(self.position.step, self.source.planned)
        ahead = None
        if not self.source.waits:
            parts_ahead = (part for n in coming for part in self._parts(self.source.step(n)))
            ahead = prefetch.through(parts_ahead)

        def begin(number: int) -> tuple[Sequence[TrainingExample], Iterator[MicroBatch]]:
            step = self.source.step(number)
            parts = self._parts(step)
            return step, prefetch.through(parts) if ahead is None else islice(ahead, len(parts))

        return begin

    def _one_step(
        self, begin: _Begin, validate: Validate | None, log: LogStep, shown: Step
    ) -> None:
        started = time.perf_counter()
        number = self.position.step
        try:
            step, coming = begin(number)
        except PotstillError:
            # A server that stopped answering, say: between two updates nothing is lost.
            if number:
                self._save()
            raise
        apart = time.perf_counter() - started if self.source.waits else 0.0
        rate = learning_rate(scheduled(number, self.legs), self.legs[0].total, self.config)
        loss, hidden = self._gradient(_response_tokens(step), coming)
        norm = self._update(number, loss, rate)
        tokens = sum(example.length for example in step)
        seconds = time.perf_counter() - started
        if self.pace is not None:
            self.pace.stepped(tokens, seconds, apart)
        self.position = replace(
            self.position,
            step=number + 1,
            tokens=self.position.tokens + tokens,
            response_tokens=self.position.response_tokens + _response_tokens(step),
            seconds=self.position.seconds + seconds,
            first_loss=loss if number == 0 else self.position.first_loss,
            last_loss=loss,
            first_hidden=hidden if number == 0 else self.position.first_hidden,
            last_hidden=hidden,
        )
        entry: dict[str, Any] = {
            "step": number + 1,
            "loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_s": tokens / seconds,
            **self.source.figures(number),
            **({} if hidden is None else {"hidden_loss": hidden}),
        }
        done = number + 1
        if validate is not None and (done % self.config.validate_every == 0 or done == self.total):
            entry |= self._validated(validate)
        if done % _RELEASE_EVERY == 0:
            release_freed()
        log(entry)
        shown.advance(1, **{k: entry[k] for k in ("loss", "kl") if k in entry})
        if done % self.config.checkpoint_every == 0 and done < self.total:
            self._save()

    def _validated(self, validate: Validate) -> dict[str, float]:
        """Measure the student as it is now, and keep it where it is the best so far."""
        self.network.eval()
        found = validate(self.student)
        self.network.train()
        step = self.position.step
        last = step == self.total
        self.last = found if last else None
        self.best.offer(step, found, last=last, write=self.accelerator.is_main_process)
        return found

    def _all_parts(self, step: Sequence[TrainingExample]) -> Sequence[Part]:
        """Return the micro-batches of a step."""
        return parts_of(step, self.config.micro_batch_tokens, self.rows.tokens)

    def _parts(self, step: Sequence[TrainingExample]) -> Sequence[Part]:
        """Return the micro-batches of a step that are this process's."""
        parts = self._all_parts(step)
        return parts[self.accelerator.process_index :: self.accelerator.num_processes]

    def _gradient(
        self, normaliser: int, coming: Iterator[MicroBatch]
    ) -> tuple[float, float | None]:
        """Add up the step's gradient over its micro-batches; return its loss, and the distance of
        hidden states that is part of it (None where none are matched)."""
        total_2 = torch.zeros(2, device=self.student.device)
        for micro in coming:
            loss, hidden = self.losses.of(micro, normaliser)
            loss.backward()
            self.body.collect_gradients()
            total_2 += torch.stack([loss.detach(), hidden])
        if self.accelerator.num_processes > 1:
            total_2 = self.accelerator.reduce(total_2, reduction="sum")
            for parameter in [*trained(self.network), *self.beside.values()]:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="sum")
        loss_sum, hidden_sum = total_2.tolist()
        return loss_sum, None if self.losses.matching is None else hidden_sum

    def _update(self, number: int, loss: float, rate: float) -> float:
        """Clip, step and clear; return the gradient's norm before clipping."""
        norm = float(torch.nn.utils.clip_grad_norm_(trained(self.network), self.config.clip_norm))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            kept = stored_checkpoints(self.folder)
            where = f"checkpoint {kept[-1].name} is kept" if kept else "there is no checkpoint yet"
            raise PotstillError(
                f"the loss is {loss} and its gradient {norm} at step {number + 1}; {where}. Lower "
                "train.learning_rate, or set precision to fp32"
            )
        if self.beside:
            # By themselves, so that what is no student does not shorten a student's step.
            torch.nn.utils.clip_grad_norm_(list(self.beside.values()), self.config.clip_norm)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.updating = True
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.body.refresh()
        self.updating = False
        return norm

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            self.position = replace(self.position, steps=self.source.kept())
            save_checkpoint(self.folder, self.network, self.optimizer, self.position, self.beside)

    def _result(self) -> TrainResult:
        done, kept = self.position, self.best.kept
        return TrainResult(
            steps=done.step,
            tokens=done.tokens,
            response_tokens=done.response_tokens,
            seconds=done.seconds,
            tokens_per_s=done.tokens / max(done.seconds, 1e-9),
            first_loss=done.first_loss,
            last_loss=done.last_loss,
            first_hidden=done.first_hidden,
            last_hidden=done.last_hidden,
            kept_step=done.step if kept is None else kept.step,
            **({} if kept is None else validation_figures(kept, self.last or {})),
        )


_Begin = Callable[[int], tuple[Sequence[TrainingExample], Iterator[MicroBatch]]]


def _response_tokens(examples: Sequence[TrainingExample]) -> int:
    return sum(len(example.response_ids) for example in examples)
