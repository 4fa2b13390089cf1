"""What tests of training learn from: a few short examples, and a teacher that scores them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from potstill.losses.targets import DenseTargets
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.train.examples import TrainingExample
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder

# The same for all, so that trainings can be compared.
ORDER = SecretOrder(OrderSecret(bytes(range(32))))


class Scored:
    """Targets that the teacher gives when asked."""

    def __init__(self, teacher: LoadedModel) -> None:
        self.teacher = teacher

    def targets(self, examples: Sequence[TrainingExample]) -> DenseTargets:
        pairs = [(e.prompt_ids, e.response_ids) for e in examples]
        return DenseTargets(torch.cat(response_hidden(self.teacher, pairs)), head_of(self.teacher))


def examples_of(model: LoadedModel, count: int = 24) -> list[TrainingExample]:
    generator = torch.Generator().manual_seed(0)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 200, (n,), generator=generator).tolist())

    eos = model.eos_ids[0]
    return [TrainingExample(f"e{i}", ids(3 + i % 5), (*ids(2 + i % 7), eos)) for i in range(count)]
