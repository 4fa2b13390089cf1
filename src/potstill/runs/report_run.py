"""The end of a run: evaluation.json, the page, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any, TypeVar

from potstill.errors import PotstillError
from potstill.evaluate.cost import model_shape
from potstill.evaluate.payback import payback, price_of
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.lineage.notice import notice_of_lineage
from potstill.lineage.operations import operation_sentences
from potstill.machine import machine_facts, peak_memory_bytes
from potstill.recipe import Recipe, TrainConfig
from potstill.report.notice import page_of
from potstill.report.run.page import render
from potstill.runs.cost import Done, PaidAnswers, Shapes, answered_by, cost_of
from potstill.runs.lineage_run import lineage_facts, write_lineage
from potstill.runs.minutes.reporting import time_part
from potstill.runs.parts import Parts
from potstill.runs.student_terms import state_terms
from potstill.runs.trained_part import training_section
from potstill.shrink.cut import Cut
from potstill.terms.gate import TermsDecision
from potstill.text.language import identified
from potstill.train.lora import adapter_weights
from potstill.work.access import RightAnswers
from potstill.work.evaluation import (
    Closeness,
    CollectionPart,
    CurationPart,
    Evaluation,
    Machine,
    Overlap,
    Shrink,
)
from potstill.work.payback_part import PaybackPart
from potstill.work.run_recipe import recipe_digest
from potstill.work.rundir import RunDir
from potstill.work.shared_prompts import shared_prompts
from potstill.work.stage_records import (
    CollectRecord,
    CurateRecord,
    CutMeasure,
    DecodedAnswers,
    EvaluateRecord,
    ServedAnswers,
    ShrinkRecord,
    StageRecord,
    TaskOutcome,
    TrainRecord,
)
from potstill.work.time_part import TimePart

NOTICE_FILE = "notice.html"
# Texts whose language is told: enough to show which there are.
_MOST_TEXTS = 2000
_R = TypeVar("_R", bound=StageRecord)


@dataclass(frozen=True)
class Reader:
    """The server that read answers which are not its own, and what permits that."""

    model: str
    identity: str
    terms: TermsDecision

    def facts(self) -> dict[str, object]:
        """Return JSON values."""
        return {"model": self.model, "identity": self.identity, "terms": self.terms.facts()}


@dataclass(frozen=True)
class Origin:
    """Whose answers a student learnt, and what permits that.

    `model` is None where the recipe names a server that only read; `tokenizer` where the teacher's
    weights are not at hand.
    """

    model: str | None
    identity: str
    tokenizer: str | None
    terms: TermsDecision
    reader: Reader | None

    def teacher(self, *, tokenizer: bool = False) -> dict[str, str]:
        """Return who answered, as JSON values."""
        named = {} if self.model is None else {"model": self.model}
        cut_up = {"tokenizer": self.tokenizer} if tokenizer and self.tokenizer is not None else {}
        return {**named, "identity": self.identity, **cut_up}

    def permitted(self) -> dict[str, object]:
        """Return the gate's decisions: about the answers, and about a server that read them."""
        reader = {} if self.reader is None else {"reader": self.reader.facts()}
        return {"terms": self.terms.facts(), **reader}


def write_report(parts: Parts) -> None:
    """Write evaluation.json, the page and, last, the manifest, from what the stages recorded."""
    run, recipe, author = parts.run, parts.recipe, parts.access.author
    # What the student is for, and who permits it, may have been stated since it was trained.
    state_terms(parts, run.student)
    done, rows = done_of(run), parts.store.read()
    student = parts.opened.student(run.student)
    # Targets of others than weights were formed elsewhere.
    usage = () if parts.access.weights is None else parts.store.usage()
    scorer = parts.corpus.scorer_identity
    answers = answered_by(author, rows, done.collected.figures, usage, scorer=scorer)
    shapes = shapes_of(parts.opened.parent.network, student.network, recipe.train)
    evaluation = evaluation_of(
        done,
        recipe,
        rows,
        parts.plan.held_out,
        answers,
        shapes,
        machine=Machine(**machine_facts(parts.compute.device, parts.compute.dtype)),
        peak_memory=peak_memory_bytes(parts.compute.device),
        time=time_part(run),
    )
    run.write_json("evaluation.json", evaluation.as_json())
    origin = _origin(parts)
    # Right answers are nobody's: the name that the recipe gives them is no teacher's.
    nobody = isinstance(author, RightAnswers)
    decided = {**origin.permitted(), "base_terms": parts.base_decision.facts()}
    facts = lineage_facts(parts, evaluation, rows, student, decided)
    shown = provenance(origin, recipe, nobody=nobody)
    render(run.root, {**shown, "operations": " ".join(operation_sentences(facts))})
    notice = notice_of_lineage(facts, recipe.name)
    page = page_of(recipe.name, "distillation notice", evaluation.created_at, notice)
    run.write_text(NOTICE_FILE, page)
    write_lineage(parts, facts)


