"""Figures made again from stored items: the same, and where they are not, named."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.evaluate.again import MadeFigures, figures_of, first_difference, without_intervals
from potstill.evaluate.summary import FidelitySums, kl_differences, summarise, text_items
from potstill.work.items import AnswerItems, CallItems, Items, TaskItems


def sums(seed: int, prompts: int) -> FidelitySums:
    draw = np.random.default_rng(seed)
    tokens = draw.integers(3, 40, prompts).astype(float)
    kl, nll = tokens * draw.uniform(0.1, 2, prompts), tokens * draw.uniform(0.5, 3, prompts)
    agree = np.floor(tokens * draw.uniform(0.2, 1, prompts))
    return FidelitySums(kl, agree, nll, nll / 2, nll / 2, kl / 100, tokens)


def items_of(seed: int = 1, prompts: int = 30, **more: Any) -> Items:
    student, other = sums(seed, prompts), sums(seed + 1, prompts)
    column = text_items(
        {"student": student, "untrained": other}, student.teacher_own_nll, student.tokens * 4
    )
    return Items(resamples=300, seed=5, sampled=column, greedy=column, **more)


def through_json(items: Items) -> Items:
    values = items.model_dump(mode="json", by_alias=True, exclude_none=True)
    return Items.model_validate(json.loads(json.dumps(values)))


@settings(max_examples=20)
@given(seed=st.integers(0, 2**31), prompts=st.integers(2, 60))
def test_figures_from_a_file_are_those_that_were_made_of_the_sums(seed: int, prompts: int) -> None:
    made = figures_of(through_json(items_of(seed, prompts)), trimmed=True)
    student, other = sums(seed, prompts), sums(seed + 1, prompts)
    for name, interval in summarise(student, resamples=300, seed=5).items():
        found = made.models["student"][name]
        assert (found.value, found.ci95, found.n) == (interval.value, interval.ends, interval.n)
    both = {"student": student, "untrained": other}
    for name, interval in kl_differences(both, resamples=300, seed=5).items():
        assert made.differences[name].ci95 == interval.ends
    # By hand, another way.
    assert made.models["student"]["kl_per_token"].value == pytest.approx(
        student.kl.sum() / student.tokens.sum()
    )
    assert made.models["teacher"]["bits_per_byte"].value == pytest.approx(
        student.teacher_own_nll.sum() / np.log(2) / (4 * student.tokens.sum())
    )
    assert made.teacher_mass_removed is not None
    assert made.teacher_mass_removed.value == pytest.approx(
        student.mass_removed.sum() / student.tokens.sum()
    )
    assert first_difference(made, figures_of(items_of(seed, prompts), trimmed=True)) is None


def task_items() -> TaskItems:
    right = (True,) * 30 + (False,) * 10
    student = AnswerItems(readable=right, exact=right, f1=tuple(map(float, right)))
    teacher = AnswerItems(readable=(True,) * 40, exact=(True,) * 40, f1=(1.0,) * 40)
    return TaskItems(
        kind="label",
        margin=0.1,
        confidence=0.9,
        slices=("a",) * 20 + (None,) * 20,
        student=student,
        teacher=teacher,
        agree=right,
    )


def test_tasks_and_calls_are_made_again() -> None:
    calls = CallItems(outcomes=("right", "no_call", "right", "right"), text_kept=(True, False))
    items = through_json(items_of(task=task_items(), calls=calls))
    made = figures_of(items, trimmed=False)
    assert made.task is not None and made.tool_calls is not None
    assert made.task.student.exact is not None and made.task.student.exact.value == 0.75
    assert made.task.retention is not None and made.task.retention.value == 0.75
    assert made.task.comparison is not None and made.task.comparison.word == "worse"
    assert [(one.name, one.n) for one in made.task.slices] == [("a", 20)]
    assert made.tool_calls.right.value == 0.75 and made.tool_calls.text_kept is not None
    assert made.teacher_mass_removed is None


def changed(figures: MadeFigures, change: Any) -> MadeFigures:
    values = figures.model_dump(mode="json")
    change(values)
    return MadeFigures.model_validate(values)


def test_the_first_figure_that_differs_is_named() -> None:
    stated = figures_of(items_of(task=task_items()), trimmed=True)

    def differs(change: Any) -> str | None:
        return first_difference(changed(stated, change), stated)

    kl = ("models", "student", "kl_per_token")
    assert differs(lambda v: v["models"]["student"]["kl_per_token"].update(value=9)) == ".".join(
        (*kl, "value")
    )
    assert differs(lambda v: v["models"]["student"].pop("kl_per_token")) == ".".join(kl)
    assert differs(lambda v: v["task"].update(worst_slice="b")) == "task.worst_slice"
    assert differs(lambda v: v.update(tool_calls=None)) is None

    def wider(values: Any) -> None:
        values["greedy"]["untrained"]["perplexity"]["ci95"][1] *= 1.01

    assert differs(wider) == "greedy.untrained.perplexity.ci95.1"
    assert (
        first_difference(without_intervals(changed(stated, wider)), without_intervals(stated))
        is None
    )
    # Rounding is none.
    tiny = 1 + 1e-12
    assert (
        differs(
            lambda v: v["models"]["student"]["kl_per_token"].update(
                value=stated.models["student"]["kl_per_token"].value * tiny
            )
        )
        is None
    )
