"""How much each token is needed costs the teacher no more reading than is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from learnt_stores import PLAN, answered
from potstill.exchanges.rows import Mark
from potstill.shrink import text_needs as module
from potstill.shrink.text_needs import calibration_rows, token_weights


@pytest.mark.parametrize("targets", ["hidden", "none"])
def test_weighing_tokens_has_the_teacher_read_no_more_than_is_used(
    targets: str, nano_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stored states are used as they are; without them one row in three is read, not all."""
    collect = {"max_tokens": 12, "targets": targets}
    corpus = answered(nano_llama, tmp_path, collect=collect).corpus()
    rows = corpus.exchanges("train")
    positions = sum(len(row.ids[1]) for row in rows)
    monkeypatch.setattr(module, "_COST_POSITIONS", positions // 3)
    read: list[Any] = []
    plain = module.response_hidden

    def counted(model: Any, sequences: Any, **options: Any) -> Any:
        read.extend(sequences)
        return plain(model, sequences, **options)

    monkeypatch.setattr(module, "response_hidden", counted)
    weight_V = token_weights(corpus)
    corpus.store.close()
    stride = positions // (positions // 3)
    assert stride > 1
    assert len(read) == (0 if targets == "hidden" else len(range(0, len(rows), stride)))
    ids = torch.tensor([i for row in rows for part in row.ids for i in part])
    count_V = torch.bincount(ids, minlength=len(weight_V))
    # Each time that a token stands in the text is a nat; the teacher's distributions add theirs.
    assert bool((weight_V >= count_V).all())
    assert weight_V.sum() > count_V.sum()


def test_a_cut_is_calibrated_on_what_curation_kept(nano_llama: Path, tmp_path: Path) -> None:
    corpus = answered(nano_llama, tmp_path).corpus()
    dropped, *kept = corpus.store.read("train")
    corpus.store.mark([Mark(dropped.exchange_id, "curate", False, "empty: x")])
    rows = calibration_rows(corpus, 10_000)
    assert rows == [prompt + response for prompt, response in (row.ids for row in kept)]
    assert len(rows) == len(PLAN.train) - 1
    few = calibration_rows(corpus, len(rows[0]) + 1)
    assert few == rows[:2]
    corpus.store.close()