def done_of(run: RunDir) -> Done:
    """Return what a run's stages recorded. Raises PotstillError where a record is lost."""
    return Done(
        _recorded(run, CollectRecord),
        _recorded(run, CurateRecord),
        _recorded(run, ShrinkRecord),
        _recorded(run, TrainRecord),
        _recorded(run, EvaluateRecord),
    )


def _recorded(run: RunDir, record: type[_R]) -> _R:
    found = run.done(record)
    if found is None:
        raise PotstillError(
            f"what {record.name} recorded in {run.root} is lost or damaged; run the same command "
            "again to have it done again"
        )
    return found


def shapes_of(parent: Any, student: Any, config: TrainConfig) -> Shapes:
    """Return what arithmetic depends on, by a student's network and its parent's."""
    adapters = (
        None
        if config.lora is None
        else adapter_weights(student, config.lora, frozen_blocks=config.frozen_blocks)
    )
    return Shapes(model_shape(parent), model_shape(student), adapters)


def evaluation_of(
    done: Done,
    recipe: Recipe,
    rows: Sequence[Exchange],
    held_out: Sequence[Prompt],
    answers: PaidAnswers,
    shapes: Shapes,
    *,
    machine: Machine,
    peak_memory: int,
    time: TimePart | None = None,
) -> Evaluation:
    """Return the whole of evaluation.json; `rows` are all stored exchanges, by exchange id."""
    sections, task = done.evaluated.sections, done.evaluated.task
    cost = cost_of(done, shapes, answers, recipe)
    train = [row for row in rows if row.split == "train"]
    return Evaluation(
        run=recipe.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        answers="gold" if isinstance(answers.author, RightAnswers) else "teacher",
        machine=machine,
        held_out=sections.held_out,
        models=sections.models,
        differences=sections.differences,
        vocabulary=sections.vocabulary,
        samples=list(sections.samples),
        overlap=overlap_section(
            train, held_out, recipe.prompts.template, done.collected.overlap.dropped_from_training
        ),
        collection=collection_section(done.collected, done.curated, rows, train, answers),
        shrink=shrink_section(done.shrunk),
        training=training_section(done.trained),
        cost=cost,
        curation=curation_section(done.curated),
        task=None if task is None else task.scores,
        tool_calls=done.evaluated.tool_calls,
        payback=payback_section(task, cost.total.money),
        time=time,
        peak_memory_bytes=peak_memory,
        seconds=sum(record.seconds for record in done.stages),
    )


def collection_section(
    collected: CollectRecord,
    curated: CurateRecord,
    rows: Sequence[Exchange],
    train: Sequence[Exchange],
    answers: PaidAnswers,
) -> CollectionPart:
    """Return how answers were collected; `train` are those of `rows` that training may learn."""
    figures, written = collected.figures, answers.tokens
    decoded = figures if isinstance(figures, DecodedAnswers) else None
    served = figures if isinstance(figures, ServedAnswers) else None
    notes = [*collected.notes, *([] if curated.reading is None else [curated.reading.note])]
    if written is None:
        notes.append(_uncounted(rows, priced=answers.charged is not None))
    lengths, unit = lengths_of(train)
    return CollectionPart(
        exchanges=figures.exchanges,
        response_tokens=written,
        seconds=figures.seconds,
        tokens_per_s=None if written is None else figures.tokens_per_s or None,
        slots_busy=None if decoded is None else decoded.slots_busy,
        slots_busy_before_last_wave=(
            None if decoded is None else decoded.slots_busy_before_last_wave
        ),
        waves=None if decoded is None else decoded.waves,
        failed={} if served is None else served.failed,
        money=answers.charged,
        notes=notes,
        lengths=lengths,
        length_unit=unit,
        languages=_languages([row.response for row in train if row.response or not row.calls]),
        watermark=None if decoded is None else decoded.watermark,
        int8=None if decoded is None else decoded.int8,
    )


