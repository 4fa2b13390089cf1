"""The recipe's section `task`."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.recipe.io import dump_recipe, parse_recipe

BASE = "name: r\nteacher: {model: m}\n"


def refusal(task: str) -> str:
    with pytest.raises(PotstillError) as caught:
        parse_recipe(BASE + f"task: {task}\n", "r.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("{kind: label}", "r.yaml, line 3: task.labels needs at least two labels"),
        ("{kind: label, labels: [a]}", "at least two labels"),
        ("{kind: label, labels: [a, b, ' A. ']}", "holds a and  A. , which are one label"),
        ("{kind: label, labels: [a, '--']}", "a label without a letter or digit"),
        ("{kind: label, labels: [true, no]}", "must be text, but true was given; put it in quotes"),
        ("{kind: text, labels: [a, b]}", "task.labels and task.kind text cannot be combined"),
        ("{kind: text, json_schema: {}}", "task.json_schema and task.kind text cannot be combined"),
        (
            "{kind: json, json_schema: {type: object, properties: {n: {type: integr}}}}",
            "task.json_schema is no JSON schema: properties.n.type breaks the rule",
        ),
        ("{kind: json, json_schema: {$ref: '#/x'}}", "the reference #/x leads nowhere"),
        ("{kind: json, json_schema: {items: {$ref: 'http://h/x'}}}", "leads out of it"),
        ("{labels: [a, b]}", "task.kind is missing"),
        ("{kind: text, apart: [x]}", "task.apart names values of task.slice, which is not set"),
        ("{kind: text, margin: 1}", "task.margin must be less than 1"),
    ],
)
def test_tasks_that_make_no_sense_are_refused(task, message):
    assert message in refusal(task)


def test_a_task_survives_writing_and_reading():
    text = BASE + (
        "task:\n  kind: json\n  json_schema:\n    type: object\n"
        "    properties:\n      city: {type: string}\n  gold: answer\n"
    )
    recipe = parse_recipe(text, "r.yaml")
    assert recipe.task is not None
    assert recipe.task.json_schema == {
        "type": "object",
        "properties": {"city": {"type": "string"}},
    }
    assert (recipe.task.margin, recipe.task.confidence) == (0.03, 0.95)
    assert parse_recipe(dump_recipe(recipe), "again.yaml") == recipe


def test_a_recipe_without_a_task_has_none():
    assert parse_recipe(BASE, "r.yaml").task is None
    again = dump_recipe(parse_recipe(BASE, "r.yaml"))
    assert parse_recipe(again, "again.yaml").task is None
