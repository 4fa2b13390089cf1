"""Which stage a field decides about, for every field there is."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.recipe import Recipe
from potstill.recipe.stages import ORDER, changes_between, first_stage, from_stage, stage_of

SECTIONS = {
    "teacher": "collect",
    "prompts": "collect",
    "collect": "collect",
    "curate": "curate",
    "shrink": "shrink",
    "train": "train",
    "cost": "report",
}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "run", "teacher": {"model": "a/b"}, **sections})


@pytest.mark.parametrize("section", list(SECTIONS))
def test_every_field_of_a_section_is_its_own_stages_or_an_earlier_ones(section: str) -> None:
    for name in type(getattr(recipe(), section)).model_fields:
        stage = stage_of(f"{section}.{name}", recipe())
        assert ORDER.index(stage) <= ORDER.index(SECTIONS[section]), name
        if stage != SECTIONS[section]:
            assert (section, name) == ("train", "cross_entropy")


@pytest.mark.parametrize(
    ("field", "sections", "stage"),
    [
        ("seed", {}, "collect"),
        ("device", {}, "collect"),
        ("name", {}, "report"),
        ("train.temperature", {}, "train"),
        ("train.temperature", {"collect": {"targets": "sampled"}}, "collect"),
        ("train.temperature", {"collect": {"targets": "top-k"}}, "collect"),
        ("student.model", {}, "curate"),
        ("evaluate.max_tokens", {}, "collect"),
        ("evaluate.cross_entropy_baseline", {}, "train"),
        ("evaluate.resamples", {}, "evaluate"),
        ("task.json_schema", {}, "evaluate"),
        ("task.gold", {}, "curate"),
        ("task", {}, "collect"),
        ("collect.slots", {}, "collect"),
        ("train.lora.rank", {}, "train"),
        ("teacher.endpoint.price_in", {}, "report"),
        ("teacher.endpoint.price_out", {"task": {"kind": "text"}}, "evaluate"),
        ("cost.machine_hour", {}, "report"),
        ("cost.machine_hour", {"task": {"kind": "text"}}, "evaluate"),
        ("cost.currency", {"task": {"kind": "text"}}, "report"),
    ],
)
def test_fields_that_decide_about_another_stage(
    field: str, sections: dict[str, Any], stage: str
) -> None:
    assert stage_of(field, recipe(**sections)) == stage


def test_right_answers_that_are_trained_on_belong_to_collect() -> None:
    gold = recipe(
        student={"model": "c/d"},
        collect={"gold": True},
        task={"kind": "text", "gold": "right"},
        train={"cross_entropy": 1},
    )
    assert stage_of("task.gold", gold) == "collect"


def test_how_a_server_is_reached_is_no_change() -> None:
    served = {"url": "http://localhost:1/v1", "budget_tokens": 5, "provider": "p"}
    one = recipe(
        teacher={"model": "m", "endpoint": served},
        student={"model": "c/d"},
        collect={"targets": "none"},
        train={"cross_entropy": 1},
    )
    stored = one.model_dump(mode="json")
    stored["teacher"]["endpoint"] |= {"url": "http://localhost:2/v1", "budget_tokens": None}
    assert changes_between(stored, one) == []
    stored["teacher"]["endpoint"]["provider"] = "another"
    (change,) = changes_between(stored, one)
    assert (change.field, change.stage) == ("teacher.endpoint.provider", "collect")


def test_the_first_of_several_changes_decides() -> None:
    stored = recipe().model_dump(mode="json")
    other = recipe(cost={"machine_hour": 9}, train={"epochs": 2}, shrink={"drop_layers": 1})
    changes = changes_between(stored, other)
    assert [str(c) for c in changes if c.field == "train.epochs"] == [
        "train.epochs is 1.0 there and 2.0 in this recipe"
    ]
    assert first_stage(changes) == "shrink"
    assert from_stage("train") == ("train", "evaluate", "report")


def test_fewer_slots_leave_stored_answers_of_use() -> None:
    stored = recipe().model_dump(mode="json")
    (slots,) = changes_between(stored, recipe(collect={"slots": 4}))
    (tokens,) = changes_between(stored, recipe(collect={"max_tokens": 4}))
    assert slots.asks_more and not tokens.asks_more
