"""The reference page of evaluation.json, made from its schema.

python -m potstill.work.evaluation_docs > docs/reference/evaluation.md
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from potstill.work.evaluation import SCHEMA, Evaluation
from potstill.work.figures import Estimate, Part

Row = tuple[str, str, str]

# Sections whose members share their fields, and the name that stands for a member.
_MEMBERS = {"models": "MODEL", "cost": "STAGE"}


def reference_page() -> str:
    """Return docs/reference/evaluation.md."""
    lines = (
        f"| `{path}` | {kind} | {text.replace('|', chr(92) + '|')} |" for path, kind, text in rows()
    )
    return _PAGE.format(schema=SCHEMA, rows="\n".join(lines))


def rows() -> list[Row]:
    """Return (path, type, description) of every field, members' fields once a section."""
    found: dict[str, Row] = {}
    for section, field in Evaluation.model_fields.items():
        name = field.alias or section
        plain: list[Row] = []
        shared: list[Row] = []
        for path, kind, text in _fields(Evaluation, only=section):
            parts = path.split(".")
            member = name in _MEMBERS and len(parts) > 2 and parts[1] != "from_scratch"
            if member:
                path = ".".join([name, _MEMBERS[name], *parts[2:]])
            (shared if member else plain).append((path, kind, text))
        for row in plain + shared:
            found.setdefault(row[0], row)
    return list(found.values())


def _fields(part: type[Part], path: str = "", only: str | None = None) -> Iterator[Row]:
    for name, field in part.model_fields.items():
        if only is not None and name != only:
            continue
        where = f"{path}{field.alias or name}"
        inner = _part_in(field.annotation)
        yield where, _type_name(field.annotation, inner), field.description or ""
        # An estimate reads the same everywhere: it is described once, above the table.
        if inner is not None and inner is not Estimate:
            yield from _fields(inner, f"{where}{'[]' if _is_list(field.annotation) else ''}.")


def _part_in(annotation: Any) -> type[Part] | None:
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return annotation
    return next((p for arg in get_args(annotation) if (p := _part_in(arg))), None)


def _is_list(annotation: Any) -> bool:
    return str(annotation).startswith("list[")


def _type_name(annotation: Any, inner: type[Part] | None) -> str:
    options = [arg for arg in get_args(annotation) if arg is not type(None)]
    nullable = type(None) in get_args(annotation)
    if inner is Estimate:
        name = "estimate"
    elif inner is not None:
        name = "list of objects" if _is_list(annotation) else "object"
    else:
        name = _plain_name(options[0] if nullable else annotation)
    return f"{name} or null" if nullable else name


def _plain_name(annotation: Any) -> str:
    names = {bool: "boolean", int: "integer", str: "string", float: "number"}
    if annotation in names:
        return names[annotation]
    text = str(annotation)
    starts = {"typing.Literal": "string", "dict[": "object", "list[dict": "list of objects"}
    starts |= {"list[": "list"}
    return next((name for start, name in starts.items() if text.startswith(start)), "number")


_PAGE = """# evaluation.json

What `potstill evaluate` measures, in one file: schema `{schema}`. This page is
made from `src/potstill/work/evaluation.py`, which also checks the file before it is
written. Later versions may add fields under this name; a field that changes its meaning changes
the name. Files of `potstill/evaluation/1` are read, too: there an interval without width stands for
none, and `money`, `tokens` and `agreement` are never null.

An *estimate* is `{{"value": ..., "ci95": [low, high], "n": prompts}}`: the value with its 95%
interval over prompts (see [intervals](../methods/intervals.md)). `ci95` is null where there is no
interval: with one prompt, or where all prompts give the same.

Fidelity is measured on what the teacher answers to held-out prompts, sampled at temperature 1
without truncation, response positions only, end of sequence included, over the whole
vocabulary. `greedy` repeats it on the teacher's greedy text, where likeliest tokens are easier
to match.

Fields that were not measured are null, or left out under `models`, `differences` and `cost`.

| Field | Type | Meaning |
|---|---|---|
{rows}
"""

if __name__ == "__main__":
    print(reference_page(), end="")
