"""The headline: what came of a run, for somebody outside the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import words
from potstill.stats.rounding import SMALLEST_KL

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
        training_outcome(evaluation),
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
    """Return the student's KL to the teacher over that of another student (`pruned`).

    None where the other is the teacher, but for rounding, or is the very student.
    """
    ours = words.value_of(words.at(evaluation, "models.student.kl_per_token"))
    theirs = words.value_of(words.at(evaluation, f"models.{baseline}.kl_per_token"))
    if ours is None or theirs is None or theirs < SMALLEST_KL:
        return None
    if baseline == "untrained" and words.at(evaluation, "training.kept_step") == 0:
        return None
    return ours / theirs


def by_gold(evaluation: Mapping[str, Any]) -> bool:
    """Tell whether right answers were learnt, so that there is no teacher to compare with."""
    return evaluation.get("answers") == "gold"


def training_outcome(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentence that says that training lost something, or changed nothing; else None."""
    kept = words.at(evaluation, "training.kept_step")
    if kept == 0:
        return (
            f"Training did not make it better{_on_validation(evaluation)}, so that the student is "
            "the one before training."
        )
    for key, what in (
        ("kl", "its distance to the teacher"),
        ("nll", "the negative log-likelihood of these answers"),
    ):
        change = words.at(evaluation, f"differences.student_minus_untrained_{key}")
        value, bounds = words.value_of(change), words.bounds_of(change)
        if value is None or (bounds is not None and bounds[1] < 0):
            continue
        said = f"{signed(value)} nats a token ({words.interval(change, signed)})"
        if bounds is not None and bounds[0] > 0:
            return f"Training made it worse: {what} grew by {said}."
        return (
            f"Whether training changed anything cannot be told from these prompts: {what} changed "
            f"by {said}."
        )
    return None


def signed(value: float | None) -> str:
    """Return a difference in nats with its sign."""
    if value is None or not words.known(value):
        return words.NOTHING
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{words.nats(abs(value))}"


def _on_validation(evaluation: Mapping[str, Any]) -> str:
    names = {"kl": "nats of KL a token", "nll": "nats a token"}
    unit = names.get(str(words.at(evaluation, "training.validated_by")))
    before, last = (words.at(evaluation, f"training.validation_{at}") for at in ("before", "last"))
    if unit is None or not words.known(before) or not words.known(last):
        return " on validation prompts"
    return (
        f" on validation prompts ({words.significant(before)} {unit} before it, "
        f"{words.significant(last)} after it)"
    )


def verdict(evaluation: Mapping[str, Any]) -> str | None:
    """Return the sentence that says whether the student is as good as the teacher."""
    section = words.at(evaluation, "task.comparison")
    rows = words.in_brackets(words.left_out(words.at(evaluation, "task.left_out")))
    if not section:
        return _right_answers(evaluation, rows)
    difference, ends = section.get("difference"), section.get("interval") or ()
    ours = words.value_of(words.at(evaluation, f"task.student.{_score(evaluation)}"))
    theirs = words.value_of(words.at(evaluation, f"task.teacher.{_score(evaluation)}"))
    text = (
        f"On {words.whole(section.get('n'))} held-out rows of the task{rows} the student scores "
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


def _right_answers(evaluation: Mapping[str, Any], rows: str) -> str | None:
    """Return the student's score where there are right answers and nobody to compare it with."""
    figure = words.at(evaluation, f"task.student.{_score(evaluation)}")
    value = words.value_of(figure)
    if value is None or words.at(evaluation, "task.teacher") is not None:
        return None
    what = "gives the right answer to" if _score(evaluation) == "exact" else "scores an F1 of"
    share = words.percent(value) + (" of them" if _score(evaluation) == "exact" else "")
    return (
        f"On {words.whole(words.at(evaluation, 'task.n'))} held-out rows of the task{rows} the "
        f"student {what} {share}{words.in_brackets(words.interval(figure, words.percent))}."
    )


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
    text = f"{_asked(evaluation) or 'It'} agrees with the teacher on the likeliest next token "
    text += f"{words.percent(agreed)} of the time"
    text += words.in_brackets(words.interval(agreement, words.percent))
    if kl is not None:
        far = f"less than {SMALLEST_KL:.5f}" if abs(kl) < SMALLEST_KL else words.significant(kl, 2)
        text += f" and is {far} nats a token away from it (KL divergence)"
        text += _against_baseline(evaluation)
    return text + "."


def _asked(evaluation: Mapping[str, Any]) -> str | None:
    """Return which prompts the student was measured on, as a sentence begins; None if unknown."""
    prompts = words.at(evaluation, "held_out.prompts")
    if not words.known(prompts):
        return None
    lacking = words.in_brackets(words.left_out(words.at(evaluation, "held_out.left_out")))
    return f"On {prompts:,} prompts kept out of training{lacking} it"


def _likelihood(evaluation: Mapping[str, Any]) -> str | None:
    """Return how likely the teacher's answers are, where only their text was at hand."""
    perplexity = words.at(evaluation, "models.student.perplexity")
    asked = _asked(evaluation)
    if words.value_of(perplexity) is None or asked is None:
        return None
    whose = "right" if by_gold(evaluation) else "teacher's"
    text = f"{asked} gives the {whose} answers a perplexity of "
    text += words.significant(words.value_of(perplexity))
    text += words.in_brackets(words.interval(perplexity))
    before = words.value_of(words.at(evaluation, "models.untrained.perplexity"))
    if words.at(evaluation, "training.kept_step") == 0:
        before = None  # it is the same student
    return text + (f", {words.significant(before)} before training." if before else ".")


def _against_baseline(evaluation: Mapping[str, Any]) -> str:
    for baseline, name in (
        ("pruned", "plain cutting leaves"),
        ("untrained", "it was before training"),
    ):
        ratio = kl_over(evaluation, baseline)
        if ratio is not None:
            return f", {words.significant(ratio, 2)} times what {name}"
    before = words.value_of(words.at(evaluation, "models.untrained.kl_per_token"))
    if before is not None and before < SMALLEST_KL:
        return "; before training it could not be told from it"
    return ""


def _cost(evaluation: Mapping[str, Any]) -> str | None:
    seconds = words.at(evaluation, "cost.total.seconds")
    if not words.known(seconds):
        return None
    text = f"Making it took {words.duration(seconds)}"
    money = words.at(evaluation, "cost.total.money")
    if words.known(money):
        currency = words.at(evaluation, "cost.currency") or "USD"
        what = "for machine time and answers" if _paid(evaluation) else "of machine time"
        text += f", {words.money(money, currency)} {what}"
    elif "money" in (words.at(evaluation, "cost.total") or {}):
        text += " (what its server charged is not known)"
    ratio = scratch_ratio(evaluation)
    if ratio is not None:
        parent = words.at(evaluation, "cost.parent.model")
        counted = f", with the training of {parent}, which it began as," if parent else ""
        text += (
            f" and{counted} {words.share_of(ratio)} the arithmetic of training a model of this "
            "size from scratch (estimated)"
        )
    return text + "."


def scratch_ratio(evaluation: Mapping[str, Any]) -> float | None:
    """Return the run's arithmetic over that of training from scratch, as estimated.

    The training of the model that the student began as is counted in, where it did.
    """
    for key in ("ratio_flops_with_parent", "ratio_flops"):
        ratio = words.at(evaluation, f"cost.{key}")
        if words.known(ratio):
            return float(ratio)
    return None


def _paid(evaluation: Mapping[str, Any]) -> bool:
    """Tell whether a server was paid, too."""
    return bool(words.value_of({"value": words.at(evaluation, "collection.money")}))
