"""What both trainers of TRL share: arguments, models, and how their steps are watched."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from peers.clock import Clock
from peers.setup import BETAS, LEARNING_RATE, PROMPT, SEED, Setup

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

from transformers import AutoModelForCausalLM, TrainerCallback
from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()


@dataclass(frozen=True)
class Variant:
    """One way to set TRL up.

    `autocast` keeps fp32 weights and computes in bf16 (`bf16=True`); without it bf16 means that
    weights and optimiser state are bf16 too.
    """

    precision: str
    autocast: bool
    attention: str
    liger: bool = False

    @property
    def student_dtype(self) -> torch.dtype:
        """What the student's weights are held in."""
        return torch.bfloat16 if self.precision == "bf16" and not self.autocast else torch.float32

    @property
    def teacher_dtype(self) -> torch.dtype:
        """What the teacher's are: it is only asked, so under autocast too it can be bf16."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32


class Watch(TrainerCallback):
    """Takes the time at the end of each step."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Called by the trainer when the update is done."""
        self.clock.step_ended()


class KeepsLosses:
    """Keeps each step's loss without waiting for it; goes before the trainer's class."""

    losses: list[Tensor]

    def compute_loss(self, *arguments: Any, **named: Any) -> Any:
        """Return what the trainer computes."""
        found = super().compute_loss(*arguments, **named)  # type: ignore[misc]
        loss = found[0] if isinstance(found, tuple) else found
        self.losses = [*getattr(self, "losses", []), loss.detach()]
        return found


def arguments_of(setup: Setup, variant: Variant, device: torch.device) -> dict[str, Any]:
    """Return the training arguments: nothing but the step, and the fastest optimiser there is."""
    return {
        "output_dir": tempfile.mkdtemp(),
        "per_device_train_batch_size": setup.rows,
        "gradient_accumulation_steps": 1,
        "max_steps": setup.steps,
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "weight_decay": 0.0,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "bf16": variant.autocast,
        "use_liger_kernel": variant.liger,
        "use_cpu": device.type == "cpu",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "dataloader_pin_memory": device.type == "cuda",
        "seed": SEED,
    }


def models_of(setup: Setup, variant: Variant) -> tuple[Any, Any]:
    """Return student and teacher."""
    student, teacher = (
        AutoModelForCausalLM.from_pretrained(
            directory, dtype=dtype, attn_implementation=variant.attention
        )
        for directory, dtype in (
            (setup.student, variant.student_dtype),
            (setup.teacher, variant.teacher_dtype),
        )
    )
    return student, teacher.eval()


def tokenizer_of(setup: Setup) -> Any:
    """Return the student's tokenizer, whose padding no row needs."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(setup.student, padding_side="left")
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    return tokenizer


def rows_of(setup: Setup) -> list[dict[str, list[int]]]:
    """Return prompt and response ids of each row, in the order of training."""
    return [{"prompt_ids": row[:PROMPT], "response_ids": row[PROMPT:]} for row in setup.ids()]


def watched(trainer: Any, clock: Clock) -> dict[str, Any]:
    """Train and return what the clock saw."""
    trainer.add_callback(Watch(clock))
    trainer.train()
    return clock.report([float(loss) for loss in trainer.losses])
