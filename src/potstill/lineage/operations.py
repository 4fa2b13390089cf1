"""A run's arithmetic beside that of the trainings it builds on, and a guideline that asks for it.

The European Commission's guidelines of 2025-07-18 on providers of general-purpose AI models: who
modifies such a model counts as a provider of one where the modification takes more than a third of
the operations that the original's training took; 10^23 operations indicate such a model. What
somebody's training took is not guessed: nobody has stated it, so it is unknown.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import NonNegativeFloat, PositiveFloat

from potstill.lineage.document import FactPart, LineageFacts, ModelFacts, stated_part

GUIDELINE = "the European Commission's guidelines of 2025-07-18 on general-purpose AI models"
THIRD = 1 / 3
GENERAL_PURPOSE_FLOP = 1e23


class Operations(FactPart):
    """Floating-point operations: this run's own, counted, and those that are stated of trainings.

    `whole` is the run's with those of the model that the student began as; None where these are
    unknown.
    """

    run: NonNegativeFloat
    teacher: PositiveFloat | None = None
    base: PositiveFloat | None = None
    whole: NonNegativeFloat | None = None


def operations_of(run: float, teacher: ModelFacts | None, base: ModelFacts | None) -> Operations:
    """Return a run's operations beside what is stated of teacher and base."""
    of_teacher = None if teacher is None else teacher.training_flops
    of_base = None if base is None else base.training_flops
    whole = None if of_base is None else run + of_base
    return Operations(run=run, teacher=of_teacher, base=of_base, whole=whole)


def whole_training(manifest: LineageFacts) -> float | None:
    """Return what all of a model's training took, by its manifest; None where that is unknown."""
    if manifest.operations is None:
        return None
    return stated_part(Operations, manifest.operations, "operations").whole


def operation_sentences(facts: LineageFacts) -> Iterator[str]:
    """Yield what is known of a run's operations, and where the guideline draws its lines."""
    if facts.operations is None:
        return
    found = stated_part(Operations, facts.operations, "operations")
    size = "below" if found.run < GENERAL_PURPOSE_FLOP else "not below"
    yield (
        f"This run took {found.run:.2g} floating-point operations, counted from shapes; what a "
        f"server computed for it is unknown. That is {size} the 1e23 that indicate a "
        "general-purpose model."
    )
    for role, model, stated in (
        ("teacher", facts.teacher, found.teacher),
        ("base", facts.base, found.base),
    ):
        if model is None or (role == "base" and model == facts.teacher):
            continue
        if stated is None:
            yield (
                f"How many the training of the {role} took is unknown, so the run's share of them "
                f"is unknown (cost.{role}_training_flops in a recipe states it)."
            )
            continue
        share = found.run / stated
        line = "more than" if share > THIRD else "not more than"
        yield (
            f"That is {share:.2g} of the {stated:.2g} that the training of the {role} is stated to "
            f"have taken, {line} a third."
        )
    yield (
        f"A third and 1e23 are the lines of {GUIDELINE}, beyond which whoever modifies such a "
        "model may count as a provider of one. A guideline, and no legal advice."
    )
