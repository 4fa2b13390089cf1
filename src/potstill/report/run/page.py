"""The report of a run: one self-contained HTML page that opens from disk and asks no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.report.frame import PageHead, document
from potstill.report.run.view import view
from potstill.report.tables import moment
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import read_evaluation
from potstill.work.workdir import read_metrics


def render(run_root: Path, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` of an evaluated run and return its path.

    Reads evaluation.json, metrics.jsonl and recipe.yaml of the run directory. `provenance`
    holds facts for the page's last table (teacher, licences, terms decision, digests), nested
    as one likes. Raises PotstillError where the run has no readable evaluation, or the disk is
    full; a report that was there before then stays as it was.
    """
    evaluation = read_evaluation(run_root / "evaluation.json")
    if evaluation is None:
        raise PotstillError(
            f"{run_root} has no evaluation yet; run `potstill evaluate` on it first."
        )
    recipe = run_root / "recipe.yaml"
    text = page(
        evaluation,
        read_metrics(run_root),
        recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        provenance,
    )
    path = run_root / "report.html"
    write_bytes(path, text.encode())
    return path


def page(
    evaluation: Evaluation,
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Return the page as text, at most `frame.MOST_BYTES`."""
    head = PageHead(
        title=evaluation.run or "run",
        noun="report",
        kind="distillation report",
        created=moment(evaluation.created_at),
    )
    content = view(evaluation, metrics, recipe, provenance or {})
    return document("run/page.html.j2", head, content)
