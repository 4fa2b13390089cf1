"""Learning from a server's likeliest tokens: what goes together, and the words of what does not."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe, parse_recipe

BASE = """name: mine
teacher:
  model: m
  endpoint:
    url: http://127.0.0.1:8000/v1
    provider: local
    top_logprobs: 8
collect:
  targets: top-k
student:
  model: s
"""


def recipe(*overrides: str) -> Recipe:
    return parse_recipe(BASE, "r.yaml", list(overrides))


def refusal(*overrides: str) -> str:
    with pytest.raises(PotstillError) as caught:
        recipe(*overrides)
    return str(caught.value).partition(": ")[2]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["train.cross_entropy=0.3", "train.objective=jsd"],
        ["train.cross_entropy=1", "train.temperature=2"],
        ["collect.top_k_targets=20", "teacher.endpoint.top_logprobs=20"],
        ["shrink.parameters=0.5", "shrink.axes=[depth, ffn]"],
        ["teacher.endpoint.extra={top_k: null, min_p: 0.0, temperature: 1.0, logprobs: true}"],
    ],
)
def test_likeliest_tokens_of_a_server_are_learnt_from(overrides: list[str]) -> None:
    found = recipe(*overrides)
    assert found.served_targets
    assert parse_recipe(dump_recipe(found), "r.yaml") == found


def test_text_alone_asks_for_none() -> None:
    text = ["collect.targets=none", "teacher.endpoint.top_logprobs=0", "train.cross_entropy=1"]
    assert not recipe(*text).served_targets


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["teacher.endpoint.top_logprobs=0"],
            "collect.top_k_targets 8 and teacher.endpoint.top_logprobs 0 cannot be combined: as "
            "many tokens are kept as the server is asked for; set both to the same number, or "
            "collect.targets to none and top_logprobs to 0",
        ),
        (
            ["collect.targets=none", "train.cross_entropy=1"],
            "teacher.endpoint.top_logprobs 8 and collect.targets none cannot be combined: what the "
            "server is asked for would not be kept; set collect.targets to top-k, or "
            "teacher.endpoint.top_logprobs to 0",
        ),
        (
            ["collect.targets=none", "teacher.endpoint.top_logprobs=0", "train.cross_entropy=0.5"],
            "train.cross_entropy 0.5 and teacher.endpoint cannot be combined: the rest would be a "
            "divergence from distributions that are not at hand; set train.cross_entropy to 1, or, "
            "where the server gives log-probabilities, collect.targets to top-k and "
            "teacher.endpoint.top_logprobs to as many as collect.top_k_targets",
        ),
        (
            ["collect.temperature=0.7"],
            "collect.temperature 0.7 and collect.targets top-k cannot be combined with "
            "teacher.endpoint: servers differ in whether their log-probabilities are those before "
            "or after it; set collect.temperature to 1, or collect.targets to none",
        ),
        (
            ["teacher.endpoint.extra={min_p: 0.05}"],
            "min_p in teacher.endpoint.extra and collect.targets top-k cannot be combined: the "
            "server's log-probabilities might not be the teacher's own; take it out, or set "
            "collect.targets to none",
        ),
        (
            ["train.temperature=2"],
            "collect.targets top-k and train.temperature 2 cannot be combined: the likeliest "
            "tokens do not say what the rest is at another temperature; set train.temperature to "
            "1, or train.cross_entropy to 1",
        ),
        (
            ["shrink.vocabulary=400"],
            "collect.targets top-k and shrink.vocabulary cannot be combined: where the mass of "
            "removed tokens goes is not known of the rest; leave the vocabulary whole, or set "
            "train.cross_entropy to 1",
        ),
        (
            ["teacher.precision=int8"],
            "teacher.precision is for a teacher that is loaded here and answers: these answers "
            "come from a server or from files; remove it",
        ),
        (
            ["student.model=null"],
            "teacher.endpoint gives text and no weights to make a student from; name a model in "
            "student.model (shrink makes it smaller, where it says so)",
        ),
        (
            ["collect.gold=true"],
            "collect.targets top-k and collect.gold cannot be combined: these answers come without "
            "a distribution; set collect.targets to none, or teacher.endpoint.scores_text where "
            "the server can read given text (vLLM's prompt_logprobs)",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: str) -> None:
    assert refusal(*overrides) == words


@pytest.mark.parametrize("override", ["collect.top_p=0.9", "collect.top_k=40"])
def test_truncated_draws_are_refused(override: str) -> None:
    assert override.partition("=")[0] in refusal(override)
