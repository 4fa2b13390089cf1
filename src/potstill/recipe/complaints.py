"""What is wrong with a recipe's values: where, what instead, and the nearest name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic_core import ErrorDetails

from potstill.recipe import Recipe, Section
from potstill.recipe.meant import Loc, Places, place_of
from potstill.recipe.section import section_of
from potstill.recipe.written import dotted

_LONGEST_VALUE = 60  # characters of a given value that an error quotes
# Who writes a key into a recipe must not see it again in an error.
_SECRET = re.compile("key|secret|token|password|auth", re.IGNORECASE)


def field_paths(section: type[Section] = Recipe) -> list[str]:
    """Return the dotted path of every field that holds a plain value."""
    paths = []
    for name, field in section.model_fields.items():
        inner = section_of(field.annotation)
        paths += [name] if inner is None else [f"{name}.{p}" for p in field_paths(inner)]
    return paths


def summary(
    errors: Sequence[ErrorDetails], source: str, places: Places, root: type[Section] = Recipe
) -> str:
    """Return what pydantic found wrong in sentences, one for each field of a kind of settings."""
    lines = [_sentence(loc, found, source, places, root) for loc, found in _by_field(errors, root)]
    if len(lines) == 1:
        return lines[0]
    return f"{source} has {len(lines)} problems:\n" + "\n".join(f"  {line}" for line in lines)


def _by_field(
    errors: Sequence[ErrorDetails], root: type[Section]
) -> list[tuple[Loc, list[ErrorDetails]]]:
    """Return the errors by their field: one that takes several kinds of value has one for each.

    Where one of them says what is wrong inside a list, it alone stands.
    """
    found: dict[Loc, list[ErrorDetails]] = {}
    for error in errors:
        found.setdefault(_without_kind(error["loc"], root), []).append(error)
    inside = {loc[:n] for loc in found for n in range(len(loc))}
    # A list is too short, too, once its bad items are left out.
    several = {
        loc
        for loc, those in found.items()
        if those[0]["loc"] != loc or those[0]["type"] == "too_short"
    }
    return [(loc, those) for loc, those in found.items() if loc not in inside & several]


def _without_kind(loc: Loc, root: type[Section]) -> Loc:
    """Return the place of an error without pydantic's name of the kind that was tried there."""
    for n in range(1, len(loc)):
        section = section_at(loc[: n - 1], root)
        field = section.model_fields.get(str(loc[n - 1])) if section else None
        if field is None or section_of(field.annotation) is not None:
            continue
        kinds = [form for form in get_args(field.annotation) if form is not type(None)]
        union = get_origin(field.annotation) in (Union, UnionType)
        return (*loc[:n], *loc[n + 1 :]) if union and len(kinds) > 1 else loc
    return loc


def _sentence(
    loc: Loc,
    errors: Sequence[ErrorDetails],
    source: str,
    places: Places,
    root: type[Section],
) -> str:
    error, where = errors[0], place_of(places, loc) or f"{source}: "
    kind = error["type"]
    if kind == "extra_forbidden":
        return f"{where}{_unknown(loc, error['input'], root)}"
    if kind == "missing":
        inner = section_at(loc, root)
        if inner is not None:
            loc = (*loc, *(n for n, f in inner.model_fields.items() if f.is_required()))
        what = _description(loc, root)
        return f"{where}{dotted(loc)} is missing ({what.rstrip('.')}); add it"
    if kind in ("value_error", "assertion_error"):
        message = error["msg"].partition(", ")[2]
        return f"{where}{message}"
    complaints = dict.fromkeys(_complaint(e, root).removeprefix("must be ") for e in errors)
    complaint = (
        _complaint(error, root) if len(errors) == 1 else f"must be {' or '.join(complaints)}"
    )
    given = error["input"]
    way_out = _way_out(kind, given)
    if any(e["type"] == "string_type" for e in errors) and isinstance(given, dict):
        way_out = "; where it is meant as text, put it in quotes"
        if where == "--set: ":
            way_out += f" within the shell's: --set '{dotted(loc)}=\"…\"'"
    return f"{where}{dotted(loc)} {complaint}, but {shown(given)} was given{way_out}"


def _way_out(kind: str, given: Any) -> str:
    """Return how a value is written as what it was meant as, where that can be told."""
    if kind == "string_type" and not isinstance(given, dict | list | tuple | None):
        return "; put it in quotes"
    if kind in ("int_type", "float_type") and isinstance(given, str):
        if re.fullmatch(r"[-+]?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?", given):
            return "; take it out of its quotes"
        digits = re.fullmatch(r"[-+]?[\d.][\w.:+-]*", given)
        return "; write it in decimal digits" if digits else ""
    if kind == "int_type" and isinstance(given, float) and given.is_integer():
        return f"; write {given:.0f}" if abs(given) < 1e15 else ""
    if kind == "bool_type" and isinstance(given, str) and given.lower() in ("true", "false"):
        return "; take it out of its quotes"
    return ""


