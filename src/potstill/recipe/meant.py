"""What a value that is written in a recipe means to its field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from potstill.errors import PotstillError
from potstill.recipe.section import Section, section_of
from potstill.recipe.written import Unsure, dotted

Loc = tuple[str | int, ...]
Places = Mapping[Loc, str]

_LONGEST = 60  # characters of a value in a sentence


def meant(
    tree: Mapping[str, Any], section: type[Section], places: Places, path: Loc = ()
) -> dict[str, Any]:
    """Return a section's tree with each value as its field means it.

    What versions of YAML read differently (`Unsure`) is text where text is meant, `yes` is true
    where a truth value is, and `1e-4` a number where one is; any other number keeps its text,
    which no number takes. Where any value may stand nobody knows: raises PotstillError with the
    place and the way out.
    """
    fields = section.model_fields
    return {
        name: _of_field(value, fields[name].annotation, (*path, name), places)
        if name in fields
        else value
        for name, value in tree.items()
    }


def place_of(places: Places, path: Loc) -> str:
    """Return the file and line of a value or of what it stands in, with a colon; "" if unknown."""
    found = (places[path[:n]] for n in range(len(path), 0, -1) if path[:n] in places)
    place = next(found, None)
    return "" if place is None else f"{place}: "


def _of_field(value: Any, annotation: Any, path: Loc, places: Places) -> Any:
    inner, kinds = section_of(annotation), _kinds(annotation)
    if inner is not None:
        return meant(value, inner, places, path) if isinstance(value, dict) else value
    if isinstance(value, dict) and dict in kinds:
        return _sure(value, path, places)
    if isinstance(value, list):
        return [_plain(item, kinds) for item in value]
    return _plain(value, kinds)


def _plain(value: Any, kinds: set[Any]) -> Any:
    if not isinstance(value, Unsure):
        return value
    if bool in kinds and value.truth is not None:
        return value.truth
    if kinds & {int, float} and value.number is not None:
        return value.number
    return str(value)


def _kinds(annotation: Any) -> set[Any]:
    """Return the plain types that an annotation is made of."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is dict or annotation is dict:
        return {dict}
    return set().union(*map(_kinds, inner)) if inner else {annotation}


def _sure(value: Any, path: Loc, places: Places) -> Any:
    """Return a value that may be anything, in which nothing may be read in two ways."""
    if isinstance(value, dict):
        return {name: _sure(item, (*path, name), places) for name, item in value.items()}
    if isinstance(value, list):
        return [_sure(item, (*path, n), places) for n, item in enumerate(value)]
    if not isinstance(value, Unsure):
        return value
    if value.number is not None:
        return value.number
    shown = value if len(value) <= _LONGEST else f"{value[:_LONGEST]}…"
    given = f"{place_of(places, path)}{dotted(path)} is `{shown}`"
    if value.truth is not None:
        raise PotstillError(
            f"{given}, which one version of YAML reads as {str(value.truth).lower()} and another "
            "as text; write true or false, or put it in quotes"
        )
    if "-" in value[1:]:
        raise PotstillError(f"{given}, which YAML reads as a date; put it in quotes")
    raise PotstillError(
        f"{given}, which versions of YAML read as different values; write a number in decimal "
        "digits, or put text in quotes"
    )
