"""The rows that a run's student was trained on, for the test of training order."""

from __future__ import annotations

from potstill.errors import PotstillError
from potstill.models.score import PromptAndResponse
from potstill.runs.parts import Parts
from potstill.train.stage import learnt_from
from potstill.work.stage_records import TrainRecord


def trained_rows(parts: Parts) -> list[PromptAndResponse]:
    """Return (prompt ids, response ids) of each training row, in the order of the training's plan.

    Raises PotstillError where the run has not trained, or what it holds now is not what it trained
    on.
    """
    trained = parts.run.done(TrainRecord)
    if trained is None:
        raise PotstillError(f"{parts.run.root} has trained no student yet; finish the run first")
    student = parts.opened.student(parts.untrained, trainable=False)
    rows = parts.corpus.exchanges("train")
    learnt = learnt_from(student, parts.corpus, rows, parts.vocabulary, parts.recipe.train)
    found: list[PromptAndResponse] = [
        (example.prompt_ids, example.response_ids) for example in learnt.examples
    ]
    if tuple((len(p), len(r)) for p, r in found) != trained.lengths:
        raise PotstillError(
            f"the answers in {parts.run.root} are no longer those that its student was trained on; "
            "bring the run back from a copy"
        )
    return found
