"""Which of a recipe's fields minutes decide about, and a recipe with what they decided in it."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from potstill.errors import PotstillError
from potstill.recipe import Recipe, Section
from potstill.runs.minutes.choose import Settled
from potstill.runs.minutes.predict import Amounts, RunSizes
from potstill.work.access import Access, Weights
from potstill.work.order_secret import SECRET_FILE
from potstill.work.run_recipe import RECIPE
from potstill.work.time_plan import (
    Chosen,
    TimePlan,
    read_time_plan,
    stored_time_plan,
    time_plan_path,
)

PROMPTS, SAMPLES = "prompts.limit", "collect.samples"
CALIBRATION, CANDIDATES = "shrink.calibration_tokens", "shrink.candidates"
EPOCHS, STEPS, VALIDATE = "train.epochs", "train.steps", "train.validate_every"
GREEDY = "evaluate.greedy"
# What a recipe must not state for minutes to decide about it.
DECIDED = (PROMPTS, SAMPLES, CALIBRATION, CANDIDATES, EPOCHS, VALIDATE, GREEDY)
# Steps are planned for this many times the passes that are foretold, so that a training that goes
# faster than foretold has some to go on with.
SPARE = 1.3


def stated_fields(section: Section, prefix: str = "") -> frozenset[str]:
    """Return the fields, written with dots, that a recipe's author gave a value."""
    return frozenset(_stated(section, prefix))


def _stated(section: Section, prefix: str) -> Iterator[str]:
    for name in section.model_fields_set:
        value = getattr(section, name)
        if isinstance(value, Section):
            yield from _stated(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def open_fields(recipe: Recipe) -> tuple[str, ...]:
    """Return the fields that minutes decide about: those of `DECIDED` that the recipe leaves open
    and has a use for."""
    stated, access = stated_fields(recipe), Access.of(recipe)
    useless = set()
    # Another answer of a server costs money, and of a log there is none.
    if not isinstance(access.author, Weights):
        useless |= {SAMPLES, GREEDY}
    if not recipe.cuts:
        useless.add(CALIBRATION)
    if recipe.shrink.blocks is not None or not (
        recipe.shrink.drop_layers or recipe.shrink.parameters
    ):
        useless.add(CANDIDATES)
    if STEPS in stated:
        useless.add(EPOCHS)
    return tuple(f for f in DECIDED if f not in stated and f not in useless)


def given_of(recipe: Recipe, decided: Collection[str], sizes: RunSizes) -> Settled:
    """Return what is not to be chosen, by the recipe and the fields that minutes decide about."""
    train = recipe.train
    limit = sizes.available if recipe.prompts.limit is None else recipe.prompts.limit
    given = Settled(
        prompts=None if PROMPTS in decided else min(limit, sizes.available),
        samples=None if SAMPLES in decided else recipe.collect.samples,
        calibration_tokens=None if CALIBRATION in decided else recipe.shrink.calibration_tokens,
        candidates=None if CANDIDATES in decided else recipe.shrink.candidates,
        validate_every=None if VALIDATE in decided else train.validate_every,
        greedy=False if GREEDY in decided else recipe.evaluate.greedy,
    )
    if EPOCHS in decided:
        return given
    return replace(given, passes=train.epochs, steps=train.steps)


def chosen_values(amounts: Amounts, decided: Collection[str], sizes: RunSizes) -> dict[str, Chosen]:
    """Return the amounts as values of the fields that minutes decide about."""
    text = max(1.0, amounts.answers * sizes.text)
    passes = amounts.steps * sizes.batch_tokens / text
    every = max(1, round(amounts.steps / max(1, amounts.validations)))
    values: dict[str, Chosen] = {
        PROMPTS: None if amounts.prompts >= sizes.available else amounts.prompts,
        SAMPLES: amounts.samples,
        CALIBRATION: max(256, amounts.calibration_tokens),
        CANDIDATES: amounts.candidates,
        EPOCHS: math.ceil(100 * SPARE * passes) / 100,
        VALIDATE: every,
        GREEDY: amounts.greedy,
    }
    found = {field: values[field] for field in DECIDED if field in decided}
    if EPOCHS in decided:
        found[STEPS] = amounts.steps
    return found


def with_chosen(recipe: Recipe, plan: TimePlan) -> Recipe:
    """Return a recipe with what the clock decided in it."""
    return Recipe.model_validate(plan.laid_over(recipe.model_dump(mode="json")))


def with_stored_plan(recipe: Recipe, root: Path, *, fresh: bool) -> Recipe:
    """Return a recipe with what an earlier call of its run decided, where it goes on with minutes.

    A field that the recipe states otherwise now is no longer the clock's. Raises PotstillError
    where the plan is damaged.
    """
    if recipe.minutes is None or fresh or not RECIPE.begins(root):
        return recipe
    plan, path = stored_time_plan(root), time_plan_path(root)
    if plan is not None:
        return with_chosen(recipe, without_stated(plan, recipe))
    if path.exists():
        raise PotstillError(
            f"{path} is damaged, and only it says what the minutes of this run decided; bring it "
            "back from a copy, or start over with --fresh"
        )
    return recipe


def without_stated(plan: TimePlan, recipe: Recipe) -> TimePlan:
    """Return a plan without the fields that a recipe states otherwise."""
    stated = stated_fields(recipe)
    taken = {f for f, value in plan.chosen.items() if f in stated and value != _of(recipe, f)}
    if EPOCHS in taken:
        taken.add(STEPS)
    left = {f: value for f, value in plan.chosen.items() if f not in taken}
    return plan.model_copy(update={"chosen": left})


def replayed(recipe: Recipe, path: Path) -> tuple[Recipe, TimePlan]:
    """Return a recipe with what a stored plan decided, in the order of the run that wrote it.

    Raises PotstillError where there is no plan, and where the recipe states otherwise.
    """
    plan, stated = read_time_plan(path), stated_fields(recipe)
    if not plan.chosen:
        raise PotstillError(
            f"the plan {path} decides nothing, since its run had no minutes and was only foretold; "
            "give the plan of a run with minutes, or leave --plan out"
        )
    for field, value in plan.chosen.items():
        if field in stated and _of(recipe, field) != value:
            raise PotstillError(
                f"{field} is {_of(recipe, field)} in the recipe and {value} in the plan {path}; "
                "take it out of the recipe, or leave --plan out"
            )
    found = with_chosen(recipe.model_copy(update={"minutes": None}), plan)
    root = path if path.is_dir() else path.parent.parent
    secret = root / SECRET_FILE
    if found.train.order_secret is None and secret.is_file():
        train = found.train.model_copy(update={"order_secret": str(secret)})
        found = found.model_copy(update={"train": train})
    return found, plan


def _of(recipe: Recipe, field: str) -> object:
    value: object = recipe
    for name in field.split("."):
        value = getattr(value, name)
    return value
