"""Learning from own answers is refused where nobody can score them."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from potstill.recipe import Recipe


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {"collect": {"watermark": {"key": "k", "scheme": "green"}, "targets": "sampled"}},
            "collect.watermark and train.on_policy cannot be combined",
        ),
        (
            {
                "collect": {"calls": {"path": "c.jsonl", "source": "x"}, "targets": "none"},
                "student": {"model": "s"},
            },
            "collect.calls and train.on_policy cannot be combined",
        ),
        ({"train": {"cross_entropy": 1.0}}, "train.cross_entropy 1 and train.on_policy"),
    ],
)
def test_what_cannot_go_together_is_refused(sections: dict[str, Any], words: str) -> None:
    train = {"on_policy": {}, **sections.pop("train", {})}
    values = {"name": "n", "teacher": {"model": "t"}, **sections, "train": train}
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate(values)


def test_by_default_stored_answers_come_first() -> None:
    recipe = Recipe.model_validate(
        {"name": "n", "teacher": {"model": "t"}, "train": {"on_policy": {}}}
    )
    assert recipe.train.on_policy is not None
    assert recipe.train.on_policy.stored_first == 0.25
    assert Recipe.model_validate({"name": "n", "teacher": {"model": "t"}}).train.on_policy is None
