"""The figures of an evaluation made again from its stored items, and where they differ.

No model is asked: whoever has a student's `items.json` can do it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

from pydantic import Field

from potstill.evaluate.calls import scores_of_calls
from potstill.evaluate.summary import (
    Resampling,
    difference_estimates,
    greedy_estimates,
    mass_removed_estimate,
    model_estimates,
)
from potstill.evaluate.task_scores import scores_of_items
from potstill.work.evaluation import Evaluation
from potstill.work.figures import Estimate, Part
from potstill.work.items import Items
from potstill.work.scores import CallScores, TaskScores

# Another machine's sums may round otherwise, by so much as a share.
ROUNDING = 1e-9
_OF_RESAMPLES = ("ci95", "interval", "word", "needed", "sentence")
_MEASURED = ("kl_per_token", "top1_agreement", "perplexity", "bits_per_byte", "own_kl_per_token")


class MadeFigures(Part):
    """Every figure with an interval that follows from the items of an evaluation."""

    models: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    greedy: dict[str, dict[str, Estimate]] = Field(default_factory=dict)
    differences: dict[str, Estimate] = Field(default_factory=dict)
    teacher_mass_removed: Estimate | None = None
    task: TaskScores | None = None
    tool_calls: CallScores | None = None


def figures_of(items: Items, *, trimmed: bool) -> MadeFigures:
    """Return the figures that follow from items; `trimmed` tells of a trimmed vocabulary."""
    settings: Resampling = {"resamples": items.resamples, "seed": items.seed}
    text = items.sampled
    return MadeFigures(
        models={} if text is None else model_estimates(text, settings),
        greedy={} if items.greedy is None else greedy_estimates(items.greedy, settings),
        differences={} if text is None else difference_estimates(text, settings),
        teacher_mass_removed=(
            mass_removed_estimate(text, settings) if trimmed and text is not None else None
        ),
        task=None if items.task is None else scores_of_items(items.task, **settings),
        tool_calls=None if items.calls is None else scores_of_calls(items.calls, **settings),
    )


def figures_in(evaluation: Evaluation) -> MadeFigures:
    """Return the same figures as an evaluation states them."""
    found = {k: v for k in type(evaluation.models).model_fields if (v := _model(evaluation, k))}
    greedy = {k: one.greedy for k, one in found.items() if one.greedy is not None}
    differences = {
        name: value
        for name in type(evaluation.differences).model_fields
        if (value := getattr(evaluation.differences, name)) is not None
    }
    vocabulary, task, calls = evaluation.vocabulary, evaluation.task, evaluation.tool_calls
    return MadeFigures(
        models={name: _stated(one) for name, one in found.items()},
        greedy={name: _stated(one) for name, one in greedy.items()},
        differences=differences,
        teacher_mass_removed=None if vocabulary is None else vocabulary.teacher_mass_removed,
        # What could not be scored is no row, and stands in no items.
        task=None if task is None else task.model_copy(update={"left_out": {}}),
        tool_calls=None if calls is None else calls.model_copy(update={"left_out": 0}),
    )


def first_difference(
    stated: MadeFigures | Mapping[str, Any], made: MadeFigures | Mapping[str, Any]
) -> str | None:
    """Return the name of the first figure that differs by more than rounding; None for none."""
    one, other = (
        dict(figures) if isinstance(figures, Mapping) else figures.model_dump(mode="json")
        for figures in (stated, made)
    )
    return _differs("", one, other)


def without_intervals(figures: MadeFigures) -> dict[str, Any]:
    """Return figures without what resamples decide: intervals, and the words that follow."""
    return cast(dict[str, Any], _without(figures.model_dump(mode="json")))


def _without(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {k: _without(v) for k, v in tree.items() if k not in _OF_RESAMPLES}
    return [_without(one) for one in tree] if isinstance(tree, list) else tree


def _model(evaluation: Evaluation, name: str) -> Any:
    return getattr(evaluation.models, name)


def _stated(one: Part) -> dict[str, Estimate]:
    return {name: value for name in _MEASURED if (value := getattr(one, name, None)) is not None}


def _differs(where: str, one: Any, other: Any) -> str | None:
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted(one.keys() | other.keys()):
            if key not in one or key not in other:
                return f"{where}{key}"
            if (found := _differs(f"{where}{key}.", one[key], other[key])) is not None:
                return found
        return None
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return next((f for i, (a, b) in pairs if (f := _differs(f"{where}{i}.", a, b))), None)
    same = one == other
    if _number(one) and _number(other):
        same = math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return None if same else where.rstrip(".")


def _number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool)
