"""What the stages are handed of the teacher's text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline_runs
from potstill.job import Job
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.stages import inputs as stage_inputs
from potstill.work.rundir import RunDir


@pytest.mark.parametrize("targets", ["hidden", "none"])
def test_weighing_tokens_has_the_teacher_read_no_more_than_is_used(
    targets: str,
    nano_llama: Path,
    nano_prompts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Stored states are used as they are; without them one row in ten is read, not all."""
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts, collect={"targets": targets})
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    recipe = Recipe.model_validate(values)
    with RunDir.open(tmp_path / "run", recipe) as run:
        job = Job(run, recipe, Silent())
        rows = job.exchanges("train")
        positions = sum(len(row.ids[1]) for row in rows)
        monkeypatch.setattr(stage_inputs, "_COST_POSITIONS", positions // 10)
        read: list[Any] = []
        plain = stage_inputs.response_hidden

        def counted(model: Any, sequences: Any, **options: Any) -> Any:
            read.extend(sequences)
            return plain(model, sequences, **options)

        monkeypatch.setattr(stage_inputs, "response_hidden", counted)
        weight_V = stage_inputs.token_weights(job)
        job.store.close()
    stride = positions // (positions // 10)
    assert len(read) == (0 if targets == "hidden" else len(range(0, len(rows), stride)))
    ids = torch.tensor([i for row in rows for part in row.ids for i in part])
    count_V = torch.bincount(ids, minlength=len(weight_V))
    # Each time that a token stands in the text is a nat; the teacher's distributions add theirs.
    assert bool((weight_V >= count_V).all())
    assert weight_V.sum() > count_V.sum()


def test_validation_leaves_the_vocabulary_of_the_student_it_measured_last(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    """A search goes back and forth between vocabularies; what follows reads as the last one."""
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    with RunDir.open(tmp_path / "run", Recipe.model_validate(values)) as run:
        job = Job(run, Recipe.model_validate(values), Silent())
        merges = merges_of(job.teacher.tokenizer)
        weight_V = stage_inputs.token_weights(job)
        kept = [tuple(choose_tokens(merges, weight_V, count)) for count in (300, 400)]
        measure = stage_inputs.validation(job)
        students = [pruned(job.teacher, Cut(kept_tokens=tokens)) for tokens in (None, *kept)]
        first = [measure(*pair)["kl"] for pair in students]
        assert first[0] == pytest.approx(0, abs=1e-5)
        assert first[1] > first[2] > 0
        for index in (0, 2, 1, 2, 0):
            assert measure(*students[index])["kl"] == pytest.approx(
                first[index], rel=1e-5, abs=1e-6
            )
            assert job.vocabulary is students[index][1]
        job.store.close()
