"""The report: one self-contained HTML page that opens from disk and asks no network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from potstill.durable import write_bytes
from potstill.errors import PotstillError
from potstill.report.view import context
from potstill.work.rundir import read_metrics

MOST_BYTES = 300_000


def render(run_root: Path, provenance: Mapping[str, Any] | None = None) -> Path:
    """Write `report.html` of an evaluated run and return its path.

    Reads evaluation.json, metrics.jsonl and recipe.yaml of the run directory. `provenance`
    holds facts for the page's last table (teacher, licences, terms decision, digests), nested
    as one likes; without it the evaluation's own `provenance` is shown, where it has one.
    Raises PotstillError where the run has no readable evaluation, or the disk is full; a report
    that was there before then stays as it was.
    """
    evaluation = _read_evaluation(run_root / "evaluation.json")
    recipe = run_root / "recipe.yaml"
    facts = provenance if provenance is not None else evaluation.get("provenance")
    text = page(
        evaluation,
        read_metrics(run_root),
        recipe.read_text(encoding="utf-8") if recipe.exists() else "",
        facts or {},
    )
    path = run_root / "report.html"
    write_bytes(path, text.encode())
    return path


def page(
    evaluation: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]] = (),
    recipe: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> str:
    """Return the page as text: no script, no outside reference, at most `MOST_BYTES`.

    Its content security policy allows the page's own style sheet, by digest, and nothing else,
    so that not even a mistake in escaping could run or load anything.
    """
    style = resources.files("potstill.report").joinpath("style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        style=Markup(style),  # ours, not a model's
        policy=f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        **context(evaluation, metrics, recipe, provenance or {}),
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("potstill.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2")


def _read_evaluation(path: Path) -> dict[str, Any]:
    if not path.exists():
        raise PotstillError(
            f"{path.parent} has no evaluation yet; run `potstill evaluate` on it first."
        )
    try:
        evaluation = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        evaluation = None
    if not isinstance(evaluation, dict):
        raise PotstillError(
            f"{path} is not readable JSON; delete it and run `potstill evaluate` again."
        )
    return evaluation
