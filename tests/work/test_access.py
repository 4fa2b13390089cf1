"""Who can be asked: each recipe that is not refused gives the kind that its fields say."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.recipe import EndpointConfig, Recipe
from potstill.work.access import Access, PastCalls, RightAnswers, Server, Weights

URL = "http://127.0.0.1:8000/v1"
TASK = {"kind": "label", "labels": ["a", "b"], "gold": "right"}


def values(
    endpoint: dict[str, Any] | None, source: dict[str, Any], targets: str, student: bool, task: bool
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "mine",
        "teacher": {"model": "maker/large"},
        "prompts": {"source": "rows.jsonl"},
        "collect": {"targets": targets, "top_k_targets": 4, **source},
        "train": {"cross_entropy": 1 if targets == "none" else 0},
        "shrink": {} if student else {"drop_layers": 1},
    }
    if endpoint is not None:
        found["teacher"]["endpoint"] = {"url": URL, "provider": "local", **endpoint}
    if student:
        found["student"] = {"model": "maker/small"}
    if task:
        found["task"] = TASK
    return found


def recipes() -> Iterator[Recipe]:
    """Yield every recipe of these choices that is not refused."""
    endpoints = (
        None,
        {},
        {"top_logprobs": 4},
        {"top_logprobs": 4, "scores_text": True},
        {"scores_text": True},
    )
    calls = {"path": "log.jsonl", "source": "apache-2.0"}
    sources: tuple[dict[str, Any], ...] = (
        {},
        {"calls": calls},
        {"calls": {**calls, "use": "prompts"}},
        {"gold": True},
    )
    targets, either = ("hidden", "top-k", "none"), (False, True)
    for choice in product(endpoints, sources, targets, either, either):
        try:
            yield Recipe.model_validate(values(*choice))
        except (ValidationError, PotstillError):
            continue


EVERY = list(recipes())


def kinds(access: Access) -> tuple[str, str, bool, bool]:
    scorer = "" if access.scorer is None else type(access.scorer).__name__
    return (
        type(access.author).__name__,
        scorer,
        access.reader is not None,
        access.student is not None,
    )


def test_every_kind_of_recipe_is_there() -> None:
    """So that what holds for all of them says something."""
    assert {kinds(Access.of(recipe)) for recipe in EVERY} == {
        ("Weights", "Weights", False, False),
        ("Weights", "Weights", False, True),
        ("Server", "", False, True),
        ("Server", "Server", False, True),
        ("PastCalls", "", False, True),
        ("PastCalls", "Server", True, True),
        ("RightAnswers", "", False, True),
        ("RightAnswers", "Server", True, True),
    }


@given(st.sampled_from(EVERY))
def test_access_says_what_the_recipe_s_refusals_go_by(recipe: Recipe) -> None:
    access = Access.of(recipe)
    endpoint = recipe.teacher.endpoint
    assert (not isinstance(access.author, Weights)) == recipe.text_only
    assert access.author.can_answer != recipe.collect.answers_given
    assert (access.target_server is not None) == recipe.served_targets
    assert (access.reader is not None) == recipe.reads_given
    if access.reader is not None:
        assert access.reader.reads_given_text and access.reader == access.target_server
    assert (access.server is not None) == (endpoint is not None)
    # Without its author's weights a student is made from the one that the recipe names.
    assert access.parent == (access.author if not recipe.text_only else access.student)
    assert access.weights == (None if recipe.text_only else access.parent)
    assert (access.student is not None) == (recipe.student.model is not None)
    assert access.author.has_states == (not recipe.text_only)
    assert access.author.model == recipe.teacher.model


def test_who_is_loaded_is_loaded_as_the_recipe_says() -> None:
    teacher = {"revision": "v2", "template_arguments": {"a": 1}, "trust_remote_code": True}
    found = values(None, {}, "hidden", True, False)
    found["teacher"] |= teacher
    access = Access.of(Recipe.model_validate(found))
    assert access.author == Weights("maker/large", "v2", True, {"a": 1})
    # A student's code is never run, and it speaks as its teacher does.
    assert access.student == Weights("maker/small")
    found = values({}, {}, "none", True, False)
    found["student"]["template_arguments"] = {"brief": True}
    access = Access.of(Recipe.model_validate(found))
    assert access.parent == Weights("maker/small", template_arguments={"brief": True})


def test_past_calls_keep_where_they_are_and_a_server_what_it_tells() -> None:
    source = {"calls": {"path": "log.jsonl", "source": "mit"}}
    read = {"top_logprobs": 4, "scores_text": True}
    access = Access.of(Recipe.model_validate(values(read, source, "top-k", True, False)))
    assert isinstance(access.author, PastCalls) and access.author.calls.source == "mit"
    assert access.reader is not None and access.reader.tells_targets
    asked = Access.of(
        Recipe.model_validate(
            values({}, {"calls": {**source["calls"], "use": "prompts"}}, "none", True, False)
        )
    )
    # Calls that are asked anew have the server for an author.
    assert isinstance(asked.author, Server) and not asked.author.tells_targets
    assert asked.scorer is None and asked.target_server is None and asked.reader is None
    assert asked.server is asked.author


@pytest.mark.parametrize("scores", [False, True])
def test_a_server_reads_given_text_where_it_says_so(scores: bool) -> None:
    server = Server("m", EndpointConfig(url=URL, provider="local", scores_text=scores), True)
    assert server.reads_given_text == scores
    pinned = EndpointConfig(url=URL, provider="local", revision="r1")
    assert Server("m", pinned, True).identity != server.identity
    assert Server("n", server.endpoint, True).identity != server.identity
    moved = EndpointConfig(url="http://127.0.0.1:9/v1", provider="local")
    # Where a server stands decides nothing.
    assert Server("m", moved, False).identity == server.identity


def test_right_answers_are_nobody_s() -> None:
    gold = Access.of(Recipe.model_validate(values(None, {"gold": True}, "none", True, True)))
    assert isinstance(gold.author, RightAnswers) and not gold.author.can_answer
    assert gold.scorer is None and gold.server is None
