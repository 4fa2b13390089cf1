"""Held-out answers of a teacher with weights are asked for once, and priced all the same."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import pipeline_runs
from potstill.job import Job
from potstill.models.load import load
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.stages import tasks
from potstill.work.plan import PromptPlan
from potstill.work.rundir import RunDir

HELD_OUT, PRICED = 12, 4


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, int]]:
    """(model, number of prompts) of every call for greedy texts."""
    calls: list[tuple[Any, int]] = []
    plain = tasks.greedy_texts

    def counted(model: Any, prompts: Any, **options: Any) -> list[str]:
        calls.append((model, len(prompts)))
        return plain(model, prompts, **options)

    monkeypatch.setattr(tasks, "greedy_texts", counted)
    monkeypatch.setattr(tasks, "_PRICED_ROWS", PRICED)
    return calls


def collected(teacher: Path, prompts: Path, root: Path, *, max_tokens: int, greedy: bool) -> Recipe:
    values = pipeline_runs.recipe_values(
        teacher,
        prompts,
        task={"kind": "text", "max_tokens": max_tokens},
        evaluate={"greedy": greedy},
    )
    values["prompts"]["limit"] = 20
    pipeline_runs.run(values, root, until="curate")
    return Recipe.model_validate(values)


def test_the_very_same_answers_are_not_asked_for_again(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path, asked: list[tuple[Any, int]]
) -> None:
    recipe = collected(nano_llama, nano_prompts, tmp_path / "run", max_tokens=24, greedy=True)
    student = load(str(nano_llama), precision="fp32")
    with RunDir.open(tmp_path / "run", recipe) as run:
        job = Job(run, recipe, Silent())
        found = tasks.scored_task(job, student)
        assert found is not None and found["scores"]["left_out"] == {}
        # The teacher is asked for a price alone, on rows that the student is priced on too.
        assert [n for model, n in asked if model is job.teacher] == [PRICED, 0]
        assert [n for model, n in asked if model is student] == [PRICED, HELD_OUT - PRICED]
        assert found["scores"]["agreement"]["value"] == 1
        assert found["prices"]["teacher"]["seconds_per_call"] > 0
        plan = PromptPlan.from_record(job.run.done("prompts") or {})
        stored = tasks._stored_answers(job, plan.held_out)
        assert stored == tasks._asked(job, job.teacher, plan.held_out)
        assert len(stored) == HELD_OUT
        job.store.close()


@pytest.mark.parametrize(("max_tokens", "greedy"), [(16, True), (24, False)])
def test_anything_else_is_asked_for(
    max_tokens: int,
    greedy: bool,
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    asked: list[tuple[Any, int]],
) -> None:
    recipe = collected(
        nano_llama, nano_prompts, tmp_path / "run", max_tokens=max_tokens, greedy=greedy
    )
    with RunDir.open(tmp_path / "run", recipe) as run:
        job = Job(run, recipe, Silent())
        found = tasks.scored_task(job, load(str(nano_llama), precision="fp32"))
        assert found is not None and found["scores"]["agreement"]["value"] == 1
        assert [n for _, n in asked] == [HELD_OUT, 0] * 2
        job.store.close()


def test_fidelity_may_take_fewer_prompts_than_the_task(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    values = pipeline_runs.recipe_values(
        nano_llama,
        nano_prompts,
        task={"kind": "text", "max_tokens": 24},
        evaluate={"fidelity_prompts": 5},
    )
    values["prompts"]["limit"] = 20
    run, _ = pipeline_runs.run(values, tmp_path / "run")
    evaluation = json.loads(run.evaluation_path.read_text(encoding="utf-8"))
    assert evaluation["held_out"]["prompts"] == 5
    student = evaluation["models"]["student"]
    assert student["kl_per_token"]["n"] == student["greedy"]["kl_per_token"]["n"] == 5
    assert evaluation["task"]["n"] == evaluation["overlap"]["held_out"] == HELD_OUT


@pytest.mark.parametrize(
    ("usages", "mean"),
    [
        ([{"completion_tokens": 4}, {"completion_tokens": 8}], 6.0),
        ([{"completion_tokens": 4}, {}], None),
        ([{}, {"prompt_tokens": 9}], None),
        ([], None),
    ],
)
def test_usage_that_a_server_did_not_state_is_no_0(
    usages: list[dict[str, int]], mean: float | None
) -> None:
    rows: Any = [SimpleNamespace(usage=usage) for usage in usages]
    assert tasks._mean(rows, "completion_tokens") == mean
