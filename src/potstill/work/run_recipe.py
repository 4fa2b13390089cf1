"""The recipe that a run directory was made by, and what a changed one does to it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml
from blake3 import blake3
from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT, ORDER, TRAIN, Change, changes_between, first_stage
from potstill.recipe.written import dump_written

RECIPE_FILE = "recipe.yaml"
MANIFEST_FILE = "manifest.json"
STATE = "state"
# Only a file that starts like this makes a directory one that --fresh may empty.
_HEADER = "# The resolved recipe of this potstill run directory. Do not edit.\n"

# With another baseline the student itself trains as before, and is not trained again.
_BASELINE, _STUDENTS_OWN = "evaluate.cross_entropy_baseline", ("checkpoints", "metrics.jsonl")


def is_run_directory(root: Path) -> bool:
    """Tell whether potstill made this directory."""
    try:
        with (root / RECIPE_FILE).open(encoding="utf-8") as file:
            return file.read(len(_HEADER)) == _HEADER
    except (OSError, UnicodeDecodeError):
        return False


def refuse_file(root: Path) -> None:
    """Refuse a file, or what lies under one, as a directory."""
    for path in (root, *root.parents):
        if path.exists():
            if not path.is_dir():
                raise PotstillError(
                    f"{path} is a file, not a directory; choose another directory with --out"
                )
            return


def refuse_foreign(root: Path) -> None:
    """Refuse a file, and a directory that holds something other than a run."""
    refuse_file(root)
    if root.is_dir() and any(root.iterdir()) and not is_run_directory(root):
        raise PotstillError(
            f"{root} is not empty and not a run directory of potstill; choose another directory "
            "with --out"
        )


def read_recipe(root: Path) -> Recipe:
    """Return the recipe of a run directory, for reading it without holding it.

    Raises `PotstillError` where it is no run directory or its recipe cannot be read.
    """
    if not is_run_directory(root):
        raise PotstillError(f"{root} is not a run directory of potstill; check the path")
    try:
        return Recipe.model_validate(_stored_recipe(root))
    except ValidationError as error:
        keys = ", ".join(".".join(map(str, e["loc"])) or "recipe" for e in error.errors())
        raise PotstillError(
            f"the recipe in {root} does not fit this version of potstill ({keys}); use the "
            "version that made the run, or --fresh to start over"
        ) from error


def recipe_digest(recipe: Recipe) -> str:
    """Return `blake3:` and 32 digits over all values of a recipe, defaults included."""
    text = json.dumps(recipe.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)
    return f"blake3:{blake3(text.encode()).hexdigest(length=16)}"


def recipe_text(recipe: Recipe) -> str:
    values = recipe.model_dump(mode="json")
    return _HEADER + dump_written(values, allow_unicode=True, width=100)


def _stored_recipe(root: Path) -> dict[str, Any]:
    try:
        values = yaml.safe_load((root / RECIPE_FILE).read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PotstillError(
            f"{root / RECIPE_FILE} cannot be read as YAML; use --fresh to start over, or another "
            "directory with --out"
        ) from error
    return values if isinstance(values, dict) else {}


def changes(root: Path, recipe: Recipe) -> list[Change]:
    """Return where a recipe differs from the one that a run directory was made by, if it is one.

    Fields that decide nothing about results are left out.
    """
    if not (root / RECIPE_FILE).exists():
        return []
    stored = _stored_recipe(root)
    # A recipe of an older version lacks newer keys: their defaults are what it meant.
    with suppress(ValidationError):
        stored = Recipe.model_validate(stored).model_dump(mode="json")
    return changes_between(stored, recipe)


def holds_nothing(root: Path) -> bool:
    """Tell whether a run directory holds no answers, so that another recipe loses nothing."""
    return all(path.name in (RECIPE_FILE, STATE) for path in root.iterdir())


def refuse_changes(root: Path, found: Sequence[Change], *, redo: bool) -> None:
    """Refuse a changed recipe where it would put away answers, or a finished run unasked.

    Raises PotstillError with each differing key.
    """
    named = "; ".join(map(str, found))
    others = [c for c in found if c.stage == COLLECT and not c.asks_more]
    if others and not holds_nothing(root):
        raise PotstillError(
            f"{root} was made by another recipe, and its answers with it: {named}. Choose another "
            "directory with --out, or --fresh to start over in this one"
        )
    if found and (root / MANIFEST_FILE).is_file() and not redo:
        raise PotstillError(
            f"{root} is finished, and was made by another recipe: {named}. Choose another "
            f"directory with --out, or --redo to do {first_stage(found)} and what follows again in "
            "this one, with the answers that it holds"
        )


def kept_by(found: Sequence[Change]) -> tuple[str, ...]:
    early = {c.field for c in found if ORDER.index(c.stage) <= ORDER.index(TRAIN)}
    return _STUDENTS_OWN if early == {_BASELINE} else ()
