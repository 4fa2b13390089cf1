"""Marked answers: what follows from a key, and what washes its mark out is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from potstill.recipe import CollectConfig, Recipe, TeacherConfig, WatermarkConfig
from potstill.recipe.stages import changes_between

KEY = {"key": "a.key"}
GUMBEL = {**KEY, "scheme": "gumbel"}
SERVED = {"model": "t", "endpoint": {"url": "http://127.0.0.1/v1", "provider": "local"}}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "a", "teacher": {"model": "t"}, **sections})


def test_without_a_key_nothing_changes() -> None:
    found = recipe()
    assert (found.collect.watermark, found.collect.targets) == (None, "hidden")
    assert found.train.cross_entropy == 0


def test_a_green_list_is_learnt_from_draws_and_written_down_whole() -> None:
    found = recipe(collect={"watermark": KEY})
    mark = found.collect.watermark
    assert mark is not None and found.collect.targets == "sampled"
    assert (mark.scheme, mark.window, mark.gamma, mark.delta) == ("green", 1, 0.5, 1.0)
    assert Recipe.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize("as_sections", [False, True])
def test_gumbel_is_learnt_from_text_alone(as_sections: bool) -> None:
    found = recipe(collect={"watermark": GUMBEL})
    if as_sections:
        mark = WatermarkConfig(key="a.key", scheme="gumbel")
        found = Recipe(
            name="a", teacher=TeacherConfig(model="t"), collect=CollectConfig(watermark=mark)
        )
    assert (found.collect.targets, found.train.cross_entropy) == ("none", 1)
    assert Recipe.model_validate(found.model_dump(mode="json")) == found


REFUSED = [
    ({"collect": {"watermark": KEY, "targets": "hidden"}}, "without the mark, which would be"),
    ({"collect": {"watermark": KEY, "targets": "hidden-int8"}}, "hidden-int8 and collect.water"),
    ({"collect": {"watermark": KEY, "targets": "top-k"}}, "how much is marked"),
    ({"collect": {"watermark": KEY, "targets": "none"}}, "the teacher would be asked again"),
    ({"collect": {"watermark": GUMBEL, "targets": "sampled"}}, "one token to write"),
    ({"collect": {"watermark": GUMBEL}, "train": {"cross_entropy": 0.5}}, "asked again"),
    ({"collect": {"watermark": KEY}, "train": {"objective": "jsd"}}, "forward_kl without a bias"),
    ({"collect": {"watermark": KEY}, "teacher": SERVED}, "--watermark-config"),
    ({"collect": {"watermark": KEY, "gold": True}}, "are written already"),
    (
        {"collect": {"watermark": KEY, "calls": {"path": "log.jsonl"}}},
        "set collect.calls.use to prompts",
    ),
    ({"collect": {"watermark": {**GUMBEL, "gamma": 0.5}}}, "it is a green list's"),
    ({"collect": {"watermark": {**GUMBEL, "delta": 2.0}}}, "it is a green list's"),
    ({"collect": {"watermark": {**KEY, "gamma": 1.0}}}, "less than 1"),
    ({"collect": {"watermark": {**KEY, "delta": 0.0}}}, "greater than 0"),
    ({"collect": {"watermark": {**KEY, "window": 0}}}, "greater than or equal to 1"),
    ({"collect": {"watermark": {"scheme": "green"}}}, "Field required"),
    ({"collect": {"watermark": {**KEY, "scheme": "vllm-sbw"}}}, "'green' or 'gumbel'"),
]


@pytest.mark.parametrize(("sections", "said"), REFUSED)
def test_what_cannot_be_is_refused_by_name(sections: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        recipe(**sections)
    assert said in str(caught.value)


def test_prompts_of_calls_may_be_answered_with_a_mark() -> None:
    calls = {"path": "log.jsonl", "use": "prompts"}
    assert recipe(collect={"watermark": KEY, "calls": calls}).collect.watermark is not None


def test_a_key_file_may_move_and_its_parameters_may_not() -> None:
    stored = recipe(collect={"watermark": KEY}).model_dump(mode="json")
    assert changes_between(stored, recipe(collect={"watermark": {"key": "moved.key"}})) == []
    (change,) = changes_between(stored, recipe(collect={"watermark": {**KEY, "delta": 3.0}}))
    assert (change.field, change.stage) == ("collect.watermark.delta", "collect")
    assert changes_between(recipe().model_dump(mode="json"), recipe(collect={"watermark": KEY}))
