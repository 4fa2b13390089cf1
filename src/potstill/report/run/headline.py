"""The headline: what came of a run, for somebody outside the field."""

from __future__ import annotations

from potstill.report import words
from potstill.report.run.names import by_gold, kept_untrained, left_out
from potstill.stats.rounding import SMALLEST_KL
from potstill.work.evaluation import Evaluation, ModelFigures
from potstill.work.figures import Estimate
from potstill.work.scores import ModelScores, TaskScores

ENOUGH_PROMPTS = 200  # fewer held-out prompts give figures that are not worth quoting


def headline(evaluation: Evaluation) -> str:
    """Return one paragraph: size, likeness, gain over plain cutting, cost, and a caution.

    Sentences whose figures were not measured are left out.
    """
    return " ".join(sentences(evaluation))


def sentences(evaluation: Evaluation) -> list[str]:
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


def caution(evaluation: Evaluation) -> str | None:
    """Return a warning where the run is too small to be quoted, else None."""
    prompts = evaluation.held_out.prompts
    if prompts >= ENOUGH_PROMPTS:
        return None
    return (
        f"Small run: {prompts} held-out prompts are too few to quote these figures; "
        f"use at least {ENOUGH_PROMPTS}."
    )


def share_of_teacher(evaluation: Evaluation) -> float | None:
    """Return the student's parameters as a share of the teacher's."""
    teacher = evaluation.models.teacher
    if teacher is None or teacher.params == 0:
        return None
    return evaluation.models.student.params / teacher.params


def kl_over(evaluation: Evaluation, baseline: ModelFigures | None) -> float | None:
    """Return the student's KL to the teacher over that of another student (`pruned`).

    None where the other is the teacher, but for rounding, or is the very student.
    """
    models = evaluation.models
    ours = words.value_of(models.student.kl_per_token)
    theirs = None if baseline is None else words.value_of(baseline.kl_per_token)
    if ours is None or theirs is None or theirs < SMALLEST_KL:
        return None
    if baseline is models.untrained and kept_untrained(evaluation):
        return None
    return ours / theirs


def training_outcome(evaluation: Evaluation) -> str | None:
    """Return the sentence that says that training lost something, or changed nothing; else None."""
    if kept_untrained(evaluation):
        return (
            f"Training did not make it better{_on_validation(evaluation)}, so that the student is "
            "the one before training."
        )
    found = evaluation.differences
    for change, what in (
        (found.student_minus_untrained_kl, "its distance to the teacher"),
        (found.student_minus_untrained_nll, "the negative log-likelihood of these answers"),
    ):
        bounds = words.bounds_of(change)
        if change is None or (bounds is not None and bounds[1] < 0):
            continue
        said = f"{words.signed(change.value)} nats a token ({words.interval(change, words.signed)})"
        if bounds is not None and bounds[0] > 0:
            return f"Training made it worse: {what} grew by {said}."
        return (
            f"Whether training changed anything cannot be told from these prompts: {what} changed "
            f"by {said}."
        )
    return None


def _on_validation(evaluation: Evaluation) -> str:
    trained = evaluation.training
    if (
        trained is None
        or trained.validated_by is None
        or trained.validation_before is None
        or trained.validation_last is None
    ):
        return " on validation prompts"
    unit = "nats a token" if trained.validated_by == "nll" else "nats of KL a token"
    return (
        f" on validation prompts ({words.significant(trained.validation_before)} {unit} before it, "
        f"{words.significant(trained.validation_last)} after it)"
    )


def verdict(evaluation: Evaluation) -> str | None:
    """Return the sentence that says whether the student is as good as the teacher."""
    task = evaluation.task
    if task is None:
        return None
    rows = words.in_brackets(left_out(task.left_out))
    found = task.comparison
    if found is None:
        return _right_answers(task, rows)
    ours, theirs = (words.value_of(compared(task, who)) for who in (task.student, task.teacher))
    low, high = (f"{100 * end:+.1f}" for end in found.interval)
    return (
        f"On {words.whole(found.n)} held-out rows of the task{rows} the student scores "
        f"{words.percent(ours)} and its teacher {words.percent(theirs)}: {found.sentence}"
        f" (difference {100 * found.difference:+.1f} points, "
        f"{words.percent(found.confidence, 0)} interval {low} to {high})."
    )


def compared(task: TaskScores, scores: ModelScores | None) -> Estimate | None:
    """Return one model's score that the task compares by: F1, else the share of right answers."""
    if scores is None:
        return None
    return scores.f1 if task.score == "f1" else scores.exact


