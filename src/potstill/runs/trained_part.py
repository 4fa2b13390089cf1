"""What evaluation.json shows of a training."""

from __future__ import annotations

from potstill.work.evaluation import TrainingPart
from potstill.work.matched_states import MatchedStatesPart
from potstill.work.own_text import OwnTextPart
from potstill.work.stage_records import OwnTextLearnt, TrainRecord

# What is shown in parts of their own.
_OWN_PARTS = {"on_policy", "hidden_matching"}


def training_section(trained: TrainRecord) -> TrainingPart:
    """Return the training run, as far as it is shown."""
    by_text = trained.cross_entropy
    shown = trained.model_dump(include=set(TrainingPart.model_fields) - _OWN_PARTS)
    more = {
        "on_policy": None if trained.on_policy is None else own_text(trained.on_policy),
        "hidden_matching": matched_states(trained),
        "cross_entropy_kept_step": None if by_text is None else by_text.kept_step,
        "left_out": trained.left_out or None,
    }
    return TrainingPart.model_validate(shown | more)


def matched_states(trained: TrainRecord) -> MatchedStatesPart | None:
    """Return which hidden states were matched, and how near they came."""
    if trained.hidden_matching is None:
        return None
    near = {"first": trained.first_hidden, "final": trained.last_hidden}
    return MatchedStatesPart.model_validate(trained.hidden_matching.model_dump() | near)


def own_text(learnt: OwnTextLearnt) -> OwnTextPart:
    """Return what the student learnt from its own answers, as far as it is shown."""
    counts = {
        "answers": len(learnt.lengths),
        "response_tokens": sum(response for _, response in learnt.lengths),
    }
    return OwnTextPart.model_validate(learnt.model_dump(exclude={"lengths"}) | counts)
