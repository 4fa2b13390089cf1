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
from potstill.runs.parts import Parts
from potstill.train.lora import adapter_weights
from potstill.work.target_specs import training_spec

Lengths = Sequence[Sequence[int]]


def cost_of(parts: Parts, student: Any) -> dict[str, Any]:
    """Return the section `cost` of evaluation.json. `student` is the trained network."""
    student_shape, prices = model_shape(student), parts.recipe.cost
    # What the student was made from: the teacher, where its weights are at hand.
    teacher_shape = model_shape(parts.opened.parent.network)
    train = parts.recipe.train
    adapters = (
        None
        if train.lora is None
        else adapter_weights(student, train.lora, frozen_blocks=train.frozen_blocks)
    )
    stages = {
        "collection": _collection_cost(parts, teacher_shape),
        "shrink": _stage(parts, "shrink", _shrink(parts, teacher_shape)),
        "training": _stage(
            parts, "train", _training(parts, teacher_shape, student_shape, adapters)
        ),
        "evaluation": _stage(parts, "evaluate", _evaluation(parts, teacher_shape, student_shape)),
    }
    evaluation = parts.run.done("evaluate") or {}
    return cost_section(
        stages,
        student_parameters=evaluation["student_params"],
        prices=prices,
        parent=_parent(parts, teacher_shape, evaluation["student_params"]),
    )


def _parent(parts: Parts, taken_from: ModelShape, student_parameters: int) -> Parent | None:
    """Return the trained model that the recipe has the student begin as; None without one.

    Where the student was not cut it has as many parameters as the student.
    """
    named = parts.recipe.student.model
    if named is None:
        return None
    cut = (parts.run.done("shrink") or {}).get("blocks") is not None
    return Parent(named, taken_from.parameters if cut else student_parameters)


def _stage(parts: Parts, name: str, work: tuple[float, int]) -> StageCost:
    spent = parts.run.done(name) or {}
    flops, tokens = work
    return stage_cost(flops, tokens, spent["seconds"], parts.recipe.cost, spent.get("joules"))


def _collection_cost(parts: Parts, teacher: ModelShape) -> StageCost:
    """Return the answers' cost; a server's is what its tokens are sold for, read ones too.

    Its tokens are those that it says it wrote: None where it did not say; its money is None where
    the recipe states no prices.
    """
    if parts.access.weights is not None:
        return _stage(parts, "collect", _collection(parts, teacher))
    spent = parts.run.done("collect") or {}
    reading = (parts.run.done("curate") or {}).get("reading")
    seconds = spent["seconds"] + (reading or {}).get("seconds", 0.0)
    stage = stage_cost(0.0, written_tokens(parts), seconds, parts.recipe.cost, spent.get("joules"))
    bills = [] if parts.recipe.collect.answers_given else [charged(parts)]
    bills += [reading["money"]] if reading else []
    return replace(stage, money=sum_of_known([stage.money, *bills]))


def charged(parts: Parts) -> float | None:
    """Return what a server charged for all the answers that are stored, whichever call asked them.

    At most, where it did not say how many tokens an answer took; None without prices.
    """
    endpoint = parts.recipe.teacher.endpoint
    if endpoint is None or parts.recipe.collect.answers_given:
        return None
    rows = [row for row in parts.store.read() if row.teacher == parts.corpus.scorer_identity]
    return Prices(endpoint.price_in, endpoint.price_out).of(spent_on(rows))


def written_tokens(parts: Parts) -> int | None:
    """Return how many tokens the teacher wrote; None where any answer's number is not known.

    Answers that came in files count as the student's parent reads them; those of a teacher with
    weights to training and validation prompts, whichever call collected them.
    """
    figures = (parts.run.done("collect") or {})["figures"]
    if parts.access.weights is not None:
        return sum(len(row.ids[1]) for row in parts.store.read() if row.split != "held_out")
    if parts.recipe.collect.answers_given:
        return int(figures["response_tokens"])
    counts = [row.usage.get("completion_tokens") for row in parts.store.read()]
    return sum_of_known(counts)


def _collection(parts: Parts, teacher: ModelShape) -> tuple[float, int]:
    """Every stored response was decoded once (held-out text too: evaluation only reads it)."""
    lengths = [
        (len(prompt), len(response)) for prompt, response in (r.ids for r in parts.store.read())
    ]
    tokens = sum(response for _, response in lengths)
    return generation_flops(teacher, lengths) + teacher.head * _formed(parts), tokens


def _formed(parts: Parts) -> int:
    """Return the positions whose targets took the teacher's head once more, to draw or rank."""
    return sum(
        usage.positions
        for usage in parts.store.usage()
        if not TargetSpec.parse(usage.spec).is_hidden
    )


def _shrink(parts: Parts, teacher: ModelShape) -> tuple[float, int]:
    """Calibration runs both bodies once over its tokens; trials of a search likewise.

    The normal equations and the measurements on validation prompts are left out: they are
    below a tenth of it.
    """
    done = parts.run.done("shrink") or {}
    tokens = int(done.get("calibration_tokens") or 0)
    passes = 2.0 * tokens + 2.0 * parts.recipe.shrink.trial_tokens * len(done.get("trials") or ())
    return passes * teacher.body, tokens


def _training(
    parts: Parts, teacher: ModelShape, student: ModelShape, adapters: int | None = None
) -> tuple[float, int]:
    """Return the cost of training all weights; of adapters alone where their weights are given."""
    done = parts.run.done("train") or {}
    lengths = done["lengths"]
    epochs = done["tokens"] / max(1, sum(p + r for p, r in lengths))
    positions = sum(response for _, response in lengths)
    config = parts.recipe.train
    flops = training_flops(
        student,
        [p + r for p, r in lengths],
        positions,
        config.frozen_blocks,
        checkpointing=config.gradient_checkpointing == "blocks",
        adapters=adapters,
    )
    spec = training_spec(parts.recipe.collect, config.temperature)
    if config.cross_entropy < 1 and (spec is None or spec.is_hidden):
        # Stored states still pass the teacher's head; rows scored again pass its body too.
        flops += teacher.head * positions
    again = done["scored_again"] / max(1, len(lengths))
    flops += again * forward_flops(teacher, [p + r for p, r in lengths], 0)
    return epochs * flops, int(done["tokens"])


def _evaluation(parts: Parts, teacher: ModelShape, student: ModelShape) -> tuple[float, int]:
    done = parts.run.done("evaluate") or {}
    by_model: Mapping[str, Lengths] = done["read"]
    flops, tokens = 0.0, 0
    for name, lengths in by_model.items():
        shape = teacher if name == "teacher" else student
        responses = sum(response for _, response in lengths)
        flops += forward_flops(shape, [p + r for p, r in lengths], responses)
        tokens += responses
    return flops, tokens