def lengths_of(rows: Sequence[Exchange]) -> tuple[dict[str, int], str]:
    """Return how many answers are how long, by powers of two, and in which unit.

    That is tokens where every row's are known, else characters.
    """
    tokens = [len(row.ids[1]) or row.usage.get("completion_tokens") for row in rows]
    counted = [count for count in tokens if count is not None]
    known = len(counted) == len(rows)
    sizes = counted if known else [len(row.answer) for row in rows]
    bins = Counter((max(size, 1) - 1).bit_length() for size in sizes)
    lengths = {_bin(power): bins[power] for power in range(max(bins, default=-1) + 1)}
    return lengths, "tokens" if known else "characters"


def _bin(power: int) -> str:
    """Return the name of the sizes up to a power of two, from above the one before."""
    low, high = (2 ** (power - 1) + 1, 2**power) if power else (0, 1)
    return str(high) if low == high else f"{low}-{high}"


def _uncounted(rows: Sequence[Exchange], *, priced: bool) -> str:
    """Say how many answers came without their number of tokens, and what their price is."""
    count = sum("completion_tokens" not in row.usage for row in rows)
    at_most = "; what they cost is put at its most" if priced else ""
    return f"{count} of {len(rows)} answers came without their number of tokens{at_most}"


def _languages(texts: Sequence[str]) -> dict[str, int]:
    """Return how many texts are in each language, where what tells them apart is installed."""
    if find_spec("py3langid") is None:
        return {}
    found = (identified(text) for text in texts[:_MOST_TEXTS])
    named = Counter("unknown" if one is None else one.language for one in found)
    return dict(named.most_common(12))


def overlap_section(
    train: Sequence[Exchange],
    held_out: Sequence[Prompt],
    template: str | None,
    dropped_from_training: int,
) -> Overlap:
    """Return the overlap between training and held-out prompts, in the store itself.

    Rows that curation dropped count too: what is a template's is judged over all prompts.
    """
    prompts = {p.prompt_id: p.messages for p in held_out}
    found = shared_prompts([row.messages for row in train], list(prompts.values()), template)
    return Overlap(**{**found.record(), "dropped_from_training": dropped_from_training})


def shrink_section(shrunk: ShrinkRecord) -> Shrink | None:
    """Return how the student was cut; None where it was not."""
    if shrunk.blocks is None:
        return None
    refitted = bool(shrunk.refitted)
    cut = Cut(shrunk.blocks, shrunk.kept_tokens, shrunk.channels, shrunk.kv_heads)
    return Shrink(
        blocks=list(shrunk.blocks),
        heal=str(shrunk.heal) if refitted else "none",
        calibration_tokens=shrunk.calibration_tokens,
        plain=_closeness(shrunk.plain),
        healed=_closeness(shrunk.healed) if refitted else None,
        rejected=[
            trial.model_dump(mode="json", exclude={"taken"})
            for trial in shrunk.trials
            if not trial.taken
        ],
        ids_dropped=shrunk.ids_dropped,
        ffn_channels=cut.widths.get("ffn_channels"),
        kv_heads=cut.widths.get("kv_heads"),
    )


def _closeness(found: CutMeasure | None) -> Closeness | None:
    return None if found is None else Closeness.model_validate(found.model_dump())


def curation_section(curated: CurateRecord) -> CurationPart:
    """Return which answers the student learnt from, as far as it is shown."""
    return CurationPart.model_validate(curated.model_dump(include=set(CurationPart.model_fields)))


def payback_section(task: TaskOutcome | None, spent: float | None) -> PaybackPart | None:
    """Return what calls cost, where what the teacher's cost is known."""
    if task is None or spent is None or "teacher" not in task.prices:
        return None
    teacher, student = (price_of(task.prices[name]) for name in ("teacher", "student"))
    return PaybackPart(**asdict(payback(teacher, student, spent=spent)))


def _origin(parts: Parts) -> Origin:
    """Return whose answers the run's student learnt. A server that only reads is the reader."""
    server, weights = parts.access.reader, parts.access.weights
    reader = None
    if server is not None:
        reader = Reader(server.model, parts.corpus.scorer_identity, parts.scorer_decision)
    return Origin(
        None if reader is not None else parts.recipe.teacher.model,
        parts.author_identity,
        None if weights is None else parts.opened.teacher.tokenizer_id,
        parts.decision,
        reader,
    )


def provenance(origin: Origin, recipe: Recipe, *, nobody: bool) -> Mapping[str, object]:
    """Return the page's facts about where a student came from; `nobody` answered right answers."""
    return {
        **(
            {"answers": "the right ones that the rows hold"}
            if nobody
            else {"teacher": origin.teacher(tokenizer=True)}
        ),
        **origin.permitted(),
        "recipe": {"digest": recipe_digest(recipe), "seed": recipe.seed},
    }
