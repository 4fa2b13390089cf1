"""What a run did not measure, in plain words."""

from __future__ import annotations

from potstill.report import words
from potstill.report.run.cost import energy_of, gpu_counted
from potstill.report.run.headline import caution
from potstill.report.run.names import by_gold
from potstill.work.evaluation import Evaluation


def limits(evaluation: Evaluation) -> list[str]:
    """Return the report's limits, one sentence or two each, those that hold for this run."""
    texts = [
        caution(evaluation),
        _fidelity(evaluation),
        _teacher(evaluation),
        _held_out(evaluation),
        "The intervals cover the choice of prompts only. Another seed would give another "
        "student; one student was trained and measured here.",
        "Held-out prompts were compared with training prompts word by word; one that says the "
        "same in other words would not be noticed.",
        _greedy(evaluation),
        _vocabulary(evaluation),
        _baseline(evaluation),
        _cost(evaluation),
        "Speeds are those of this machine and this software; other machines, engines and batch "
        "sizes will differ.",
    ]
    return [text for text in texts if text]


def _fidelity(evaluation: Evaluation) -> str:
    if by_gold(evaluation):
        return (
            "Measured is how likely the student finds the right answers that the rows hold, and "
            "how often it gives them. No other fact and no safety behaviour was tested."
        )
    untested = "No task, no fact" if evaluation.task is None else "No fact"
    return (
        "Fidelity says how closely the student follows its teacher, not whether either of them "
        f"is right. {untested} and no safety behaviour was tested; the student inherits the "
        "teacher's faults."
    )


def _teacher(evaluation: Evaluation) -> str | None:
    if evaluation.models.teacher is not None:
        return None
    if by_gold(evaluation):
        return (
            "The answers are the right ones that the rows hold: no larger model gave them, so "
            "there is none to compare the student with."
        )
    return (
        "The teacher's weights were not at hand: how far the student's probabilities are from the "
        "teacher's was not measured, only how likely its answers are."
    )


def _held_out(evaluation: Evaluation) -> str:
    return (
        f"Measured on single responses of at most {evaluation.held_out.max_tokens:,} tokens, to "
        "prompts of the same kind as the training prompts. Other kinds of prompt, other languages, "
        "longer responses and conversations of several turns were not measured."
    )


def _greedy(evaluation: Evaluation) -> str | None:
    models = evaluation.models
    if models.student.greedy is not None or models.teacher is None:
        return None
    return "Fidelity on the teacher's greedy text was not measured."


def _vocabulary(evaluation: Evaluation) -> str | None:
    vocabulary = evaluation.vocabulary
    if vocabulary is None:
        return None
    return (
        f"The student keeps {words.whole(vocabulary.kept)} of {words.whole(vocabulary.of)} tokens, "
        "chosen for this job's text. Text of another kind is cut into more tokens, so it runs "
        "slower and probably worse there."
    )


def _baseline(evaluation: Evaluation) -> str | None:
    models = evaluation.models
    if models.cross_entropy is not None or models.teacher is None:
        return None
    return (
        "No student was trained on the teacher's text alone, so how much the teacher's full "
        "distribution adds over plain text was not measured."
    )


def _cost(evaluation: Evaluation) -> str:
    cost = evaluation.cost
    text = (
        "The from-scratch figure is a formula, not a measurement, and compares two different "
        "things: a student cut from its teacher starts from weights that somebody already paid "
        "for."
    )
    if cost.parent is not None:
        text = (
            "The from-scratch figure is a formula, not a measurement. So is the training of the "
            "model that the student began as, which is counted in; how long that one really was "
            "trained is not known here."
        )
    if cost.total.joules is None:
        return text + " Energy was not measured: this machine does not report it."
    only = "" if gpu_counted(evaluation) else " only"
    return (
        f"{text} Energy is that of {energy_of(evaluation)}{only}, with whatever else was running."
    )
