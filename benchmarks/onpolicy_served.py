"""A step on the student's own answers whose teacher is behind a server, beside the teacher itself.

A part of `benchmarks/onpolicy.py`: a server on loopback in vLLM's format with a nano model behind
it, whose likeliest tokens are learnt, from one to all that there are.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

TESTS = Path(__file__).parents[1] / "tests"
sys.path += [str(TESTS / part) for part in ("", "nano", "train", "losses")]

from nano_models import build  # noqa: E402
from on_policy_runs import Case, FirstStep, case, first_step, own_alone  # noqa: E402

from own_readers import own_reader  # noqa: E402
from potstill.models.load import load  # noqa: E402
from potstill.models.teacher_tokens import TeacherTokens  # noqa: E402
from potstill.train.served_teacher import ServedTeacher  # noqa: E402
from reading_server import ReadingServer  # noqa: E402

Row = dict[str, Any]
FAMILIES = ("llama", "qwen3", "gemma", "neox")
OBJECTIVES = ("forward_kl", "reverse_kl")
COUNTS = (1, 2, 4, 8, 16, 20, 32, 64, 128, 256)
# What vLLM tells at most unless it was started with more.
USUAL = 20


def served_part(folder: Path) -> tuple[dict[str, Row], list[Row]]:
    """Return claims and rows: all tokens told, and the curve over how many are."""
    rows = [all_told(family, kind, folder) for family in FAMILIES for kind in OBJECTIVES]
    curve = [row for kind in OBJECTIVES for row in curve_over_counts(kind, folder)]
    gap = max(abs(row["loss"] - row["whole_loss"]) for row in rows)
    claims = {"served_loss_gap": _claim(gap, "nats", len(rows))}
    for kind in OBJECTIVES:
        (usual,) = (r for r in curve if (r["objective"], r["count"]) == (kind, USUAL))
        claims |= {
            f"served_{kind}_share_{USUAL}": _claim(usual["loss"] / usual["whole_loss"], "share", 1),
            f"served_{kind}_cosine_{USUAL}": _claim(usual["cosine"], "cosine", 1),
        }
    return claims, [*rows, *curve]


def all_told(family: str, kind: str, folder: Path) -> Row:
    """Return a first step's loss by a server that tells all tokens, and by the teacher itself."""
    path = build(family, folder / family)
    count = len(TeacherTokens.of(path).tokenizer)
    return against_whole(path, kind, [count], folder / f"{family}-{kind}")[0] | {"family": family}


def curve_over_counts(kind: str, folder: Path) -> list[Row]:
    """Return a first step by how many tokens the server tells."""
    path = build("llama", folder / "llama")
    found = against_whole(path, kind, COUNTS, folder / f"curve-{kind}")
    return [row | {"family": "llama"} for row in found]


def against_whole(path: Path, kind: str, counts: Sequence[int], folder: Path) -> list[Row]:
    """Return a student's first step by a server that tells so many tokens, for each number.

    The answers are the same for all. `cosine` is that of the step's gradient and the gradient of
    the whole divergence, `untold` the student's mass on tokens that were not told.
    """
    config = own_alone({"objective": kind, "prompts": 8, "max_tokens": 24})
    whole = first_step(case(path, config), folder / "whole")
    tokens, rows = TeacherTokens.of(path), []
    with ReadingServer(load(str(path), device="cpu", precision="fp32")) as server:
        for count in counts:
            place = folder / f"{count}"
            made = case(path, config, own=ServedTeacher(own_reader(server, tokens, place, count)))
            step = first_step(made, place / "checkpoints")
            assert step.examples == whole.examples
            rows.append(_row(kind, count, made, step, whole))
    return rows


def _row(kind: str, count: int, made: Case, step: FirstStep, whole: FirstStep) -> Row:
    mine, theirs = (
        torch.cat([found.gradient[n].flatten() for n in whole.gradient]) for found in (step, whole)
    )
    return {
        "objective": kind,
        "count": count,
        "tokens": sum(len(e.response_ids) for e in whole.examples),
        "loss": step.loss,
        "whole_loss": whole.loss,
        "cosine": float(torch.cosine_similarity(mine.double(), theirs.double(), dim=0)),
        "norm_ratio": float(mine.norm() / theirs.norm()),
        "untold": made.rollouts.draws[0].untold,
    }


def _claim(value: float, unit: str, runs: int) -> Row:
    return {"value": value, "unit": unit, "runs": runs}
