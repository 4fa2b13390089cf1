"""Recipes from YAML, with overrides, and errors that say where and what instead.

Overrides land in the parsed YAML before anything is checked, so that a mistake reads the same
wherever it was made.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import yaml
from pydantic import ValidationError

from potstill.durable import no_file, os_reason
from potstill.errors import PotstillError
from potstill.recipe import Recipe, Section
from potstill.recipe.complaints import kind_of, section_at, shown, summary
from potstill.recipe.meant import Loc, Places, meant
from potstill.recipe.names import Names
from potstill.recipe.section import section_of
from potstill.recipe.trace import TraceConfig
from potstill.recipe.written import dump_written, read_written

S = TypeVar("S", bound=Section)


@dataclass(frozen=True)
class Draft:
    """The values of a recipe, none of which was checked yet.

    `source` names it in errors, `places` what is written where.
    """

    tree: Mapping[str, Any]
    source: str = "the recipe"
    places: Places = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, what: str = "recipe") -> Self:
        """Return what a YAML file holds, which its user calls `what`.

        Raises PotstillError where it is none.
        """
        return cls.parsed(_text_of(path, what), str(path))

    @classmethod
    def parsed(cls, text: str, source: str) -> Self:
        """Return what YAML text holds. Raises PotstillError where it is none."""
        tree, places = _tree(text, source)
        return cls(tree, source, places)

    def overridden(self, override: str) -> Self:
        """Return it with a value put in as `--set` does (`a.b=value`)."""
        path, value = parse_override(override)
        return self._with(_with_value(self.tree, path, value, override), path, "--set")

    def given(self, path: tuple[str, ...], value: Any, place: str) -> Self:
        """Return it with a value put in, of which errors say that it stands at `place`.

        What the path goes through and is no section stays, and is refused when the recipe is.
        """
        tree = self.tree
        for part in path[:-1]:
            inner = tree.get(part)
            if inner is not None and not isinstance(inner, Mapping):
                return self
            tree = inner or {}
        return self._with(_with_value(self.tree, path, value, ""), path, place)

    def without(self, path: tuple[str, ...]) -> Self:
        """Return it without a value, where it has one."""
        return replace(self, tree=_left_out(self.tree, path))

    def recipe(self) -> Recipe:
        """Return the recipe. Raises PotstillError with the place and key of whatever is wrong."""
        return self.checked(Recipe)

    def checked(self, root: type[S]) -> S:
        """Return the values as settings of a kind; raises PotstillError as `recipe` does."""
        try:
            tree = meant(self.tree, root, self.places)
            return root.model_validate(_without_empty_sections(tree, root))
        except ValidationError as error:
            found = summary(error.errors(), self.source, self.places, root)
            raise PotstillError(found) from None

    def _with(self, tree: Mapping[str, Any], path: Loc, place: str) -> Self:
        # What is replaced has its lines no more.
        left = {at: line for at, line in self.places.items() if at[: len(path)] != path}
        return replace(self, tree=tree, places={**left, path: place})


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in a YAML file, with `--set` overrides (`a.b=value`) applied.

    Raises PotstillError that names the file, the line and the key of whatever is wrong.
    """
    return parse_recipe(_text_of(path), str(path), overrides)


def read_trace(path: Path) -> TraceConfig:
    """Return the settings in a YAML file.

    Raises PotstillError that names the file, the line and the key of whatever is wrong.
    """
    return Draft.read(path, "trace").checked(TraceConfig)


def packaged_recipe(
    name: str, overrides: Sequence[str] = (), *, without: Sequence[str] = ()
) -> Recipe:
    """Return a recipe that ships with potstill (`demo`, `demo-quick`, `start`).

    `without` are fields, written with dots, that it states and that are left open.
    """
    draft = Draft.parsed(packaged_text(name), f"{name}.yaml")
    for field_name in without:
        draft = draft.without(tuple(field_name.split(".")))
    for override in overrides:
        draft = draft.overridden(override)
    return draft.recipe()


def packaged_text(name: str) -> str:
    """Return the YAML text of a recipe that ships with potstill."""
    file = resources.files("potstill") / "data" / "recipes" / f"{name}.yaml"
    return file.read_text(encoding="utf-8")


def parse_recipe(text: str, source: str, overrides: Sequence[str] = ()) -> Recipe:
    """Return the recipe in YAML text; `source` names it in errors. Raises PotstillError."""
    draft = Draft.parsed(text, source)
    for override in overrides:
        draft = draft.overridden(override)
    return draft.recipe()


