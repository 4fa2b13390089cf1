"""How much each token is needed costs the teacher no more reading than is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline_runs
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.runs.parts import Parts
from potstill.shrink import text_needs as module
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
        parts = Parts(run, recipe, Silent())
        rows = parts.corpus.exchanges("train")
        positions = sum(len(row.ids[1]) for row in rows)
        monkeypatch.setattr(module, "_COST_POSITIONS", positions // 10)
        read: list[Any] = []
        plain = module.response_hidden

        def counted(model: Any, sequences: Any, **options: Any) -> Any:
            read.extend(sequences)
            return plain(model, sequences, **options)

        monkeypatch.setattr(module, "response_hidden", counted)
        weight_V = module.token_weights(parts.corpus)
        parts.store.close()
    stride = positions // (positions // 10)
    assert len(read) == (0 if targets == "hidden" else len(range(0, len(rows), stride)))
    ids = torch.tensor([i for row in rows for part in row.ids for i in part])
    count_V = torch.bincount(ids, minlength=len(weight_V))
    # Each time that a token stands in the text is a nat; the teacher's distributions add theirs.
    assert bool((weight_V >= count_V).all())
    assert weight_V.sum() > count_V.sum()
