"""The training loop: the only one, for every objective and any number of processes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.chunked import distillation_loss
from potstill.losses.targets import Targets
from potstill.losses.workspace import Workspace
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.memory import freed_memory_kept, release_freed
from potstill.models.precision import fast_products
from potstill.progress import Progress, Step
from potstill.recipe import TrainConfig
from potstill.train.as_computed import as_computed
from potstill.train.batches import Part, parts_of
from potstill.train.best import Best
from potstill.train.checkpoint import (
    Position,
    restore_latest,
    save_checkpoint,
    stored_checkpoints,
)
from potstill.train.compute import ComputeBody, pays_to_compile
from potstill.train.examples import TrainingExample
from potstill.train.frozen import FrozenStates
from potstill.train.lora import adapted
from potstill.train.objectives import divergences_of
from potstill.train.optimizer import adamw, trained
from potstill.train.packing import LaidOutRows, laid_out, row_shape
from potstill.train.prefetch import Prefetch
from potstill.train.result import TrainResult, validation_figures
from potstill.train.schedule import TrainingPace, learning_rate, scheduled
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
) -> TrainResult:
    """Train the student in place and return the figures; goes on from the last checkpoint.

    `order` is what the orders of the epochs are drawn from, `seed` decides about adapters alone.
    `validate` is asked before the first step, every `validate_every` steps and at the end, and the
    student is left as it was where that was best (by `kl`, else by `nll`; less is better).
    The loss of a step is the sum over its response tokens divided by their number, however the
    step is cut into micro-batches or shared out to processes. Without `targets` it is
    cross-entropy on the teacher's text. `pace` says after how many steps it ends, where the clock
    has a say in that. Raises PotstillError where the loss is not finite; the last good checkpoint
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
) -> TrainResult:
    """Train the student as `train` does, on the steps that a source gives."""
    with adapted(student.network, config.lora, frozen_blocks=config.frozen_blocks, seed=seed):
        loop = _Loop(student, source, config, targets, checkpoints, pace)
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
    ) -> None:
        self.student, self.source, self.config = student, source, config
        self.targets, self.folder, self.pace = targets, folder, pace
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
        self.optimizer = adamw(self.network, config)
        self.plan = source.digest
        self.divergence, self.own_divergence = divergences_of(config)
        source.follow(partial(as_computed, student, self.body), self.accelerator.num_processes)
        self.workspace = Workspace()
        self.updating = False
        self.position = Position(0, 0, 0, 0.0, math.nan, math.nan, self.plan)
        self.best = Best(folder, self.network, self.plan)
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
        restored = restore_latest(self.folder, self.network, self.optimizer, self.plan)
        self.position = restored or self.position
        if self.pace is not None:
            self.legs = self.pace.begun(self.source.planned, self.position.step)
        self.source.resume(self.position.steps)
        self.body.refresh()
        self.network.train()
        self.body.train()
        if said := self.frozen.note():
            progress.note(said)
        try:
            with (
                fast_products(),
                freed_memory_kept(),
                progress.step("train", total=self.total, unit="steps") as shown,
                Prefetch(self._micro_batch, self.student.device.type != "cpu") as prefetch,
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

    def _beginning(self, prefetch: Prefetch[Part, _MicroBatch]) -> _Begin:
        """Return what gives a step's examples and micro-batches, read ahead where they may be."""
        coming = range(self.position.step, self.source.planned)
        ahead = None
        if not self.source.waits:
            parts_ahead = (part for n in coming for part in self._parts(self.source.step(n)))
            ahead = prefetch.through(parts_ahead)

        def begin(number: int) -> tuple[Sequence[TrainingExample], Iterator[_MicroBatch]]:
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
        rate = learning_rate(scheduled(number, self.legs), self.legs[0].total, self.config)
        loss = self._gradient(_response_tokens(step), coming)
        norm = self._update(number, loss, rate)
        tokens = sum(example.length for example in step)
        seconds = time.perf_counter() - started
        if self.pace is not None:
            self.pace.stepped(tokens, seconds)
        self.position = replace(
            self.position,
            step=number + 1,
            tokens=self.position.tokens + tokens,
            response_tokens=self.position.response_tokens + _response_tokens(step),
            seconds=self.position.seconds + seconds,
            first_loss=loss if number == 0 else self.position.first_loss,
            last_loss=loss,
        )
        entry: dict[str, Any] = {
            "step": number + 1,
            "loss": loss,
            "lr": rate,
            "grad_norm": norm,
            "tokens_per_s": tokens / seconds,
            **self.source.figures(number),
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

    def _parts(self, step: Sequence[TrainingExample]) -> Sequence[Part]:
        """Return the micro-batches of a step that are this process's."""
        parts = parts_of(step, self.config.micro_batch_tokens, self.rows.tokens)
        return parts[self.accelerator.process_index :: self.accelerator.num_processes]

    def _gradient(self, normaliser: int, coming: Iterator[_MicroBatch]) -> float:
        """Add up the step's gradient over its micro-batches and return its loss."""
        total = torch.zeros((), device=self.student.device)
        for micro in coming:
            loss = self._loss(micro, normaliser)
            loss.backward()
            self.body.collect_gradients()
            total += loss.detach()
        if self.accelerator.num_processes > 1:
            total = self.accelerator.reduce(total, reduction="sum")
            for parameter in trained(self.network):
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                parameter.grad = self.accelerator.reduce(parameter.grad, reduction="sum")
        return float(total)

    def _micro_batch(self, part: Part) -> _MicroBatch:
        """Read what a micro-batch needs; runs ahead of the training in a thread."""
        chosen = [example for row in part for example in row]
        source = None if chosen[0].by_text else self.targets
        return _MicroBatch(
            rows=laid_out(part, self.rows.multiple),
            laid=part,
            targets=None if source is None else source.targets(chosen),
            own=chosen[0].own,
        )

    def _loss(self, micro: _MicroBatch, normaliser: int) -> Tensor:
        device, dtype = self.student.device, self.student.compute_dtype
        rows = micro.rows.to(device)
        row_N, column_N = rows.predicts_N2.unbind(-1)
        hidden_ND = self.frozen.hidden(rows, micro.laid)[row_N, column_N]
        loss, _ = distillation_loss(
            hidden_ND,
            head_of(self.student),
            None if micro.targets is None else micro.targets.to(device),
            rows.label_N,
            normaliser=normaliser,
            divergence=self.own_divergence if micro.own else self.divergence,
            temperature=self.config.temperature,
            cross_entropy_weight=self._cross_entropy_weight(micro),
            compute_dtype=dtype,
            workspace=self.workspace,
        )
        return loss

    def _cross_entropy_weight(self, micro: _MicroBatch) -> float:
        if micro.own:
            # It would teach the student what it does already, its mistakes among it.
            return 0.0
        return 1.0 if micro.targets is None else self.config.cross_entropy

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
            save_checkpoint(self.folder, self.network, self.optimizer, self.position)

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
            kept_step=done.step if kept is None else kept.step,
            **({} if kept is None else validation_figures(kept, self.last or {})),
        )


@dataclass(frozen=True)
class _MicroBatch:
    """Rows of ids, the examples that each holds, and the target at each response token.

    `own` text is the student's.
    """

    rows: LaidOutRows
    laid: Sequence[Sequence[TrainingExample]]
    targets: Targets | None
    own: bool


_Begin = Callable[[int], tuple[Sequence[TrainingExample], Iterator[_MicroBatch]]]


def _response_tokens(examples: Sequence[TrainingExample]) -> int:
    return sum(len(example.response_ids) for example in examples)
