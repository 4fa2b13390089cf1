"""A pipeline that only pretends, and run directories in every state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.runs.minutes.keeping import Clock
from potstill.work.rundir import RunDir

RECIPE = "name: mine\nteacher:\n  model: some/model\n"

EVALUATION: dict[str, Any] = {
    "schema": "potstill/evaluation/1",
    "run": "mine",
    "created_at": "2026-11-25T10:20:30+00:00",
    "machine": {
        "cpu": "Example CPU 9000",
        "cores": 2,
        "memory_gb": 16.0,
        "accelerator": None,
        "packages": {},
        "compute_dtype": "float32",
    },
    "held_out": {"prompts": 200, "tokens": 15_000, "max_tokens": 96, "sampling": {}},
    "models": {
        "teacher": {
            "params": 134_515_008,
            "bytes": 269_060_552,
            "prefill_tok_s": 2300.0,
            "decode_tok_s": 41.0,
            "perplexity": {"value": 3.1, "ci95": [3.0, 3.2], "n": 200},
            "bits_per_byte": {"value": 0.5, "ci95": [0.4, 0.6], "n": 200},
        },
        "student": {
            "params": 106_000_000,
            "bytes": 212_000_000,
            "prefill_tok_s": 2700.0,
            "decode_tok_s": 55.0,
            "perplexity": {"value": 4.0, "ci95": [3.9, 4.1], "n": 200},
            "bits_per_byte": {"value": 0.6, "ci95": [0.5, 0.7], "n": 200},
            "kl_per_token": {"value": 0.21, "ci95": [0.2, 0.22], "n": 200},
            "top1_agreement": {"value": 0.752, "ci95": [0.74, 0.76], "n": 200},
        },
    },
    "differences": {},
    "vocabulary": None,
    "overlap": {
        "held_out": 200,
        "train": 1000,
        "exact": 0,
        "near": 0,
        "dropped_from_training": 2,
        "method": "words",
        "threshold": 0.6,
    },
    "collection": {
        "exchanges": 1200,
        "response_tokens": 90_000,
        "seconds": 219.0,
        "tokens_per_s": 411.0,
        "slots_busy_before_last_wave": 0.93,
    },
    "shrink": None,
    "training": None,
    "cost": {
        "collection": {
            "flops": 1e14,
            "tokens": 90_000,
            "seconds": 220.0,
            "joules": None,
            "money": 0.006,
        },
        "total": {
            "flops": 3e14,
            "tokens": 200_000,
            "seconds": 650.0,
            "joules": None,
            "money": 0.018,
        },
        "from_scratch": {
            "flops": 1.3e18,
            "tokens": 2_120_000_000,
            "money": 1.8,
            "formula": "6 N D",
        },
        "ratio_flops": 2.3e-4,
        "currency": "USD",
    },
    "peak_memory_bytes": 1_000_000_000,
    "seconds": 66.0,
    "samples": [
        {
            "messages": [{"role": "user", "content": "Why is the sky blue?"}],
            "teacher": "Because of \x1b[31mscattering.",
            "student": "It scatters [bold]light[/bold].",
        }
    ],
}


@pytest.fixture
def cli() -> CliRunner:
    return CliRunner()


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE, encoding="utf-8")
    return path


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that makes a run directory: evaluated or not, finished or not."""

    def make(*, evaluated: bool, name: str = "run") -> Path:
        recipe = Recipe.model_validate({"name": "mine", "teacher": {"model": "some/model"}})
        with RunDir.open(tmp_path / name, recipe) as run:
            run.write_json("state/collect.json", {"exchanges": 1200})
            run.log({"step": 20, "loss": 0.5})
            if evaluated:
                run.write_json("state/train.json", {"steps": 20})
                run.write_json("evaluation.json", EVALUATION)
                run.write_text("report.html", "<p>report</p>")
                run.write_text("manifest.json", "{}")
            return run.root

    return make


@pytest.fixture
def pretended(
    monkeypatch: pytest.MonkeyPatch, make_run: Callable[..., Path]
) -> list[dict[str, Any]]:
    """Replace the pipeline by one that only notes how it was called; return its notes."""
    calls: list[dict[str, Any]] = []

    def distill(
        recipe: Recipe,
        out: Path | None,
        *,
        fresh: bool = False,
        redo: bool = False,
        until: str | None = None,
        progress: Progress,
        clock: Clock,
    ) -> RunDir:
        called = {"recipe": recipe, "out": out, "fresh": fresh, "redo": redo, "until": until}
        calls.append({**called, "clock": clock})
        root = make_run(evaluated=until in (None, "evaluate"))
        return RunDir(root, recipe, None)

    module = ModuleType("potstill.runs.distill")
    module.distill = distill  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "potstill.runs.distill", module)
    return calls
