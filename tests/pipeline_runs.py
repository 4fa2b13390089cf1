"""A small recipe and a way to run it, for every test of the whole pipeline."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs import distill as pipeline
from potstill.work.rundir import RunDir

PLACES = ("harbour", "station", "market", "library", "museum", "bridge", "tower", "garden")
ORDER_SECRET = Path(__file__).parent / "order-secret.txt"
THINGS = ("boat", "train", "apple", "book", "statue", "lamp", "bell", "rose", "map", "coat")


class Noted(Silent):
    """Shows nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def recipe_values(teacher: Path | str, source: Path | str, **sections: Any) -> dict[str, Any]:
    """Return a recipe that a nano model goes through in seconds; sections are merged in."""
    values: dict[str, Any] = {
        "name": "nano",
        "precision": "fp32",
        "teacher": {"model": str(teacher)},
        "prompts": {
            "source": str(source),
            "limit": 60,
            "held_out_count": 12,
            "validation_count": 6,
        },
        "collect": {"max_tokens": 24, "slots": 24, "wave": 1},
        "shrink": {"drop_layers": 1, "candidates": 2, "calibration_tokens": 1500},
        "train": {
            "learning_rate": 3e-4,
            "batch_tokens": 256,
            "micro_batch_tokens": 256,
            "checkpoint_every": 4,
            "validate_every": 8,
            # One order, so that runs can be compared.
            "order_secret": str(ORDER_SECRET),
        },
        "evaluate": {"max_tokens": 24, "resamples": 200, "speed_tokens": 4, "sample_pairs": 2},
    }
    for name, section in sections.items():
        merged = {**values.get(name, {}), **section} if isinstance(section, dict) else section
        values[name] = merged
    if "blocks" in values["shrink"]:
        # Named blocks are not looked for.
        values["shrink"].pop("drop_layers", None)
    return values


def write_calls(path: Path) -> Path:
    """Write a log of ninety short calls, as chats."""
    draw, lines = random.Random(1), []
    for number in range(90):
        asked = f"Where is the {draw.choice(THINGS)} number {number} {draw.choice(THINGS)}?"
        told = f"Near the {draw.choice(PLACES)}."
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
        lines.append(json.dumps({"messages": messages}))
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run(values: dict[str, Any], out: Path, **options: Any) -> tuple[RunDir, list[str]]:
    """Run a recipe and return the run directory and the notes."""
    progress = Noted()
    directory = pipeline.distill(Recipe.model_validate(values), out, progress=progress, **options)
    return directory, progress.notes


def recorded(run: RunDir, name: str) -> Any:
    """Return what the file of a record holds, None where there is none: its very keys."""
    path = run.record_path(name)
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def fingerprint(root: Path) -> dict[str, tuple[str, int]]:
    """Return digest and time of change of every file under a directory."""
    return {
        str(path.relative_to(root)): (
            hashlib.sha256(path.read_bytes()).hexdigest(),
            path.stat().st_mtime_ns,
        )
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
