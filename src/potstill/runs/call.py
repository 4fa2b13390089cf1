"""What a call of `distill` hands in, made into a recipe and files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from potstill.errors import PotstillError
from potstill.recipe import PromptsConfig, Recipe, Section
from potstill.recipe.io import Draft
from potstill.runs.callbacks import Callback
from potstill.runs.given import GivenNetwork, GivenPrompts, Network, checked_pair, kind_of

Model = str | Path | Network
"""The name or directory of a model, or a transformers model with its tokenizer."""

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Call:
    """A recipe with what stands in place of its words, and the files that are still to be kept.

    `folder` is where these go.
    """

    draft: Draft
    folder: Path
    files: tuple[GivenNetwork | GivenPrompts, ...] = ()

    def with_terms(self, terms: object, teacher: object) -> Self:
        """Return it with what is stated of the teacher's terms, beside its licence.

        Raises PotstillError where a network's are unknown.
        """
        loaded = teacher is not None and not isinstance(teacher, str | Path)
        if loaded:
            checked_pair(teacher, "teacher")
        if isinstance(terms, Mapping | Section):
            return self._put("teacher", "terms", _plain(terms), "terms")
        if isinstance(terms, str) and not loaded:
            raise PotstillError(
                "terms states the licence of a teacher that is handed in as a network; the files "
                'of this one state their own: leave it out, or hand in {"authorisation": FILE}'
            )
        if terms is not None and not (isinstance(terms, str) and terms.strip()):
            raise PotstillError(
                'terms has to be the name of a licence, such as "apache-2.0", or '
                f'{{"authorisation": FILE}}, but {terms!r} was handed in'
            )
        if loaded and terms is None and not self._authorised:
            raise PotstillError(
                "the teacher was handed in as a network, which says nothing about its licence: it "
                'is unknown, and so refused; state it, as in terms="apache-2.0", or hand in the '
                'rights holder\'s permission: terms={"authorisation": FILE}'
            )
        return self

    def with_model(self, argument: str, model: object, licence: str | None = None) -> Self:
        """Return it with a model (`teacher`, `student`), by name or as a network."""
        if isinstance(model, str | Path):
            return self._put(argument, "model", str(model), argument)
        given = GivenNetwork.of(model, self.folder, argument, licence)
        return self._keeping(given)._put(argument, "model", str(given.path), argument)

    def with_prompts(self, prompts: object) -> Self:
        """Return it with prompts, by the name of their source or as they are."""
        if isinstance(prompts, str | Path):
            return self._put("prompts", "source", str(prompts), "prompts")
        section = self.draft.tree.get("prompts")
        column = section.get("column") if isinstance(section, Mapping) else None
        given = GivenPrompts.of(prompts, self.folder, str(column or PromptsConfig().column))
        return self._keeping(given)._put("prompts", "source", str(given.path), "prompts")

    def keep(self) -> None:
        """Write the files that are not there yet."""
        for one in self.files:
            one.keep()

    @property
    def _authorised(self) -> bool:
        section = self.draft.tree.get("teacher")
        stated = section.get("terms") if isinstance(section, Mapping) else None
        return isinstance(stated, Mapping) and stated.get("authorisation") is not None

    def _put(self, section: str, field: str, value: Any, argument: str) -> Self:
        return replace(self, draft=self.draft.given((section, field), value, argument))

    def _keeping(self, one: GivenNetwork | GivenPrompts) -> Self:
        return replace(self, files=(*self.files, one))


def checked_callbacks(given: object) -> tuple[Callback, ...]:
    """Return callbacks. Raises PotstillError where they are none."""
    found = tuple(given) if isinstance(given, Iterable) else (given,)
    if isinstance(given, Iterable) and all(isinstance(one, Callback) for one in found):
        return found
    kinds = ", ".join(sorted({type(one).__name__ for one in found}))
    raise PotstillError(f"callbacks has to be a list of potstill.Callback, but holds {kinds}")


def draft_of(recipe: object) -> Draft:
    """Return a recipe, its values or its file as a draft. Raises PotstillError for others."""
    if isinstance(recipe, Recipe | Mapping):
        return Draft(_plain(recipe))
    if isinstance(recipe, str | Path):
        return Draft.read(Path(recipe))
    raise PotstillError(
        "recipe has to be a Recipe, a mapping of its values, or the path of its YAML file, but "
        f"{kind_of(recipe)} was handed in"
    )


def _plain(value: Any) -> Any:
    """Return a value of a recipe as YAML would hold it."""
    if isinstance(value, Section):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return value.item()
    return str(value) if isinstance(value, Path) else value


def placed(draft: Draft, out: object) -> tuple[Path, Draft]:
    """Return the run directory, and the recipe with a name.

    Raises PotstillError where there is neither a name nor a directory.
    """
    if out is not None and not (isinstance(out, str | Path) and str(out)):
        raise PotstillError(f"out has to be the path of a run directory, but {out!r} was handed in")
    name = draft.tree.get("name")
    if name is None and out is None:
        raise PotstillError(
            "the run has neither a name nor a directory; hand in out, such as "
            'out="runs/first", or give the recipe a name'
        )
    root = Path(out) if out is not None else Path("runs") / str(name)
    if name is None:
        plain = _NO_NAME.sub("-", root.absolute().name).lstrip("-._")
        draft = draft.given(("name",), plain or "run", "out")
    return root, draft
