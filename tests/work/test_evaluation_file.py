"""evaluation.json of this version, of older and of later ones, and damaged."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

from potstill.errors import PotstillError
from potstill.work.evaluation import SCHEMA, Evaluation, Schema
from potstill.work.evaluation_file import evaluation_of, read_evaluation
from potstill.work.figures import Part

# Written by the commits that they are named after, on tiny models.
WRITTEN = sorted((Path(__file__).parent / "written").glob("*.json"))


@pytest.fixture(params=WRITTEN, ids=lambda path: path.stem)
def content(request: pytest.FixtureRequest) -> dict[str, Any]:
    return json.loads(request.param.read_text(encoding="utf-8"))


def put(folder: Path, content: Any) -> Path:
    path = folder / "evaluation.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def read(folder: Path, content: Any) -> Evaluation:
    found = read_evaluation(put(folder, content))
    assert found is not None
    return found


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_what_older_versions_wrote_is_read(path: Path) -> None:
    written = json.loads(path.read_text(encoding="utf-8"))
    found = read_evaluation(path)
    assert found is not None
    assert found.schema_name == written["schema"] == "potstill/evaluation/1"
    figures = written["models"]["student"]["perplexity"]
    assert found.models.student.perplexity.model_dump(mode="json") == figures
    assert found.cost.total.money == written["cost"]["total"]["money"]
    assert found.held_out.left_out == {} and found.answers == "teacher"
    assert found.training is not None and found.training.kept_step is None


def test_an_interval_without_width_was_none_in_the_first_schema(tmp_path: Path) -> None:
    written = json.loads((WRITTEN[0].parent / "gold-17f08f5.json").read_text(encoding="utf-8"))
    assert written["task"]["student"]["exact"]["ci95"] == [0.0, 0.0]
    found = read(tmp_path, written)
    assert found.task is not None and found.task.student.exact is not None
    assert found.task.student.exact.ci95 is None and found.task.student.exact.value == 0.0
    assert found.models.student.perplexity.ci95 is not None
    # Now it is a mistake.
    with pytest.raises(PotstillError, match=r"is no evaluation that .*task"):
        read(tmp_path, written | {"schema": SCHEMA})


def test_what_a_later_version_adds_is_left_out(tmp_path: Path, content: dict[str, Any]) -> None:
    plain = read(tmp_path, content)
    added = copy.deepcopy(content)
    for section in (added, added["machine"], added["models"], added["models"]["student"]):
        section["new"] = {"figure": [1]}
    added["samples"][0]["new"] = 1
    assert read(tmp_path, added) == plain


@pytest.mark.parametrize("schema", [*get_args(Schema), None])
def test_schemas_that_are_read(tmp_path: Path, content: dict[str, Any], schema: str | None) -> None:
    content["task"] = None
    if schema is None:
        del content["schema"]
    else:
        content["schema"] = schema
    assert read(tmp_path, content).schema_name == (schema or SCHEMA)


def test_a_schema_that_came_later_is_not_guessed_at(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    with pytest.raises(PotstillError, match="'potstill/evaluation/9', which this version"):
        read(tmp_path, content | {"schema": "potstill/evaluation/9"})


def optional(part: type[Part], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of every field with a default, outside lists and mappings."""
    for name, field in part.model_fields.items():
        here = (*path, field.alias or name)
        if not field.is_required():
            yield here
        for option in (field.annotation, *get_args(field.annotation)):
            if isinstance(option, type) and issubclass(option, Part):
                yield from optional(option, here)


def test_what_an_older_version_lacks_has_its_default(
    tmp_path: Path, content: dict[str, Any]
) -> None:
    for *parents, name in optional(Evaluation):
        changed = copy.deepcopy(content)
        node: Any = changed
        for parent in parents:
            node = (node or {}).get(parent)
        if node and name in node:
            del node[name]
            read(tmp_path, changed)


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("models", None),
        ("models", {}),
        ("machine", "a secret"),
        ("peak_memory_bytes", "a secret"),
        ("samples", {"a": "a secret"}),
        ("schema", "a secret"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(
    tmp_path: Path, content: dict[str, Any], where: str, value: Any
) -> None:
    with pytest.raises(PotstillError, match="run `potstill evaluate` again") as found:
        read(tmp_path, content | {where: value})
    assert f" reads: {where}" in str(found.value) and "secret" not in str(found.value)


def test_no_file_and_no_evaluation(tmp_path: Path) -> None:
    assert read_evaluation(tmp_path / "evaluation.json") is None
    with pytest.raises(PotstillError, match="holds no evaluation; delete it"):
        read_evaluation(put(tmp_path, [1]))
    (tmp_path / "evaluation.json").write_text("{half")
    with pytest.raises(PotstillError, match="is not readable JSON; delete it and run `potstill"):
        read_evaluation(tmp_path / "evaluation.json")


def test_content_that_was_read_is_written_as_it_was(content: dict[str, Any]) -> None:
    found = evaluation_of(content)
    assert evaluation_of(found.as_json()) == found
