"""TRL's `GKDTrainer` off-policy (lmbda 0) with forward KL (beta 0)."""

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

from trl.experimental.gkd import GKDConfig, GKDTrainer  # isort: skip


class _Trainer(KeepsLosses, GKDTrainer):
    pass


def run(setup: Setup, variant: Variant, device: torch.device) -> dict[str, Any]:
    """Train and return seconds, losses and peak memory."""
    student, teacher = models_of(setup, variant)
    trainer = _Trainer(
        model=student,
        teacher_model=teacher,
        args=GKDConfig(
            **arguments_of(setup, variant, device),
            lmbda=0.0,
            beta=0.0,
            temperature=1.0,
            train_sampling_strategy="sequential",
        ),
        train_dataset=Dataset.from_list(rows_of(setup)),
        data_collator=_collated,
        processing_class=tokenizer_of(setup),
    )
    return watched(trainer, Clock(device))


def _collated(rows: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
    """Return what GKD's own collator would, without tokenising again: no row has padding."""
    ids_BT = torch.tensor([[*row["prompt_ids"], *row["response_ids"]] for row in rows])
    label_BT = ids_BT.clone()
    label_BT[:, : len(rows[0]["prompt_ids"])] = -100
    return {"input_ids": ids_BT, "attention_mask": torch.ones_like(ids_BT), "labels": label_BT}
