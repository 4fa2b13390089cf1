"""What a run cost, stage by stage, counted from what its stages recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from potstill.collect.served.pending import spent_on
from potstill.endpoint.budget import Prices
from potstill.evaluate.cost import (
    ModelShape,
    Parent,
    StageCost,
    cost_section,
    forward_flops,
    generation_flops,
    model_shape,
    stage_cost,
    sum_of_known,
    training_flops,
)
from potstill.exchanges.specs import TargetSpec
from potstill.job import Job
from potstill.train.lora import adapter_weights
from potstill.work.target_specs import training_spec

Lengths = Sequence[Sequence[int]]


def cost_of(job: Job, student: Any) -> dict[str, Any]:
    """Return the section `cost` of evaluation.json. `student` is the trained network."""
    student_shape, prices = model_shape(student), job.recipe.cost
    # What the student was made from: the teacher, where its weights are at hand.
    teacher_shape = model_shape(job.parent.network)
    train = job.recipe.train
    adapters = (
        None
        if train.lora is None
        else adapter_weights(student, train.lora, frozen_blocks=train.frozen_blocks)
    )
    stages = {
        "collection": _collection_cost(job, teacher_shape),
        "shrink": _stage(job, "shrink", _shrink(job, teacher_shape)),
        "training": _stage(job, "train", _training(job, teacher_shape, student_shape, adapters)),
        "evaluation": _stage(job, "evaluate", _evaluation(job, teacher_shape, student_shape)),
    }
    evaluation = job.run.done("evaluate") or {}
    return cost_section(
        stages,
        student_parameters=evaluation["student_params"],
        prices=prices,
        parent=_parent(job, teacher_shape, evaluation["student_params"]),
    )


def _parent(job: Job, taken_from: ModelShape, student_parameters: int) -> Parent | None:
    """Return the trained model that the recipe has the student begin as; None without one.

    Where the student was not cut it has as many parameters as the student.
    """
    named = job.recipe.student.model
    if named is None:
        return None
    cut = (job.run.done("shrink") or {}).get("blocks") is not None
    return Parent(named, taken_from.parameters if cut else student_parameters)


def _stage(job: Job, name: str, work: tuple[float, int]) -> StageCost:
    spent = job.run.done(name) or {}
    flops, tokens = work
    return stage_cost(flops, tokens, spent["seconds"], job.recipe.cost, spent.get("joules"))


def _collection_cost(job: Job, teacher: ModelShape) -> StageCost:
    """Return the answers' cost; a server's is what its tokens are sold for, read ones too.

    Its tokens are those that it says it wrote: None where it did not say; its money is None where
    the recipe states no prices.
    """
    if job.open:
        return _stage(job, "collect", _collection(job, teacher))
    spent = job.run.done("collect") or {}
    reading = (job.run.done("curate") or {}).get("reading")
    seconds = spent["seconds"] + (reading or {}).get("seconds", 0.0)
    stage = stage_cost(0.0, written_tokens(job), seconds, job.recipe.cost, spent.get("joules"))
    bills = [] if job.recipe.collect.answers_given else [charged(job)]
    bills += [reading["money"]] if reading else []
    return replace(stage, money=sum_of_known([stage.money, *bills]))


def charged(job: Job) -> float | None:
    """Return what a server charged for all the answers that are stored, whichever call asked them.

    At most, where it did not say how many tokens an answer took; None without prices.
    """
    endpoint = job.recipe.teacher.endpoint
    if endpoint is None or job.recipe.collect.answers_given:
        return None
    rows = [row for row in job.store.read() if row.teacher == job.scorer_identity]
    return Prices(endpoint.price_in, endpoint.price_out).of(spent_on(rows))


def written_tokens(job: Job) -> int | None:
    """Return how many tokens the teacher wrote; None where any answer's number is not known.

    Answers that came in files count as the student's parent reads them; those of a teacher with
    weights to training and validation prompts, whichever call collected them.
    """
    figures = (job.run.done("collect") or {})["figures"]
    if job.open:
        return sum(len(row.ids[1]) for row in job.store.read() if row.split != "held_out")
    if job.recipe.collect.answers_given:
        return int(figures["response_tokens"])
    counts = [row.usage.get("completion_tokens") for row in job.store.read()]
    return sum_of_known(counts)


def _collection(job: Job, teacher: ModelShape) -> tuple[float, int]:
    """Every stored response was decoded once (held-out text too: evaluation only reads it)."""
    lengths = [
        (len(prompt), len(response)) for prompt, response in (r.ids for r in job.store.read())
    ]
    tokens = sum(response for _, response in lengths)
    return generation_flops(teacher, lengths) + teacher.head * _formed(job), tokens


def _formed(job: Job) -> int:
    """Return the positions whose targets took the teacher's head once more, to draw or rank."""
    return sum(
        usage.positions for usage in job.store.usage() if not TargetSpec.parse(usage.spec).is_hidden
    )


def _shrink(job: Job, teacher: ModelShape) -> tuple[float, int]:
    """Calibration runs both bodies once over its tokens; trials of a search likewise.

    The normal equations and the measurements on validation prompts are left out: they are
    below a tenth of it.
    """
    done = job.run.done("shrink") or {}
    tokens = int(done.get("calibration_tokens") or 0)
    passes = 2.0 * tokens + 2.0 * job.recipe.shrink.trial_tokens * len(done.get("trials") or ())
    return passes * teacher.body, tokens


def _training(
    job: Job, teacher: ModelShape, student: ModelShape, adapters: int | None = None
) -> tuple[float, int]:
    """Return the cost of training all weights; of adapters alone where their weights are given."""
    done = job.run.done("train") or {}
    lengths = done["lengths"]
    epochs = done["tokens"] / max(1, sum(p + r for p, r in lengths))
    positions = sum(response for _, response in lengths)
    config = job.recipe.train
    flops = training_flops(
        student,
        [p + r for p, r in lengths],
        positions,
        config.frozen_blocks,
        checkpointing=config.gradient_checkpointing == "blocks",
        adapters=adapters,
    )
    spec = training_spec(job.recipe.collect, config.temperature)
    if config.cross_entropy < 1 and (spec is None or spec.is_hidden):
        # Stored states still pass the teacher's head; rows scored again pass its body too.
        flops += teacher.head * positions
    again = done["scored_again"] / max(1, len(lengths))
    flops += again * forward_flops(teacher, [p + r for p, r in lengths], 0)
    return epochs * flops, int(done["tokens"])


def _evaluation(job: Job, teacher: ModelShape, student: ModelShape) -> tuple[float, int]:
    done = job.run.done("evaluate") or {}
    by_model: Mapping[str, Lengths] = done["read"]
    flops, tokens = 0.0, 0
    for name, lengths in by_model.items():
        shape = teacher if name == "teacher" else student
        responses = sum(response for _, response in lengths)
        flops += forward_flops(shape, [p + r for p, r in lengths], responses)
        tokens += responses
    return flops, tokens
