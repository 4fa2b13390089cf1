"""What a stage is given, made without a run directory: models that are open, prompts, a plan."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from potstill.exchanges.exchange import Prompt, Split
from potstill.exchanges.overlap import OverlapReport
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Progress, Silent
from potstill.recipe import Recipe
from potstill.terms import Evidence, Stated, TermsDecision, decide
from potstill.text.turns import prompt_id_of
from potstill.work.access import Access
from potstill.work.opened import Compute, Opened
from potstill.work.plan import PromptPlan

DAY = "2026-01-31"


def permitted() -> TermsDecision:
    """Return a decision that lets a teacher be asked."""
    return decide("nano", (Evidence("mit", "test", "mit"),), Stated())


def open_models(
    recipe: Recipe,
    store: ExchangeStore,
    progress: Progress | None = None,
    met: Callable[[str], None] = lambda identity: None,
) -> Opened:
    """Return the models of a recipe, none of which is loaded before it is asked for."""
    return Opened(
        Access.of(recipe),
        Compute("cpu", "fp32", DAY),
        store,
        identity=None,
        permit=permitted,
        met=met,
        progress=progress or Silent(),
    )


def made_prompt(text: str, split: Split = "train", gold: str | None = None, **more: Any) -> Prompt:
    """Return a prompt of one message."""
    messages = ({"role": "user", "content": text},)
    return Prompt(prompt_id_of(messages), messages, split, "test", gold=gold, **more)


def made_plan(train: int = 6, validation: int = 2, held_out: int = 3, **more: Any) -> PromptPlan:
    """Return a plan of so many short prompts."""

    def some(count: int, split: Split) -> tuple[Prompt, ...]:
        return tuple(made_prompt(f"Count {split} to {i}.", split, **more) for i in range(count))

    return plan_of(some(train, "train"), some(validation, "validation"), some(held_out, "held_out"))


def plan_of(
    train: tuple[Prompt, ...],
    validation: tuple[Prompt, ...] = (),
    held_out: tuple[Prompt, ...] = (),
) -> PromptPlan:
    """Return a plan of these prompts."""
    found = OverlapReport(len(held_out), len(train), exact=0, near=0)
    return PromptPlan(train, validation, held_out, found)
