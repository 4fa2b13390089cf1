"""The trainings that `benchmarks/onpolicy_students.py` compares, and those that it chose by."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]
MEASURED, CHOOSING = (1, 2, 3), 0
# Of an on-policy arm; `off` has as many response tokens.
STEPS, TRIED_STEPS = 45, 30
HELD_OUT, TOKENS, SLOTS = 150, 64, 128
# Points of the curve: after these shares of the steps, on so many prompts, once each.
POINTS, AT_POINTS = (1 / 3, 2 / 3), 75
TRAIN: Row = {
    # Stored answers that are learnt from, and to whose prompts own ones are written.
    "answers": 160,
    # From where: as the shrinking left the student, or as it was before healing.
    "start": "healed",
    "learning_rate": 1e-4,
    "warmup": 0.1,
    "batch_tokens": 1000,
    "micro_batch_tokens": 1600,
    "frozen_blocks": 11,
    "epochs": 6.0,
    "checkpoint_every": 10**6,
}
OWN: Row = {
    "objective": "reverse_kl",
    "share": 1.0,
    "stored_first": 0.1,
    "prompts": 12,
    "max_tokens": TOKENS,
    "refresh_every": 4,
    "cut_at_most": 1.0,
}
# What each arm has otherwise: settings of `train`, and of `train.on_policy` (None: none).
ARMS: dict[str, tuple[Row, Row | None]] = {
    "off": ({}, None),
    "on": ({}, {}),
    "refresh1": ({}, {"refresh_every": 1}),
    "refresh16": ({}, {"refresh_every": 16}),
}
# The same of what was tried. All of the stored answers are 676.
EVERY, FEW, CUT = {"answers": 676}, {"answers": 64}, {"answers": 676, "start": "cut"}
MIXED = {"share": 0.75}
TRIED: dict[str, tuple[Row, Row | None]] = {
    "on": ({}, MIXED),
    "off": ({}, None),
    "not healed, on": (CUT, MIXED),
    "not healed, off": (CUT, None),
    "few answers, off": (FEW, None),
    "every answer, on": (EVERY, MIXED),
    "every answer, off": (EVERY, None),
    "every answer, all own": (EVERY, {}),
    "every answer, forward_kl": (EVERY, MIXED | {"objective": "forward_kl"}),
    "every answer, all own, jsd": (EVERY, {"objective": "jsd"}),
    "every answer, on, 2e-4": (EVERY | {"learning_rate": 2e-4}, MIXED),
    "every answer, off, 2e-4": (EVERY | {"learning_rate": 2e-4}, None),
}
