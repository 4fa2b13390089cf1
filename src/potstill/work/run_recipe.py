"""The recipe that a run directory was made by, and what a changed one does to it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from potstill.canonical import digest_of_bytes, labelled, spaced_json
from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.stages import COLLECT, ORDER, TRAIN, Change, changes_between, first_stage
from potstill.work.header import Header
from potstill.work.time_plan import stored_time_plan
from potstill.work.workdir import MANIFEST_FILE, STATE

RECIPE = Header(Recipe, "recipe.yaml", "recipe", "run")
RECIPE_FILE = RECIPE.file

# With another baseline the student itself trains as before, and is not trained again.
_BASELINE, _STUDENTS_OWN = "evaluate.cross_entropy_baseline", ("checkpoints", "metrics.jsonl")


def recipe_digest(recipe: Recipe) -> str:
    """Return `blake3:` and 32 digits over all values of a recipe, defaults included."""
    return labelled(digest_of_bytes(spaced_json(recipe.model_dump(mode="json"))))


def changes(root: Path, recipe: Recipe) -> list[Change]:
    """Return where a recipe differs from the one that a run directory was made by, if it is one.

    Fields that decide nothing about results are left out.
    """
    if not (root / RECIPE_FILE).exists():
        return []
    stored, plan = RECIPE.resolved(root), stored_time_plan(root)
    if plan is not None and recipe.minutes is not None:
        # The plan is written first: a kill in between leaves a header that it has gone past.
        stored = plan.laid_over(stored)
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
