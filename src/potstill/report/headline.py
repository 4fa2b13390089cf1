"""The headline: what came of a run, for somebody outside the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import words

ENOUGH_PROMPTS = 200  # fewer held-out prompts give figures that are not worth quoting


def headline(evaluation: Mapping[str, Any]) -> str:
    """Return one paragraph: size, likeness, gain over plain cutting, cost, and a caution.

    `evaluation` is the content of evaluation.json. Sentences whose figures are missing are left
    out, so that it suits unfinished and unusual runs too.
    """
    return " ".join(sentences(evaluation))


def sentences(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the headline's sentences, most important first."""
    parts = [
        _size(evaluation),
        verdict(evaluation),
        _likeness(evaluation),
        _cost(evaluation),
        caution(evaluation),
    ]
    return [part for part in parts if part]


def caution(evaluation: Mapping[str, Any]) -> str | None:
    """Return a warning where the run is too small to be quoted, else None."""
    prompts = words.at(evaluation, "held_out.prompts")
    if not words.known(prompts) or prompts >= ENOUGH_PROMPTS:
        return None
    return (
        f"Small run: {prompts} held-out prompts are too few to quote these figures; "
        f"use at least {ENOUGH_PROMPTS}."
    )


def share_of_teacher(evaluation: Mapping[str, Any]) -> float | None:
    """Return the student's parameters as a share of the teacher's."""
    teacher = words.at(evaluation, "models.teacher.params")
    student = words.at(evaluation, "models.student.params")
    if not words.known(teacher) or not words.known(student) or teacher == 0:
        return None
    return float(student / teacher)


def kl_over(evaluation: Mapping[str, Any], baseline: str) -> float | None:
    """Return the student's KL to the teacher over that of another student (`pruned`)."""
    ours = words.value_of(words.at(evaluation, "models.student.kl_per_token"))
    theirs = words.value_of(words.at(evaluation, f"models.{baseline}.kl_per_token"))
    return ours / theirs if ours is not None and theirs else None


def verdict(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentence that says whether the student is as good as the teacher."""
    section = words.at(evaluation, "task.comparison")
    if not section:
        return None
    difference, ends = section.get("difference"), section.get("interval") or ()
    ours = words.value_of(words.at(evaluation, f"task.student.{_score(evaluation)}"))
    theirs = words.value_of(words.at(evaluation, f"task.teacher.{_score(evaluation)}"))
    text = (
        f"On {words.whole(section.get('n'))} held-out rows of the task the student scores "
        f"{words.percent(ours)} and its teacher {words.percent(theirs)}: "
        f"{section.get('sentence')}"
    )
    if words.known(difference) and len(ends) == 2:
        low, high = (f"{100 * end:+.1f}" for end in ends)
        text += (
            f" (difference {100 * difference:+.1f} points, "
            f"{words.percent(section['confidence'], 0)} interval {low} to {high})"
        )
    return text + "."


def _score(evaluation: Mapping[str, Any]) -> str:
    return str(words.at(evaluation, "task.score") or "exact")


def _size(evaluation: Mapping[str, Any]) -> str | None:
    share = share_of_teacher(evaluation)
    params = words.at(evaluation, "models.student.params")
    if share is None:
        known = words.known(params)
        return f"The student has {words.count_in_words(params)} parameters." if known else None
    student = words.count_in_words(params)
    teacher = words.count_in_words(words.at(evaluation, "models.teacher.params"))
    return (
        f"The student has {student} parameters, {words.percent(share)} of its teacher's {teacher}."
    )


def _likeness(evaluation: Mapping[str, Any]) -> str | None:
    agreement = words.at(evaluation, "models.student.top1_agreement")
    kl = words.value_of(words.at(evaluation, "models.student.kl_per_token"))
    agreed = words.value_of(agreement)
    if agreed is None:
        return _likelihood(evaluation)
    prompts = words.at(evaluation, "held_out.prompts")
    asked = f"On {prompts:,} prompts kept out of training" if words.known(prompts) else "It"
    subject = f"{asked} it" if words.known(prompts) else asked
    text = f"{subject} agrees with the teacher on the likeliest next token "
    text += f"{words.percent(agreed)} of the time"
    if words.bounds_of(agreement):
        text += f" (95% interval {words.span(agreement, words.percent)})"
    if kl is not None:
        text += f" and is {words.significant(kl, 2)} nats a token away from it (KL divergence)"
        text += _against_baseline(evaluation)
    return text + "."


def _likelihood(evaluation: Mapping[str, Any]) -> str | None:
    """Return how likely the teacher's answers are, where only their text was at hand."""
    perplexity = words.at(evaluation, "models.student.perplexity")
    prompts = words.at(evaluation, "held_out.prompts")
    if words.value_of(perplexity) is None or not words.known(prompts):
        return None
    text = (
        f"On {prompts:,} prompts kept out of training its perplexity on the teacher's answers is "
    )
    text += words.significant(words.value_of(perplexity))
    if words.bounds_of(perplexity):
        text += f" (95% interval {words.span(perplexity, words.significant)})"
    before = words.value_of(words.at(evaluation, "models.untrained.perplexity"))
    return text + (f", {words.significant(before)} before training." if before else ".")


def _against_baseline(evaluation: Mapping[str, Any]) -> str:
    for baseline, name in (
        ("pruned", "plain cutting leaves"),
        ("untrained", "it was before training"),
    ):
        ratio = kl_over(evaluation, baseline)
        if ratio is not None:
            return f", {words.significant(ratio, 2)} times what {name}"
    return ""


def _cost(evaluation: Mapping[str, Any]) -> str | None:
    seconds = words.at(evaluation, "cost.total.seconds")
    if not words.known(seconds):
        return None
    text = f"Making it took {words.duration(seconds)}"
    money = words.at(evaluation, "cost.total.money")
    if words.known(money):
        currency = words.at(evaluation, "cost.currency") or "USD"
        text += f", {words.money(money, currency)} of machine time"
    ratio = words.at(evaluation, "cost.ratio_flops")
    if words.known(ratio):
        text += (
            f" and {words.share_of(ratio)} the arithmetic of training a model of this size "
            "from scratch (estimated)"
        )
    return text + "."
