"""Shrink: the student before training."""

from __future__ import annotations

from typing import Any

from potstill.durable import replaced_directory
from potstill.evaluate.validation import validation
from potstill.runs.parts import Parts
from potstill.models.adopt import adopted
from potstill.models.load import load, save
from potstill.shrink.choose import trims_tokens
from potstill.shrink.shrink import shrink
from potstill.shrink.text_needs import calibration_rows, token_weights


def make_student(parts: Parts) -> dict[str, Any]:
    """Save the student before training, cut from the teacher or given; return how."""
    recipe = parts.recipe
    if recipe.student.model is not None and not recipe.cuts:
        student = load(
            recipe.student.model,
            device=recipe.device,
            precision=parts.compute.precision,
            trainable=True,
            template_arguments=recipe.student.template_arguments,
            date=parts.compute.day,
        )
        parts.require_checked("student.model", student.identity)
        if parts.access.weights is not None:
            student = adopted(student, parts.opened.teacher)
        with replaced_directory(parts.untrained) as directory:
            save(student, directory)
        return {"blocks": None}
    trims = trims_tokens(recipe.shrink, parts.opened.parent.tokenizer)
    shrunk = shrink(
        parts.opened.parent,
        recipe.shrink,
        calibration_rows(parts.corpus, recipe.shrink.calibration_tokens),
        token_weights(parts.corpus) if trims else None,
        measure=validation(parts.corpus),
        progress=parts.progress,
    )
    if shrunk.vocabulary is not None:
        shrunk.vocabulary.save(parts.vocabulary_path)
    with replaced_directory(parts.untrained) as directory:
        save(shrunk.student, directory)
    plain, healed = shrunk.figures["plain"], shrunk.figures["healed"]
    after = (
        f", {healed['kl']:.3f} and {healed['agreement']:.3f} healed"
        if shrunk.figures["refitted"]
        else " and not healed"
    )
    parts.progress.note(
        f"shrink: KL {plain['kl']:.3f} and agreement {plain['agreement']:.3f} cut{after}, on "
        "validation prompts"
    )
    return {**shrunk.figures, **shrunk.cut.record()}
