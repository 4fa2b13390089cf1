"""What a run cost, stage by stage, counted from what its stages recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from potstill.collect.served.pending import spent_on
from potstill.endpoint.budget import Prices
from potstill.evaluate.cost import (
    ModelShape,
    Parent,
    StageCost,
    cost_section,
    forward_flops,
    generation_flops,
    stage_cost,
    sum_of_known,
    training_flops,
)
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.usage import TargetUsage
from potstill.recipe import CostConfig, Recipe, TrainConfig
from potstill.work.access import Author, Server, Weights
from potstill.work.evaluation import Cost
from potstill.work.stage_records import (
    AnswerFigures,
    CollectRecord,
    CurateRecord,
    EvaluateRecord,
    ShrinkRecord,
    StageRecord,
    TrainRecord,
)
from potstill.work.target_specs import training_spec

Lengths = Sequence[tuple[int, int]]
"""(prompt tokens, response tokens) of sequences."""


@dataclass(frozen=True)
class Done:
    """What the stages of a finished run recorded."""

    collected: CollectRecord
    curated: CurateRecord
    shrunk: ShrinkRecord
    trained: TrainRecord
    evaluated: EvaluateRecord

    @property
    def stages(self) -> tuple[StageRecord, ...]:
        """The records in the order of the stages."""
        return (self.collected, self.curated, self.shrunk, self.trained, self.evaluated)


@dataclass(frozen=True)
class Shapes:
    """What the arithmetic depends on.

    `parent` is what the student was made from: the teacher, where its weights are at hand.
    `adapters` is the number of their weights, None where all weights were trained.
    """

    parent: ModelShape
    student: ModelShape
    adapters: int | None = None


@dataclass(frozen=True)
class PaidAnswers:
    """What the stored answers took: of whom, how many tokens, and what a server charged.

    `lengths` are theirs in the teacher's tokens, `formed` the positions whose targets took its
    head once more. `tokens` is None where any answer's number is not known, `charged` without
    prices, or a server that answered.
    """

    author: Author
    lengths: Lengths
    formed: int
    tokens: int | None
    charged: float | None


@dataclass(frozen=True)
class Work:
    """Floating-point operations, and the tokens that they were for."""

    flops: float
    tokens: int


def cost_of(done: Done, shapes: Shapes, answered: PaidAnswers, recipe: Recipe) -> Cost:
    """Return the section `cost` of evaluation.json."""
    prices, train = recipe.cost, recipe.train
    spec = training_spec(recipe.collect, train.temperature)
    shrinking = shrink_work(shapes.parent, done.shrunk, recipe.shrink.trial_tokens)
    training = training_work(shapes, done.trained, train, spec)
    evaluating = evaluation_work(shapes, done.evaluated.read)
    parameters = done.evaluated.student_params
    return cost_section(
        {
            "collection": collection_cost(done.collected, done.curated, shapes, answered, prices),
            "shrink": _stage(done.shrunk, shrinking, prices),
            "training": training_cost(done.trained, training, prices),
            "evaluation": _stage(done.evaluated, evaluating, prices),
        },
        student_parameters=parameters,
        prices=prices,
        parent=parent_of(recipe.student.model, shapes.parent, done.shrunk, parameters),
    )


def parent_of(
    named: str | None, taken_from: ModelShape, shrunk: ShrinkRecord, student_parameters: int
) -> Parent | None:
    """Return the trained model `named` by a recipe, that the student began as; None without one.

    Where the student was not cut it has as many parameters as the student.
    """
    if named is None:
        return None
    cut = shrunk.blocks is not None
    return Parent(named, taken_from.parameters if cut else student_parameters)


def answered_by(
    author: Author,
    rows: Sequence[Exchange],
    figures: AnswerFigures,
    usage: Iterable[TargetUsage] = (),
    *,
    scorer: str,
) -> PaidAnswers:
    """Return what all the stored `rows` took; `scorer` is the identity that a server has."""
    return PaidAnswers(
        author,
        [(len(prompt), len(response)) for prompt, response in (row.ids for row in rows)],
        sum(one.positions for one in usage if not TargetSpec.parse(one.spec).is_hidden),
        written_tokens(author, rows, figures),
        charged(author, [row for row in rows if row.teacher == scorer]),
    )


def charged(author: Author, rows: Iterable[Exchange]) -> float | None:
    """Return what a server charged for its stored answers, whichever call asked for them.

    At most, where it did not say how many tokens an answer took; None without prices.
    """
    if not isinstance(author, Server):
        return None
    endpoint = author.endpoint
    return Prices(endpoint.price_in, endpoint.price_out).of(spent_on(rows))


def written_tokens(author: Author, rows: Sequence[Exchange], figures: AnswerFigures) -> int | None:
    """Return how many tokens the teacher wrote; None where any answer's number is not known.

    Answers that came in files count as the student's parent reads them; those of a teacher with
    weights to training and validation prompts, whichever call collected them.
    """
    if isinstance(author, Weights):
        return sum(len(row.ids[1]) for row in rows if row.split != "held_out")
    if not isinstance(author, Server):
        return figures.response_tokens
    return sum_of_known([row.usage.get("completion_tokens") for row in rows])


def collection_cost(
    collected: CollectRecord,
    curated: CurateRecord,
    shapes: Shapes,
    answered: PaidAnswers,
    prices: CostConfig,
) -> StageCost:
    """Return the answers' cost; a server's is what its tokens are sold for, read ones too.

    Its tokens are those that it says it wrote: None where it did not say; its money is None where
    the recipe states no prices.
    """
    if isinstance(answered.author, Weights):
        return _stage(collected, decoding_work(shapes.parent, answered), prices)
    reading = curated.reading
    seconds = collected.seconds + (0.0 if reading is None else reading.seconds)
    stage = stage_cost(0.0, answered.tokens, seconds, prices, collected.joules)
    bills = [answered.charged] if isinstance(answered.author, Server) else []
    bills += [] if reading is None else [reading.money]
    return replace(stage, money=sum_of_known([stage.money, *bills]))


def decoding_work(teacher: ModelShape, answered: PaidAnswers) -> Work:
    """Every stored response was decoded once (held-out text too: evaluation only reads it)."""
    flops = generation_flops(teacher, answered.lengths) + teacher.head * answered.formed
    return Work(flops, sum(response for _, response in answered.lengths))


def shrink_work(teacher: ModelShape, shrunk: ShrinkRecord, trial_tokens: int) -> Work:
    """Calibration runs both bodies once over its tokens; trials of a search likewise.

    The normal equations and the measurements on validation prompts are left out: they are
    below a tenth of it.
    """
    passes = 2.0 * shrunk.calibration_tokens + 2.0 * trial_tokens * len(shrunk.trials)
    return Work(passes * teacher.body, shrunk.calibration_tokens)


def training_work(
    shapes: Shapes, trained: TrainRecord, config: TrainConfig, spec: TargetSpec | None
) -> Work:
    """Return what training all weights took; adapters alone where `shapes` counts theirs.

    `spec` is the form of the targets that are learnt from, None for text alone.
    """
    lengths = [prompt + response for prompt, response in trained.lengths]
    epochs = trained.tokens / max(1, sum(lengths))
    positions = sum(response for _, response in trained.lengths)
    flops = training_flops(
        shapes.student,
        lengths,
        positions,
        config.frozen_blocks,
        checkpointing=config.gradient_checkpointing == "blocks",
        adapters=shapes.adapters,
    )
    if config.cross_entropy < 1 and (spec is None or spec.is_hidden):
        # Stored states still pass the teacher's head; rows scored again pass its body too.
        flops += shapes.parent.head * positions
    again = trained.scored_again / max(1, len(lengths)) + _reads_for_states(trained)
    flops += again * forward_flops(shapes.parent, lengths, 0)
    return Work(epochs * flops + own_text_flops(shapes, trained), trained.tokens)


def training_cost(trained: TrainRecord, work: Work, prices: CostConfig) -> StageCost:
    """Return training's cost, with what a server charged for reading the student's own text.

    Its money is None where the recipe states no prices of such a server.
    """
    stage, own = _stage(trained, work, prices), trained.on_policy
    if own is None or own.served is None:
        return stage
    return replace(stage, money=sum_of_known([stage.money, own.served.money]))


def own_text_flops(shapes: Shapes, trained: TrainRecord) -> float:
    """Return what it took that the student wrote answers of its own and the teacher read them.

    Learning from them is counted as learning from stored ones of the same length; what a server
    computes is not known.
    """
    if trained.on_policy is None:
        return 0.0
    pairs = trained.on_policy.lengths
    written = generation_flops(shapes.student, pairs)
    if trained.on_policy.served is not None:
        return written
    whole = [prompt + response for prompt, response in pairs]
    return written + forward_flops(shapes.parent, whole, 0)


def _reads_for_states(trained: TrainRecord) -> int:
    """Return how often the teacher read what was learnt for what its blocks give: once, or never.

    Projections take too little to count.
    """
    return int(trained.hidden_matching is not None and bool(trained.hidden_matching.pairs))


def evaluation_work(shapes: Shapes, read: Mapping[str, Lengths]) -> Work:
    """Return what reading took, by model: the teacher, and students that count as the trained."""
    flops, tokens = 0.0, 0
    for name, lengths in read.items():
        shape = shapes.parent if name == "teacher" else shapes.student
        responses = sum(response for _, response in lengths)
        flops += forward_flops(shape, [p + r for p, r in lengths], responses)
        tokens += responses
    return Work(flops, tokens)


def _stage(spent: StageRecord, work: Work, prices: CostConfig) -> StageCost:
    return stage_cost(work.flops, work.tokens, spent.seconds, prices, spent.joules)