def _complaint(error: ErrorDetails, root: type[Section]) -> str:
    """Return what a value has to be."""
    context: dict[str, Any] = error.get("ctx") or {}
    kind = error["type"]
    if kind in ("model_type", "model_attributes_type"):
        inner = section_at(error["loc"], root)
        keys = ", ".join(inner.model_fields) if inner else "keys"
        return f"must be a section with the keys {keys}"
    if kind == "literal_error":
        allowed = str(context["expected"]).replace("'", "")
        close = get_close_matches(str(error["input"]), allowed.replace(" or ", ", ").split(", "), 1)
        return f"must be {allowed}" + (f" (did you mean {close[0]}?)" if close else "")
    if kind == "string_pattern_mismatch":
        return (
            "must start with a letter or digit and hold only letters, digits, dots, dashes "
            "and underscores"
        )
    words = {
        "string_type": "must be text",
        "bool_type": "must be true or false",
        "bool_parsing": "must be true or false",
        "int_type": "must be a whole number",
        "int_parsing": "must be a whole number",
        "int_from_float": "must be a whole number",
        "float_type": "must be a number",
        "float_parsing": "must be a number",
        "finite_number": "must be a finite number",
        "tuple_type": "must be a list",
        "dict_type": "must be a mapping (key: value)",
        "greater_than": f"must be greater than {_number(context.get('gt'))}",
        "greater_than_equal": f"must be at least {_number(context.get('ge'))}",
        "less_than": f"must be less than {_number(context.get('lt'))}",
        "less_than_equal": f"must be at most {_number(context.get('le'))}",
    }
    plain = error["msg"].replace("Input should be", "must be")
    return words.get(kind, plain[0].lower() + plain[1:])


def _unknown(loc: Loc, given: Any, root: type[Section]) -> str:
    """Return the complaint about an unknown key, with the nearest valid name."""
    parent, name = loc[:-1], str(loc[-1])
    section = section_at(parent, root) or root
    text = f"unknown key {dotted(loc)}"
    secret = isinstance(given, str) and _SECRET.search(name)
    if not isinstance(given, dict | list) and not secret:
        text += f" (given {shown(given)})"
    elsewhere = [p for p in _all_paths(root) if p.rpartition(".")[2] == name]
    if elsewhere:
        return f"{text}; did you mean {_either(elsewhere)}?"
    near = get_close_matches(name, section.model_fields, 1, cutoff=0.6)
    if near:
        return f"{text}; did you mean {dotted((*parent, near[0]))}?"
    names = [p.rpartition(".")[2] for p in _all_paths(root)]
    far = get_close_matches(name, names, 1, cutoff=0.75)
    if far:
        return (
            f"{text}; did you mean "
            f"{_either([p for p in _all_paths(root) if p.rpartition('.')[2] == far[0]])}?"
        )
    owner = dotted(parent) or ("a recipe" if root is Recipe else "it")
    return f"{text}; {owner} knows: {', '.join(section.model_fields)}"


def _all_paths(root: type[Section]) -> list[str]:
    """Return every field's path, sections included."""
    paths = field_paths(root)
    sections = {p.rpartition(".")[0] for p in paths} - {""}
    return sorted(sections) + paths


def _either(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def section_at(loc: Loc, root: type[Section] = Recipe) -> type[Section] | None:
    """Return the section at a place in a recipe, or in other settings; None where there is none."""
    section: type[Section] | None = root
    for part in loc:
        field = section.model_fields.get(str(part)) if section else None
        section = section_of(field.annotation) if field is not None else None
    return section


def _description(loc: Loc, root: type[Section]) -> str:
    section = section_at(loc[:-1], root)
    field = section.model_fields.get(str(loc[-1])) if section else None
    return (field.description or "required") if field is not None else "required"


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind_of(value: Any) -> str:
    """Return what kind of value YAML gave, in words."""
    names = {list: "a list", str: "text", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "a single value")


def shown(value: Any) -> str:
    """Return a given value as YAML would spell it, cut where it is long."""
    if isinstance(value, dict | list | tuple):
        return "a section" if isinstance(value, dict) else "a list"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    text = f"`{value}`" if isinstance(value, str) else str(value)
    return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 1]}…"
