"""The recipe explained: every field as a row, as a Markdown page, as a JSON schema."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from potstill.recipe import Recipe, Section
from potstill.recipe.names import Names
from potstill.recipe.section import section_of

_HEAD = """# Recipe reference

<!-- Made by `make docs` from src/potstill/recipe/; edit the descriptions there. -->

A recipe is one YAML file that holds every choice of one distillation. Only `name` and
`teacher.model` are required. Change a single field on the command line with
`--set section.field=value`; the value is read as YAML. Numbers are decimal (`yes`, `010` and `1:30`
are none), keys and text stay as they are written, and a recipe may be JSON. `potstill recipe`
prints a recipe to start from, `potstill recipe FILE` checks one and prints it with all defaults,
and `potstill recipe --schema` prints the JSON schema.
"""


@dataclass(frozen=True)
class FieldRow:
    """One field of the recipe: dotted path, type in words, default as YAML, what it does."""

    path: str
    kind: str
    default: str
    description: str


def rows(section: type[Section] = Recipe, prefix: str = "") -> list[FieldRow]:
    """Return a row for every field that holds a plain value, in the recipe's order."""
    found = []
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        if inner is not None:
            found += rows(inner, f"{prefix}{name}.")
        else:
            found.append(FieldRow(f"{prefix}{name}", _kind(field), _default(field), _text(field)))
    return found


def schema() -> dict[str, Any]:
    """Return the recipe's JSON schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Recipe.model_json_schema(),
    }


def markdown(head: str = _HEAD, root: type[Section] = Recipe) -> str:
    """Return the reference page of a kind of settings: a table for each section."""
    parts = [head]
    groups: dict[str, list[FieldRow]] = {}
    for row in rows(root):
        groups.setdefault(row.path.rpartition(".")[0], []).append(row)
    for name, group in groups.items():
        parts.append(f"\n## {name or 'Top level'}\n")
        if name:
            parts.append(f"\n{_section_doc(name, root)}\n")
        parts.append("\n| Field | Type | Default | What it does |\n| --- | --- | --- | --- |\n")
        parts += [
            f"| `{r.path}` | {_cell(r.kind)} | {_code(r.default)} | {_cell(r.description)} |\n"
            for r in group
        ]
    return "".join(parts)


def _section_doc(path: str, root: type[Section]) -> str:
    section = root
    for part in path.split("."):
        section = section_of(section.model_fields[part].annotation) or section
    return (section.__doc__ or "").strip().partition("\n")[0]


def _text(field: FieldInfo) -> str:
    return field.description or ""


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True, validated_data={})
    if value is PydanticUndefined:
        return "required"
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return f"[{', '.join(_plain(v) for v in value)}]"
    return _plain(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _kind(field: FieldInfo) -> str:
    names = next((item for item in field.metadata if isinstance(item, Names)), None)
    text = _type_words(field.annotation) if names is None else _choice(names)
    bounds = [_bound(item) for item in field.metadata]
    return " ".join([text, *filter(None, bounds)])


def _choice(values: Iterable[Any]) -> str:
    return " or ".join(f"`{value}`" for value in values)


def _bound(item: Any) -> str:
    for name, sign in (("gt", ">"), ("ge", "≥"), ("lt", "<"), ("le", "≤")):
        if hasattr(item, name):
            return f"{sign} {_plain(getattr(item, name))}"
    return ""


def _type_words(annotation: Any) -> str:
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type_words(a) for a in inner if a is not type(None))
    if origin is Literal:
        return _choice(inner)
    if origin is dict:
        return "mapping"
    if origin is tuple:
        count = "" if Ellipsis in inner else f"{len(inner)} "
        words = _type_words(inner[0])
        return f"list of ({words})" if " or " in words else f"list of {count}{words}s"
    if origin is dict:
        return "mapping"
    names = {str: "text", bool: "true or false", int: "whole number", float: "number"}
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _code(text: str) -> str:
    return text if text in ("", "required") else f"`{text}`"


if __name__ == "__main__":
    print(markdown(), end="")