def _right_answers(task: TaskScores, rows: str) -> str | None:
    """Return the student's score where there are right answers and nobody to compare it with."""
    figure = compared(task, task.student)
    if figure is None or task.teacher is not None:
        return None
    exact = task.score != "f1"
    what = "gives the right answer to" if exact else "scores an F1 of"
    share = words.percent(figure.value) + (" of them" if exact else "")
    return (
        f"On {words.whole(task.n)} held-out rows of the task{rows} the "
        f"student {what} {share}{words.in_brackets(words.interval(figure, words.percent))}."
    )


def _size(evaluation: Evaluation) -> str:
    student = words.count_in_words(evaluation.models.student.params)
    teacher, share = evaluation.models.teacher, share_of_teacher(evaluation)
    if teacher is None or share is None:
        return f"The student has {student} parameters."
    return (
        f"The student has {student} parameters, {words.percent(share)} of its teacher's "
        f"{words.count_in_words(teacher.params)}."
    )


def _likeness(evaluation: Evaluation) -> str:
    agreement = evaluation.models.student.top1_agreement
    if agreement is None:
        return _likelihood(evaluation)
    text = f"{_asked(evaluation)} agrees with the teacher on the likeliest next token "
    text += f"{words.percent(agreement.value)} of the time"
    text += words.in_brackets(words.interval(agreement, words.percent))
    kl = words.value_of(evaluation.models.student.kl_per_token)
    if kl is not None:
        far = f"less than {SMALLEST_KL:.5f}" if abs(kl) < SMALLEST_KL else words.significant(kl, 2)
        text += f" and is {far} nats a token away from it (KL divergence)"
        text += _against_baseline(evaluation)
    return text + "."


def _asked(evaluation: Evaluation) -> str:
    """Return which prompts the student was measured on, as a sentence begins."""
    lacking = words.in_brackets(left_out(evaluation.held_out.left_out))
    return f"On {evaluation.held_out.prompts:,} prompts kept out of training{lacking} it"


def _likelihood(evaluation: Evaluation) -> str:
    """Return how likely the teacher's answers are, where only their text was at hand."""
    perplexity = evaluation.models.student.perplexity
    whose = "right" if by_gold(evaluation) else "teacher's"
    text = f"{_asked(evaluation)} gives the {whose} answers a perplexity of "
    text += words.significant(perplexity.value)
    text += words.in_brackets(words.interval(perplexity))
    untrained = evaluation.models.untrained
    if untrained is None or kept_untrained(evaluation):  # there is none, or it is the same student
        return f"{text}."
    return f"{text}, {words.significant(untrained.perplexity.value)} before training."


def _against_baseline(evaluation: Evaluation) -> str:
    models = evaluation.models
    for baseline, name in (
        (models.pruned, "plain cutting leaves"),
        (models.untrained, "it was before training"),
    ):
        ratio = kl_over(evaluation, baseline)
        if ratio is not None:
            return f", {words.significant(ratio, 2)} times what {name}"
    before = None if models.untrained is None else words.value_of(models.untrained.kl_per_token)
    if before is not None and before < SMALLEST_KL:
        return "; before training it could not be told from it"
    return ""


def _cost(evaluation: Evaluation) -> str:
    cost = evaluation.cost
    text = f"Making it took {words.duration(cost.total.seconds)}"
    if cost.total.money is None:
        text += " (what its server charged is not known)"
    else:
        what = "for machine time and answers" if _paid(evaluation) else "of machine time"
        text += f", {words.money(cost.total.money, cost.currency)} {what}"
    counted = (
        f", with the training of {cost.parent.model}, which it began as," if cost.parent else ""
    )
    return (
        f"{text} and{counted} {words.share_of(scratch_ratio(evaluation))} the arithmetic of "
        "training a model of this size from scratch (estimated)."
    )


def scratch_ratio(evaluation: Evaluation) -> float:
    """Return the run's arithmetic over that of training from scratch, as estimated.

    The training of the model that the student began as is counted in, where it did.
    """
    cost = evaluation.cost
    with_parent = cost.ratio_flops_with_parent
    return cost.ratio_flops if with_parent is None else with_parent


def _paid(evaluation: Evaluation) -> bool:
    """Tell whether a server was paid, too."""
    return evaluation.collection is not None and bool(evaluation.collection.money)
