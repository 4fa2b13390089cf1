"""Shrink: the student before training."""

from __future__ import annotations

from typing import Any

from potstill.durable import replaced_directory
from potstill.job import Job
from potstill.models.adopt import adopted
from potstill.models.load import load, save
from potstill.shrink.choose import trims_tokens
from potstill.shrink.shrink import shrink
from potstill.stages.inputs import calibration_rows, token_weights, validation


def make_student(job: Job) -> dict[str, Any]:
    """Save the student before training, cut from the teacher or given; return how."""
    recipe = job.recipe
    if recipe.student.model is not None and not recipe.cuts:
        student = load(
            recipe.student.model,
            device=recipe.device,
            precision=job.precision,
            trainable=True,
            template_arguments=recipe.student.template_arguments,
            date=job.day,
        )
        job.require_checked("student.model", student.identity)
        if job.open:
            student = adopted(student, job.teacher)
        with replaced_directory(job.untrained) as directory:
            save(student, directory)
        return {"blocks": None}
    shrunk = shrink(
        job.parent,
        recipe.shrink,
        calibration_rows(job, recipe.shrink.calibration_tokens),
        token_weights(job) if trims_tokens(recipe.shrink, job.parent.tokenizer) else None,
        measure=validation(job),
        progress=job.progress,
    )
    if shrunk.vocabulary is not None:
        shrunk.vocabulary.save(job.vocabulary_path)
    with replaced_directory(job.untrained) as directory:
        save(shrunk.student, directory)
    plain, healed = shrunk.figures["plain"], shrunk.figures["healed"]
    after = (
        f", {healed['kl']:.3f} and {healed['agreement']:.3f} healed"
        if shrunk.figures["refitted"]
        else " and not healed"
    )
    job.progress.note(
        f"shrink: KL {plain['kl']:.3f} and agreement {plain['agreement']:.3f} cut{after}, on "
        "validation prompts"
    )
    return {**shrunk.figures, **shrunk.cut.record()}
