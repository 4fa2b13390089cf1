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


SERVED: dict[str, Any] = {
    "name": "n",
    "teacher": {
        "model": "t",
        "endpoint": {
            "url": "http://127.0.0.1:1/v1",
            "provider": "p",
            "top_logprobs": 8,
            "scores_text": True,
        },
    },
    "student": {"model": "s"},
    "collect": {"targets": "top-k"},
    "train": {"on_policy": {}},
}


def served(**changes: Any) -> dict[str, Any]:
    """Return a recipe that learns on own text from a server, with endpoint fields changed."""
    train, collect = changes.pop("train", {}), changes.pop("collect", {})
    endpoint = {**SERVED["teacher"]["endpoint"], **changes}
    return SERVED | {
        "teacher": {"model": "t", "endpoint": endpoint},
        "train": {**SERVED["train"], **train},
        "collect": {**SERVED["collect"], **collect},
    }


def test_a_server_that_reads_given_text_may_read_own_text() -> None:
    Recipe.model_validate(served())
    # So may one that reads answers which others gave.
    Recipe.model_validate(served(collect={"calls": {"path": "c.jsonl", "source": "x"}}))
    # How the student writes is its own affair.
    Recipe.model_validate(served(train={"on_policy": {"temperature": 0.7}}))
    Recipe.model_validate(served(train={"on_policy": {"keep_by": "teacher"}}))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scores_text": False}, r"unless the server reads what the student writes: set teacher"),
        (
            {"scores_text": False, "top_logprobs": 0, "collect": {"targets": "none"}},
            r"llama.cpp's server has nothing of the kind",
        ),
        ({"train": {"temperature": 1.3}}, r"train.temperature 1.3, .* set train.temperature to 1"),
        ({"train": {"cross_entropy": 1.0}}, "train.cross_entropy 1 and train.on_policy"),
        ({"train": {"on_policy": {"keep_by": "own"}}}, "leave keep_by out, or set it to teacher"),
        ({"train": {"on_policy": {"keep_by": "both"}}}, "keep_by both and teacher.endpoint"),
    ],
)
def test_a_server_that_cannot_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Recipe.model_validate(served(**changes))


def test_by_default_stored_answers_come_first() -> None:
    recipe = Recipe.model_validate(
        {"name": "n", "teacher": {"model": "t"}, "train": {"on_policy": {}}}
    )
    assert recipe.train.on_policy is not None
    assert recipe.train.on_policy.stored_first == 0.25
    assert Recipe.model_validate({"name": "n", "teacher": {"model": "t"}}).train.on_policy is None
