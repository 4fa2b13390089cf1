"""Hidden states are matched where somebody has the teacher's, and refused elsewhere."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from potstill.recipe import Recipe
from potstill.recipe.io import dump_recipe, parse_recipe


def recipe(sections: dict[str, Any], matching: dict[str, Any] | None = None) -> Recipe:
    train = {"hidden_matching": matching or {}, **sections.get("train", {})}
    values = {"name": "n", "teacher": {"model": "t"}, **sections, "train": train}
    return Recipe.model_validate(values)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        (
            {
                "teacher": {
                    "model": "t",
                    "endpoint": {"provider": "p", "url": "http://localhost:1/v1"},
                },
                "collect": {"targets": "none"},
                "student": {"model": "s"},
            },
            "teacher.endpoint and train.hidden_matching cannot be combined: a server gives no",
        ),
        (
            {
                "collect": {"calls": {"path": "c.jsonl", "source": "x"}, "targets": "none"},
                "student": {"model": "s"},
            },
            "collect.calls and train.hidden_matching cannot be combined",
        ),
        (
            {"collect": {"watermark": {"key": "k", "scheme": "green"}, "targets": "sampled"}},
            "collect.watermark and train.hidden_matching cannot be combined",
        ),
        ({"train": {"cross_entropy": 1.0}}, "train.cross_entropy 1 and train.hidden_matching"),
        ({"collect": {"targets": "sampled"}}, "collect.targets sampled and train.hidden_matching"),
        ({"collect": {"targets": "top-k"}}, "collect.targets top-k and train.hidden_matching"),
    ],
)
def test_what_has_no_states_is_refused(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        recipe(sections)


def test_compiled_blocks_do_not_show_what_they_give() -> None:
    compiled = {"train": {"compile": "always"}}
    with pytest.raises(ValidationError, match=r"compile always and train\.hidden_matching"):
        recipe(compiled, {"layers": "blocks"})
    assert recipe(compiled).train.hidden_matching is not None


@pytest.mark.parametrize(
    "layers", [[], [[1, 2], [1, 2]], ["last", "last"], [[1]], "all", [[1, "last"]]]
)
def test_layers_are_pairs_of_blocks(layers: Any) -> None:
    with pytest.raises(ValidationError):
        recipe({}, {"layers": layers})


def test_by_default_what_is_stored_is_matched_and_nothing_is_read() -> None:
    found = recipe({}).train.hidden_matching
    assert found is not None and found.layers == "last" and not found.reads
    plain = Recipe.model_validate({"name": "n", "teacher": {"model": "t"}})
    assert plain.train.hidden_matching is None


def test_pairs_survive_being_written_and_read() -> None:
    whole = recipe({}, {"layers": [[0, 1], "last", [2, 5]]})
    assert parse_recipe(dump_recipe(whole), "recipe.yaml") == whole
    found = whole.train.hidden_matching
    assert found is not None and found.layers == ((0, 1), "last", (2, 5)) and found.reads
