"""TRL's `DistillationTrainer` in `benchmarks/onpolicy_speed.py`, with reverse KL (beta 1).

All that is changed of it is its method that renders prompts: it is handed their ids, the same that
potstill has.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from peers.clock import Clock
from peers.memory import forget_peak, held_bytes, models_bytes
from peers.onpolicy_case import MEASURED, PROMPTS, TOKENS, Case
from peers.setup import Setup
from peers.trl_common import KeepsLosses, Variant, arguments_of, models_of, tokenizer_of, watched

from trl import DistillationConfig, DistillationTrainer  # isort: skip


@dataclass(frozen=True)
class Setting:
    """One way to set the trainer up: its weights, its attention, and what a name says beside.

    `checkpointed` is its default for backward. `in N` has a step's answers learnt from in N parts
    (gradient accumulation), which are still written at once. `static` is a cache of fixed size.
    """

    variant: Variant
    parts: int
    checkpointed: bool
    static: bool

    @classmethod
    def of(cls, name: str, precision: str) -> Setting:
        """Return what a name like `autocast, sdpa, in 2` says."""
        way, attention, *more = name.split(", ")
        parts = [int(word[3:]) for word in more if word.startswith("in ")]
        return cls(
            Variant(precision, way == "autocast", attention),
            parts[0] if parts else 1,
            "checkpointed" in more,
            "static" in more,
        )


class _Trainer(KeepsLosses, DistillationTrainer):
    case: Case
    written: list[tuple[list[int], list[int]]]

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[Any, ...]:
        return [list(self.case.prompts[int(number)]) for number in prompts], None, {}

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        found = super()._generate(prompts)
        self.written += zip(found[0], found[1], strict=True)
        return tuple(found)


def run(
    case: Case, precision: str, name: str, folder: Path, steps: int = MEASURED
) -> dict[str, Any]:
    """Train for a step that is not measured and `steps` that are.

    What was written for the first step, and its loss, stay in the folder.
    """
    setting, device = Setting.of(name, precision), torch.device("cpu")
    setup = Setup("", case.teacher, case.student, PROMPTS // setting.parts, TOKENS, 1 + steps)
    imported = held_bytes(device)
    student, teacher = models_of(setup, setting.variant)
    tokenizer = tokenizer_of(setup)
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(case.end)
    chosen = arguments_of(setup, setting.variant, device) | {
        "gradient_checkpointing": setting.checkpointed,
        "gradient_accumulation_steps": setting.parts,
    }
    count = PROMPTS * (1 + steps)
    trainer = _Trainer(
        model=student,
        teacher_model=teacher,
        args=DistillationConfig(
            **chosen,
            beta=1.0,
            temperature=1.0,
            shuffle_dataset=False,
            max_completion_length=TOKENS,
            cache_implementation="static" if setting.static else None,
        ),
        train_dataset=Dataset.from_list([{"prompt": str(number)} for number in range(count)]),
        processing_class=tokenizer,
    )
    trainer.case, trainer.written = case, []
    forget_peak(device)
    found = watched(trainer, Clock(device))
    first = {
        "loss": sum(found["losses"][: setting.parts]),
        "texts": trainer.written[:PROMPTS],
    }
    (folder / f"first_{precision}.json").write_text(json.dumps(first), encoding="utf-8")
    return found | {
        "imported_bytes": imported,
        "models_bytes": models_bytes(student, teacher),
        "answer_tokens": sum(len(ids) for _, ids in trainer.written) / len(trainer.written),
    }
