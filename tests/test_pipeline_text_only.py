"""The whole way where only answers are at hand: gold ones, and past calls."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from transformers import AutoModelForCausalLM

import pipeline_runs
from pipeline_runs import PLACES, THINGS
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import Recipe
from potstill.work.evaluation import Evaluation


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows with a right answer: which of two kinds a thing is."""
    draw = random.Random(0)
    found: dict[str, dict[str, str]] = {}
    while len(found) < 120:
        thing, place, count = draw.choice(THINGS), draw.choice(PLACES), draw.randrange(2, 999)
        text = f"{count} {thing}s wait near the {place} {draw.choice(PLACES)}"
        found[text] = {"text": text, "kind": "goods" if thing < "l" else "other", "place": place}
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in found.values()), encoding="utf-8")
    return path


def task_values(student: Path, rows: Path, **sections: Any) -> dict[str, Any]:
    values = pipeline_runs.recipe_values(
        "gold",
        rows,
        student={"model": str(student)},
        collect={"gold": True},
        train={"cross_entropy": 1.0},
        task={
            "kind": "label",
            "labels": ["goods", "other"],
            "gold": "kind",
            "slice": "place",
            "max_tokens": 8,
        },
        **sections,
    )
    values["prompts"] |= {"template": "Sort this: {text}"}
    values["shrink"] = sections.get("shrink", {})
    return values


def test_a_model_is_trained_on_the_right_answers_that_rows_hold(
    nano_llama: Path, rows: Path, tmp_path: Path
) -> None:
    values = task_values(nano_llama, rows)
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    store = ExchangeStore(run.root)
    stored = store.read()
    store.close()
    assert {row.response for row in stored} == {"goods", "other"}
    assert {row.teacher for row in stored} == {"gold"} and all(
        row.ids == ((), ()) for row in stored
    )
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    assert evaluation.models.teacher is None
    assert evaluation.models.student.perplexity.value < evaluation.models.untrained.perplexity.value
    below = evaluation.differences.student_minus_untrained_nll
    assert below is not None and below.value < 0
    assert evaluation.curation is not None and evaluation.curation.train_kept == 60
    assert evaluation.task is not None and evaluation.task.n == 12
    # Right answers are nobody's: there is no teacher to score or to compare with.
    assert evaluation.answers == "gold" and evaluation.task.teacher is None
    assert evaluation.task.comparison is None and evaluation.task.retention is None
    assert evaluation.task.agreement is None and evaluation.task.student.exact is not None
    assert evaluation.task.slices and evaluation.payback is None
    assert all(one.teacher is one.agreement is None for one in evaluation.task.slices)
    AutoModelForCausalLM.from_pretrained(run.student)
    page = run.report_path.read_text()
    shown = page[page.index("<main") : page.index("<summary>Package versions")]
    assert not re.findall(r"[^.>]*teacher[^.<]*", shown, re.IGNORECASE)
    assert "Right answer" in shown and "right answers a perplexity of" in shown
    # The student began as a trained model, whose training counts against one from scratch.
    cost = evaluation.cost
    assert cost.parent is not None and cost.parent.model == str(nano_llama)
    assert cost.parent.parameters == evaluation.models.student.params
    assert cost.ratio_flops_with_parent == pytest.approx(1 + cost.ratio_flops)
    assert "with the training of" in page


def test_a_student_is_cut_from_the_model_that_the_recipe_names(
    nano_llama: Path, rows: Path, tmp_path: Path
) -> None:
    values = task_values(
        nano_llama,
        rows,
        shrink={"drop_layers": 1, "candidates": 2, "calibration_tokens": 1500, "vocabulary": 400},
    )
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    whole = AutoModelForCausalLM.from_pretrained(nano_llama).num_parameters()
    assert evaluation.models.student.params < whole
    assert evaluation.cost.parent is not None and evaluation.cost.parent.parameters == whole
    assert evaluation.shrink is not None and len(evaluation.shrink.blocks) == 1


def test_past_calls_are_learnt_from(nano_llama: Path, tmp_path: Path) -> None:
    path = pipeline_runs.write_calls(tmp_path / "calls.jsonl")
    values = pipeline_runs.recipe_values(
        "some-model",
        "unused",
        student={"model": str(nano_llama)},
        collect={"calls": {"path": str(path), "source": "apache-2.0"}},
        train={"cross_entropy": 1.0},
    )
    del values["shrink"]
    run, notes = pipeline_runs.run(values, tmp_path / "run")
    evaluation = Evaluation.model_validate_json(run.evaluation_path.read_text())
    assert evaluation.held_out.prompts == 12
    assert evaluation.collection is not None and evaluation.collection.exchanges >= 70
    assert any("chat" in note for note in notes)
    manifest = json.loads(run.manifest_path.read_text())
    assert manifest["terms"]["licences"] == ["apache-2.0"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"student": {"model": None}}, "name a model in student.model"),
        ({"train": {"cross_entropy": 0.5}}, "set train.cross_entropy to 1"),
        ({"task": None}, "name their column in task.gold"),
    ],
)
def test_what_text_alone_cannot_give_is_refused(change: dict[str, Any], said: str) -> None:
    values = task_values(Path("student"), Path("rows.jsonl"))
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(values | change)
