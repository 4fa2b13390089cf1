"""What measures students on validation prompts."""

from __future__ import annotations

from pathlib import Path

import pytest

import pipeline_runs
from potstill.evaluate.validation import validation
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.shrink.text_needs import token_weights
from potstill.shrink.vocabulary import choose_tokens, merges_of
from potstill.work.rundir import RunDir


def test_validation_reads_each_student_in_its_own_vocabulary(
    nano_llama: Path, nano_prompts: Path, tmp_path: Path
) -> None:
    """A search goes back and forth between vocabularies."""
    values = pipeline_runs.recipe_values(nano_llama, nano_prompts)
    pipeline_runs.run(values, tmp_path / "run", until="collect")
    with RunDir.open(tmp_path / "run", Recipe.model_validate(values)) as run:
        parts = Parts(run, Recipe.model_validate(values), Silent())
        merges = merges_of(parts.opened.teacher.tokenizer)
        weight_V = token_weights(parts.corpus)
        kept = [tuple(choose_tokens(merges, weight_V, count)) for count in (300, 400)]
        measure = validation(parts.corpus)
        students = [
            pruned(parts.opened.teacher, Cut(kept_tokens=tokens)) for tokens in (None, *kept)
        ]
        first = [measure(*pair)["kl"] for pair in students]
        assert first[0] == pytest.approx(0, abs=1e-5)
        assert first[1] > first[2] > 0
        for index in (0, 2, 1, 2, 0):
            assert measure(*students[index])["kl"] == pytest.approx(
                first[index], rel=1e-5, abs=1e-6
            )
        parts.store.close()
