"""The fields of a record as rows of a reference page."""

from __future__ import annotations

import types
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel

_WORDS: dict[Any, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    datetime: "string (ISO 8601)",
}


def field_kinds(record: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str | None]]:
    """Yield (path, type, description) of every field, and of those of the records it holds."""
    for name, field in record.model_fields.items():
        path = f"{prefix}{field.alias or name}"
        kind, inner = _kind(field.annotation)
        yield path, kind, field.description
        if inner is not None:
            yield from field_kinds(inner, f"{path}[]." if kind.startswith("list") else f"{path}.")


def described_rows(record: type[BaseModel]) -> str:
    """Return rows of a table of Markdown; raises KeyError for a field that nothing describes."""
    lines = []
    for path, kind, text in field_kinds(record):
        if text is None:
            raise KeyError(path)
        lines.append(f"| `{path}` | {kind} | {text} |\n")
    return "".join(lines)


def _kind(annotation: Any) -> tuple[str, type[BaseModel] | None]:
    """Return a field's type in words, and the record that it holds."""
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        some = [part for part in inside if part is not type(None)]
        if len(some) > 1:
            words = [_WORDS[part] for part in some]
            return " or ".join(words) + " or null" * (len(some) < len(inside)), None
        kind, inner = _kind(some[0])
        return f"{kind} or null", inner
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inside), None
    if origin is tuple:
        kind, inner = _kind(inside[0])
        return _listed(kind, inner), inner
    if origin is dict:
        return f"object of {_kind(inside[1])[0]}", None
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "object", annotation
    return _WORDS[annotation], None


def _listed(kind: str, inner: type[BaseModel] | None) -> str:
    if inner is not None:
        return "list of objects"
    return f"list of {kind}" if " or " in kind or " of " in kind else f"list of {kind}s"
