"""evaluation.json as any version of potstill wrote it, read as what this one knows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from potstill.durable import read_object
from potstill.errors import PotstillError
from potstill.work.evaluation import SCHEMA, Evaluation, Schema

_FAMILY = "potstill/evaluation/"
_REMEDY = "delete it and run `potstill evaluate` again"


def read_evaluation(path: Path) -> Evaluation | None:
    """Return the evaluation in a file; None where there is no file.

    What a later version added is left out, what an older one lacks has its default. Raises
    PotstillError for a file that holds no evaluation, or one of a schema that came later.
    """
    content = read_object(path, _REMEDY)
    if content is None:
        if path.exists():
            raise PotstillError(f"{path} holds no evaluation; {_REMEDY}")
        return None
    schema = content.get("schema")
    if isinstance(schema, str) and schema.startswith(_FAMILY) and schema not in get_args(Schema):
        raise PotstillError(
            f"{path} has the schema {schema!r}, which this version of potstill does not read; "
            "use the version that wrote it"
        )
    try:
        return evaluation_of(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the whole"
        raise PotstillError(
            f"{path} is no evaluation that this version of potstill reads: {where}: "
            f"{first['msg']}; {_REMEDY}"
        ) from None  # what pydantic raises quotes the file


def evaluation_of(content: Mapping[str, Any]) -> Evaluation:
    """Return what a file's content says; unknown fields are left out.

    Raises pydantic's ValidationError where a field is missing that every version wrote, or does
    not fit.
    """
    if content.get("schema") != SCHEMA:
        content = without_empty_intervals(content)
    return Evaluation.model_validate(content, extra="ignore")


def without_empty_intervals(tree: Any) -> Any:
    """Return a tree of the first schema in which an interval without width is null."""
    if isinstance(tree, list):
        return [without_empty_intervals(one) for one in tree]
    if not isinstance(tree, Mapping):
        return tree
    return {
        key: _interval(value) if key == "ci95" else without_empty_intervals(value)
        for key, value in tree.items()
    }


def _interval(ends: Any) -> Any:
    return None if isinstance(ends, list) and len(ends) == 2 and ends[0] == ends[1] else ends
