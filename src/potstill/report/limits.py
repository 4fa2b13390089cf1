"""What a run did not measure, in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import words
from potstill.report.headline import by_gold, caution


def limits(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the report's limits, one sentence or two each, those that hold for this run."""
    texts = [
        caution(evaluation),
        _fidelity(evaluation),
        _teacher(evaluation),
        _held_out(evaluation),
        "The intervals cover the choice of prompts only. Another seed would give another "
        "student; one student was trained and measured here.",
        _overlap(evaluation),
        _greedy(evaluation),
        _vocabulary(evaluation),
        _baseline(evaluation),
        _cost(evaluation),
        _speed(evaluation),
    ]
    return [text for text in texts if text]


def _fidelity(evaluation: Mapping[str, Any]) -> str:
    if by_gold(evaluation):
        return (
            "Measured is how likely the student finds the right answers that the rows hold, and "
            "how often it gives them. No other fact and no safety behaviour was tested."
        )
    untested = "No fact" if words.at(evaluation, "task") else "No task, no fact"
    return (
        "Fidelity says how closely the student follows its teacher, not whether either of them "
        f"is right. {untested} and no safety behaviour was tested; the student inherits the "
        "teacher's faults."
    )


def _teacher(evaluation: Mapping[str, Any]) -> str | None:
    if words.at(evaluation, "models.teacher") or not words.at(evaluation, "models.student"):
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


def _held_out(evaluation: Mapping[str, Any]) -> str:
    longest = words.at(evaluation, "held_out.max_tokens")
    length = f" of at most {longest:,} tokens" if words.known(longest) else ""
    return (
        f"Measured on single responses{length}, to prompts of the same kind as the training "
        "prompts. Other kinds of prompt, other languages, longer responses and conversations of "
        "several turns were not measured."
    )


def _overlap(evaluation: Mapping[str, Any]) -> str | None:
    if words.at(evaluation, "overlap") is None:
        return "Overlap between held-out and training prompts was not checked in this evaluation."
    return (
        "Held-out prompts were compared with training prompts word by word; one that says the "
        "same in other words would not be noticed."
    )


def _greedy(evaluation: Mapping[str, Any]) -> str | None:
    if words.at(evaluation, "models.student.greedy") or _teacher(evaluation):
        return None
    return "Fidelity on the teacher's greedy text was not measured."


def _vocabulary(evaluation: Mapping[str, Any]) -> str | None:
    vocabulary = words.at(evaluation, "vocabulary")
    if not vocabulary:
        return None
    kept = f"{words.whole(vocabulary.get('kept'))} of {words.whole(vocabulary.get('of'))}"
    return (
        f"The student keeps {kept} tokens, chosen for this job's text. Text of another kind is "
        "cut into more tokens, so it runs slower and probably worse there."
    )


def _baseline(evaluation: Mapping[str, Any]) -> str | None:
    if words.at(evaluation, "models.cross_entropy") or _teacher(evaluation):
        return None
    return (
        "No student was trained on the teacher's text alone, so how much the teacher's full "
        "distribution adds over plain text was not measured."
    )


def _cost(evaluation: Mapping[str, Any]) -> str | None:
    if words.at(evaluation, "cost.from_scratch") is None:
        return None
    text = (
        "The from-scratch figure is a formula, not a measurement, and compares two different "
        "things: a student cut from its teacher starts from weights that somebody already paid "
        "for."
    )
    if words.at(evaluation, "cost.parent"):
        text = (
            "The from-scratch figure is a formula, not a measurement. So is the training of the "
            "model that the student began as, which is counted in; how long that one really was "
            "trained is not known here."
        )
    if words.at(evaluation, "cost.total.joules") is None:
        return text + " Energy was not measured: this machine does not report it."
    return text + " Energy is that of the CPU packages only, with whatever else was running."


def _speed(evaluation: Mapping[str, Any]) -> str:
    return (
        "Speeds are those of this machine and this software; other machines, engines and batch "
        "sizes will differ."
    )
