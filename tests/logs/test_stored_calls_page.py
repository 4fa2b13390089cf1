"""The how-to's examples are read as it says; a recipe can name them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from potstill.logs import read_calls
from potstill.recipe import CallsConfig
from potstill.recipe.io import dump_recipe, parse_recipe

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "stored-calls.md"
EXAMPLES = dict(
    re.findall(r"`([a-z]+\.\w+)`\n\n```\w+\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
)


@pytest.mark.parametrize(
    ("names", "form", "responses"),
    [
        (["chat.jsonl"], "chat", {"Yes.", "No: 3 times 3.", "Teal."}),
        (["input.jsonl", "output.jsonl"], "batch", {"Yes."}),
        (["spend.jsonl"], "litellm", {"Yes."}),
        (["interfaces.jsonl"], "chat", {"No: 3 times 7.", "Yes."}),
        (["sharegpt.jsonl"], "sharegpt", {"No: 5 times 5."}),
        (["alpaca.jsonl"], "alpaca", {"5"}),
        (["completion.jsonl"], "completion", {"No: 3 times 9."}),
        (["table.csv"], "table", {"No: 3 times 5."}),
        (["tools.jsonl"], "chat", {"Let me look.", "It is on its way, in Rome."}),
    ],
)
def test_the_pages_examples_are_read_as_it_says(tmp_path, names, form, responses) -> None:
    for name in names:
        (tmp_path / name).write_text(EXAMPLES[name])
    log = read_calls(CallsConfig(path=tuple(str(tmp_path / name) for name in names)))
    assert log.detected.form == form
    assert {call.answer.response for call in log.calls} == responses
    assert not log.tally.left_out


# What the page says a recipe needs beside it.
REST = "name: x\nteacher: {model: m}\nstudent: {model: s}\ntrain: {cross_entropy: 1}\n"


def test_the_pages_recipes_are_valid_and_come_back() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        recipe = parse_recipe(f"{REST}{block}", "page")
        assert recipe.collect.calls is not None
        assert recipe.collect.calls.paths == ("calls.jsonl",)
        assert parse_recipe(dump_recipe(recipe), "again") == recipe


def test_a_recipe_may_name_several_files_each_once_and_must_name_one() -> None:
    assert CallsConfig(path=["a", "b", "a"]).paths == ("a", "b")
    for path in ("", [], ["a", ""]):
        with pytest.raises(ValueError, match="name at least one file of calls"):
            CallsConfig(path=path)
