"""TRL's stable `DistillationTrainer` with forward KL (beta 0).

It is on-policy only: each step it has the student write the responses. Here it is handed the
stored responses instead, in place of its method that generates, which is all that is changed.
"""

from __future__ import annotations

from typing import Any

import torch
from datasets import Dataset

from peers.clock import Clock
from peers.setup import Setup
from peers.trl_common import (
    KeepsLosses,
    Variant,
    arguments_of,
    models_of,
    rows_of,
    tokenizer_of,
    watched,
)

from trl import DistillationConfig, DistillationTrainer  # isort: skip


class _Trainer(KeepsLosses, DistillationTrainer):
    stored: list[dict[str, list[int]]]

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        rows = [self.stored[int(number)] for number in prompts]
        return (
            [row["prompt_ids"] for row in rows],
            [row["response_ids"] for row in rows],
            None,
            None,
            [],
        )


def run(setup: Setup, variant: Variant, device: torch.device) -> dict[str, Any]:
    """Train and return seconds, losses and peak memory."""
    student, teacher = models_of(setup, variant)
    rows = rows_of(setup)
    trainer = _Trainer(
        model=student,
        teacher_model=teacher,
        args=DistillationConfig(
            **arguments_of(setup, variant, device),
            beta=0.0,
            temperature=1.0,
            shuffle_dataset=False,
            max_completion_length=setup.length,
        ),
        # The prompt is the row's number: it is looked up where others would generate.
        train_dataset=Dataset.from_list([{"prompt": str(n)} for n in range(len(rows))]),
        processing_class=tokenizer_of(setup),
    )
    trainer.stored = rows
    return watched(trainer, Clock(device))
