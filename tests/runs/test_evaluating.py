"""What a recipe asks evaluation for reaches it."""

from __future__ import annotations

from pathlib import Path

import pipeline_runs
from potstill.work.evaluation_file import read_evaluation

HELD_OUT = 12


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
    evaluation = read_evaluation(run.evaluation_path)
    assert evaluation is not None and evaluation.task is not None
    assert evaluation.held_out.prompts == 5
    student = evaluation.models.student
    assert student.kl_per_token is not None and student.greedy is not None
    assert student.kl_per_token.n == student.greedy.kl_per_token.n == 5
    assert evaluation.task.n == evaluation.overlap.held_out == HELD_OUT
