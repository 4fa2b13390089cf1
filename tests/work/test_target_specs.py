"""Which targets each split gets, for every wish that a recipe can have."""

from __future__ import annotations

import pytest

from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.recipe import CollectConfig
from potstill.work.target_specs import target_specs, training_spec


@pytest.mark.parametrize(
    ("wish", "spec"),
    [
        ("hidden", HIDDEN_FP16),
        ("hidden-int8", HIDDEN_INT8),
        ("sampled", TargetSpec("sampled", 7, 2.0)),
        ("top-k", TargetSpec("top-k", 3)),
        ("none", None),
    ],
)
def test_training_gets_what_is_wished_for(wish: str, spec: TargetSpec | None) -> None:
    config = CollectConfig.model_validate({"targets": wish, "draws": 7, "top_k_targets": 3})
    assert training_spec(config, 2.0) == spec
    found = target_specs(config, 2.0)
    assert found["train"] == spec
    # What is measured on is whole.
    assert found["validation"] == (None if spec is None else HIDDEN_FP16)
    assert found["held_out"] == HIDDEN_FP16
