"""teacher.endpoint: what is read, and the exact words of what is refused."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.recipe.io import dump_recipe, parse_recipe

BASE = """name: mine
teacher:
  model: m
  endpoint:
    url: http://127.0.0.1:8000/v1/
    provider: local
collect:
  targets: none
student:
  model: s
train:
  cross_entropy: 1
"""


READS = (
    "teacher.endpoint.scores_text=true",
    "teacher.endpoint.top_logprobs=4",
    "collect.targets=top-k",
    "collect.top_k_targets=4",
    "train.cross_entropy=0",
)


def refusal(*overrides: str, text: str = BASE) -> str:
    with pytest.raises(PotstillError) as caught:
        parse_recipe(text, "r.yaml", overrides)
    return str(caught.value)


def test_an_endpoint_is_read_and_reads_back_the_same() -> None:
    overrides = ["teacher.endpoint.extra={top_k: null, a: {b: [1]}}", "teacher.endpoint.budget=2.5"]
    overrides += ["teacher.endpoint.price_in=1", "teacher.endpoint.price_out=0"]
    recipe = parse_recipe(BASE, "r.yaml", overrides)
    endpoint = recipe.teacher.endpoint
    assert endpoint is not None
    assert endpoint.url == "http://127.0.0.1:8000/v1"
    assert endpoint.extra == {"top_k": None, "a": {"b": [1]}}
    assert parse_recipe(dump_recipe(recipe), "r.yaml") == recipe


@pytest.mark.parametrize(
    "more",
    [
        ("collect.calls={path: calls.jsonl}",),
        # Past calls were drawn at whatever temperature.
        ("collect.calls={path: calls.jsonl}", "collect.temperature=0.7"),
        ("collect.gold=true", "task={kind: label, labels: [a, b], gold: kind}"),
        (),
    ],
)
def test_a_server_may_read_answers_that_come_in_files(more: tuple[str, ...]) -> None:
    recipe = parse_recipe(BASE, "r.yaml", [*READS, *more])
    assert recipe.served_targets and recipe.text_only
    assert recipe.reads_given == bool(more)


def test_without_one_the_teacher_has_weights() -> None:
    assert parse_recipe(BASE, "r.yaml", ["teacher.endpoint=null"]).teacher.endpoint is None


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["collect.targets=hidden"],
            "collect.targets hidden and teacher.endpoint cannot be combined: a server tells its "
            "likeliest tokens at most; set collect.targets to none, or to top-k with "
            "teacher.endpoint.top_logprobs 8",
        ),
        (
            ["teacher.endpoint.scores_text=true"],
            "teacher.endpoint.scores_text and collect.targets none cannot be combined: what the "
            "server tells of given text would not be kept; set collect.targets to top-k and "
            "teacher.endpoint.top_logprobs to as many as collect.top_k_targets, or take "
            "scores_text out",
        ),
        (
            [*READS, "train.cross_entropy=1"],
            "teacher.endpoint.scores_text and train.cross_entropy 1 cannot be combined: the server "
            "would read text for nothing; lower train.cross_entropy, or take scores_text out",
        ),
        (
            [*READS, "teacher.endpoint.scores_text=false", "collect.calls={path: calls.jsonl}"],
            "collect.targets top-k and collect.calls cannot be combined: these answers come "
            "without a distribution; set collect.targets to none, or teacher.endpoint.scores_text "
            "where the server can read given text (vLLM's prompt_logprobs)",
        ),
        (
            [*READS, "teacher.endpoint.extra={chat_template_kwargs: {enable_thinking: false}}"],
            "chat_template_kwargs in teacher.endpoint.extra and teacher.endpoint.scores_text "
            "cannot be combined: text to read is sent as the ids that student.model's own "
            "template makes; take it out, or scores_text",
        ),
        (
            ["collect.gold=true", "task={kind: label, labels: [a, b], gold: kind}"],
            "teacher.endpoint and collect.gold cannot be combined: each says where the answers "
            "come from; keep one",
        ),
        (
            ["collect.calls={path: calls.jsonl}"],
            "teacher.endpoint and collect.calls cannot be combined: each says where the answers "
            "come from; keep one",
        ),
        (
            ["teacher.endpoint=null", "curate.reasoning=leave_out"],
            "curate.reasoning leave_out needs a teacher that gives text alone: one with weights is "
            "learnt from token by token, reasoning included; set it to keep",
        ),
        (
            ["teacher.revision=main"],
            "teacher.revision and teacher.endpoint cannot be combined: no weights are loaded; "
            "state it in teacher.endpoint.revision instead",
        ),
        (
            ["teacher.trust_remote_code=true"],
            "teacher.trust_remote_code and teacher.endpoint cannot be combined: no weights are "
            "loaded; remove it",
        ),
        (
            ["prompts.source=magpie"],
            "prompts from magpie and teacher.endpoint cannot be combined: a chat server does not "
            "write the user's turn; take prompts from a file, or from starter",
        ),
        (
            ["teacher.endpoint.budget=1"],
            "teacher.endpoint.budget needs teacher.endpoint.price_in and price_out; give both "
            "(0 where it is free), or set budget_tokens instead",
        ),
        (
            ["teacher.endpoint.extra={n: 2}"],
            "teacher.endpoint.extra must not hold n: potstill sets it itself; remove it",
        ),
        (
            ["teacher.endpoint.extra={since: 2026-01-01}"],
            "teacher.endpoint.extra.since is `2026-01-01`, which YAML reads as a date; put it in "
            "quotes",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: list[str], words: str) -> None:
    assert refusal(*overrides).partition(": ")[2] == words


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h/v1", "http://", "http://h:99999/v1"])
def test_a_url_must_be_one(url: str) -> None:
    assert "must be a URL such as" in refusal(f"teacher.endpoint.url='{url}'")


@pytest.mark.parametrize(
    "override",
    [
        "teacher.endpoint.url=http://me:SECRET9@h/v1",
        "teacher.endpoint.url=http://h/v1?key=SECRET9",
        "teacher.endpoint.key_env=sk-SECRET9",
        "teacher.endpoint.key_env=sk_live_SECRET9",
        "teacher.endpoint.key=SECRET9",
        "teacher.endpoint.api_key=SECRET9",
        "teacher.api_key=SECRET9",
        "token=SECRET9",
    ],
)
def test_a_key_in_the_recipe_is_refused_and_not_shown(override: str) -> None:
    assert "SECRET9" not in refusal(override)