def parse_override(text: str) -> tuple[tuple[str, ...], Any]:
    """Return the key path and the value of `a.b=value`.

    It is parsed as YAML; a plain value of a field that takes text alone stands as it is where YAML
    would take braces, brackets, colons or a `#` in it for something else.
    """
    key, equals, value = text.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise PotstillError(
            f"--set {shown(text)} is not of the form key=value; "
            "write for example --set train.learning_rate=1e-4"
        )
    try:
        found = read_written(value, "the value").value
        plain = _is_text(path) and _stands_as_it_is(value)
        return path, value.strip() if plain and _is_otherwise_read(found, value) else found
    except PotstillError as error:
        if _is_text(path) and _stands_as_it_is(value):
            return path, value.strip()
        if "not valid YAML" in str(error):
            raise PotstillError(
                f"the value in --set {shown(text)} is not valid YAML; put it in quotes"
            ) from error
        problem = re.sub(r"^the value(, line \d+)?:? ", "", str(error))
        raise PotstillError(f"--set {shown(text)}: {problem}") from error


def _is_text(path: tuple[str, ...]) -> bool:
    """Tell whether a field takes text and nothing else, or nothing at all."""
    section = section_at(path[:-1])
    field = section.model_fields.get(path[-1]) if section else None
    if field is None or any(isinstance(item, Names) for item in field.metadata):
        return False
    kinds = (field.annotation, *get_args(field.annotation))
    return bool(kinds) and set(kinds) - {str | None} <= {str, type(None)}


def _stands_as_it_is(value: str) -> bool:
    """Tell whether a value can be text as it is written: it is in no quotes, and all printable."""
    plain = value.strip()[:1] not in ("", '"', "'", "|", ">")
    return plain and not yaml.reader.Reader.NON_PRINTABLE.search(value)


def _is_otherwise_read(found: Any, value: str) -> bool:
    """Tell whether YAML took text for a mapping or a list, or part of it for a comment."""
    comment = value.lstrip().startswith("#") or " #" in value or "\t#" in value
    return isinstance(found, dict | list) or (comment and (found is None or type(found) is str))


def dump_recipe(recipe: Recipe, *, escaped: bool = False) -> str:
    """Return the recipe as YAML with every default written out; `escaped`: in ASCII alone."""
    return dump_written(recipe.model_dump(mode="json"), allow_unicode=not escaped)


def _text_of(path: Path, what: str = "recipe") -> str:
    fault = no_file(path)
    if fault is not None:
        way_out = f"give the {what}'s YAML file" if "directory" in fault else "check the path"
        name = path if "directory" in fault else f"the {what} {path}"
        raise PotstillError(f"{name} {fault}; {way_out}")
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise PotstillError(f"{path} is not UTF-8 text; save the {what} as UTF-8") from error
    except OSError as error:
        reason = os_reason(error) or "it does not open"
        raise PotstillError(f"{path} cannot be read ({reason}); check it") from error


def _tree(text: str, source: str) -> tuple[dict[str, Any], Places]:
    written = read_written(text, source)
    tree = {} if written.value is None else written.value
    if not isinstance(tree, dict):
        raise PotstillError(
            f"{source} holds {kind_of(tree)}, not sections; "
            "`potstill recipe` prints one to start from"
        )
    return tree, {path: f"{source}, line {line}" for path, line in written.lines.items()}


def _with_value(tree: Any, path: tuple[str, ...], value: Any, override: str) -> dict[str, Any]:
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise PotstillError(
            f"--set {shown(override)} goes through a single value; "
            f"the keys are: {', '.join(Recipe.model_fields)}"
        )
    first, rest = path[0], path[1:]
    inner = _with_value(tree.get(first), rest, value, override) if rest else value
    return {**tree, first: inner}


def _left_out(tree: Mapping[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    first, *rest = path
    inner = tree.get(first)
    if not rest or not isinstance(inner, Mapping):
        return {key: value for key, value in tree.items() if key != first or rest}
    return {**tree, first: _left_out(inner, tuple(rest))}


def _without_empty_sections(tree: dict[str, Any], section: type[Section]) -> dict[str, Any]:
    """Return the tree without sections whose keys are all commented out (YAML's null)."""
    kept = {}
    for name, value in tree.items():
        field = section.model_fields.get(name)
        inner = section_of(field.annotation) if field is not None else None
        if inner is None:
            kept[name] = value
        elif isinstance(value, dict):
            kept[name] = _without_empty_sections(value, inner)
        elif value is not None:
            kept[name] = value
    return kept
