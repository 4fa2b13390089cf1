"""The loss of a micro-batch: what is read for it, and what it adds up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from potstill.losses.chunked import distillation_loss
from potstill.losses.targets import DenseTargets, Targets
from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.recipe import TrainConfig
from potstill.train.batches import Part
from potstill.train.compute import ComputeBody
from potstill.train.examples import TrainingExample
from potstill.train.frozen import FrozenStates
from potstill.train.hidden_matching import HiddenMatching, States
from potstill.train.objectives import divergences_of
from potstill.train.packing import LaidOutRows, laid_out
from potstill.train.target_sources import TargetSource


@dataclass(frozen=True)
class MicroBatch:
    """Rows of ids, the examples that each holds, and the target at each response token.

    `own` text is the student's. `inner` is what the teacher's blocks give at each response token,
    by block, where that is matched.
    """

    rows: LaidOutRows
    laid: Sequence[Sequence[TrainingExample]]
    targets: Targets | None
    own: bool
    inner: Mapping[int, Tensor]


@dataclass(frozen=True)
class StepLoss:
    """Reads micro-batches and forms their losses.

    `multiple` is what the width of a row is a multiple of. Without `targets` the loss is
    cross-entropy on the text; `matching` adds the distance of hidden states.
    """

    student: LoadedModel
    config: TrainConfig
    body: ComputeBody
    frozen: FrozenStates
    targets: TargetSource | None
    multiple: int
    matching: HiddenMatching | None
    workspace: Workspace = field(default_factory=Workspace)

    def read(self, part: Part) -> MicroBatch:
        """Read what a micro-batch needs; runs ahead of the training in a thread."""
        chosen = [example for row in part for example in row]
        source = None if chosen[0].by_text else self.targets
        matching = None if source is None else self.matching
        return MicroBatch(
            rows=laid_out(part, self.multiple),
            laid=part,
            targets=None if source is None else source.targets(chosen),
            own=chosen[0].own,
            inner={} if matching is None else matching.read(chosen),
        )

    def of(self, micro: MicroBatch, normaliser: int) -> tuple[Tensor, Tensor]:
        """Return (loss, distance of hidden states), both divided by the step's response tokens.

        The first is the whole loss, with gradients, the second what the matching adds up in it,
        before its weight; 0 where nothing is matched.
        """
        last_ND, by_block, rows = self._student_states(micro)
        stored, own = divergences_of(self.config)
        head = head_of(self.student)
        loss, _ = distillation_loss(
            last_ND,
            head,
            None if micro.targets is None else micro.targets.to(self.student.device),
            rows.label_N,
            normaliser=normaliser,
            divergence=own if micro.own else stored,
            temperature=self.config.temperature,
            cross_entropy_weight=self._cross_entropy_weight(micro),
            compute_dtype=self.student.compute_dtype,
            workspace=self.workspace,
            earlier_VD=_taken_gradient(head),
        )
        if self.matching is None or micro.targets is None:
            return loss, torch.zeros_like(loss)
        mine = self.matching.states(last_ND, by_block, teachers=False)
        distance = self.matching.loss(mine, self._teacher_states(micro), normaliser)
        return loss + self.matching.config.weight * distance, distance.detach()

    def fit(self, parts: Iterable[Part]) -> None:
        """Have the projections between hidden states begin where these micro-batches have them."""
        if self.matching is not None:
            self.matching.fit(self._both_states(parts))

    def _both_states(self, parts: Iterable[Part]) -> Iterator[tuple[States, States]]:
        """Yield the states of student and teacher at micro-batches that have any of the teacher."""
        assert self.matching is not None
        for part in parts:
            micro = self.read(part)
            if micro.targets is not None:
                last_ND, by_block, _ = self._student_states(micro)
                mine = self.matching.states(last_ND, by_block, teachers=False)
                yield mine, self._teacher_states(micro)

    def _student_states(self, micro: MicroBatch) -> tuple[Tensor, dict[int, Tensor], LaidOutRows]:
        """Return the student's states that predict the responses: behind the last norm, by block.

        With them the rows on the student's device.
        """
        rows = micro.rows.to(self.student.device)
        row_N, column_N = rows.predicts_N2.unbind(-1)
        blocks = [] if self.matching is None or micro.targets is None else self.matching.blocks
        with self.body.giving(blocks) as found:
            last_ND = self.frozen.hidden(rows, micro.laid)[row_N, column_N]
        return last_ND, {b: found[b][row_N, column_N] for b in blocks}, rows

    def _teacher_states(self, micro: MicroBatch) -> States:
        assert self.matching is not None
        if not isinstance(micro.targets, DenseTargets):
            raise ValueError("hidden states are matched where the targets are hidden states")
        return self.matching.states(micro.targets.hidden_ND, micro.inner, teachers=True)

    def _cross_entropy_weight(self, micro: MicroBatch) -> float:
        if micro.own:
            # It would teach the student what it does already, its mistakes among it.
            return 0.0
        return 1.0 if micro.targets is None else self.config.cross_entropy


def _taken_gradient(head: Head) -> Tensor | None:
    """Take from a head's weight the gradient of the micro-batches before, to be handed on.

    None where there is none, and where the loss's is not that of the whole matrix.
    """
    weight_VD = head.weight_VD
    gradient = weight_VD.grad
    # One that is sharded is another class.
    plain = type(gradient) is Tensor and gradient.dtype == torch.float32
    if not plain or (head.tokens is not None and head.tokens < len(weight_VD)):
        return None
    weight_VD.grad = None
    return gradient
