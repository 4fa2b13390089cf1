"""Collect: the answers to a run's prompts, from whoever the recipe lets answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from potstill.collect.answers import collect, gold_exchanges, plan_waves, questions
from potstill.collect.asked import AskedFor, PromptSet, prompt_sets
from potstill.collect.calls import exchanges_from_calls
from potstill.collect.mark_effect import mark_effect, said_of
from potstill.collect.rounded import rounded_teacher
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures, together, without_targets
from potstill.collect.served.step import TextReader, check_reading
from potstill.collect.served.unanswered import no_training_answer, why_stopped
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.overlap import OverlapReport
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.logs.reading import Log
from potstill.models.conversation import Conversation
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress, Silent
from potstill.recipe import CollectConfig, EvaluateConfig, PromptsConfig
from potstill.terms.gate import TermsDecision
from potstill.work.access import PastCalls, RightAnswers, Server, Weights
from potstill.work.corpus import Cutter, tokenised
from potstill.work.evaluation import Overlap
from potstill.work.mark import TrainingMark
from potstill.work.opened import Opened
from potstill.work.plan import PromptPlan
from potstill.work.samplings import Samplings
from potstill.work.stage_records import (
    UNMEASURED,
    CollectRecord,
    DecodedAnswers,
    GivenAnswers,
    ServedAnswers,
    StoredRows,
)
from potstill.work.target_specs import target_specs, training_spec

# Who answered, where the rows came with their answers.
GOLD = "gold"
# Where calls are of more than one model.
SEVERAL = "calls/several"


@dataclass(frozen=True)
class Asking:
    """How answers are drawn, and what is kept of them.

    `temperature` is the loss's, at which sampled targets are drawn. `mark` is in the answers that
    are learnt from, and in no other. `reasoning` tells whether what
    stands before an answer is learnt too; `cut` cuts texts into the student's ids. `all_greedy`: a
    server answers every held-out prompt greedily, since nobody can ask it later. `int8`: a model
    that is loaded here multiplies bytes where it writes what is learnt from, and nowhere else.
    """

    collect: CollectConfig
    evaluate: EvaluateConfig
    prompts: PromptsConfig
    samplings: Samplings
    temperature: float
    seed: int
    reasoning: Literal["keep", "leave_out"] = "keep"
    all_greedy: bool = False
    currency: str = "USD"
    cut: Cutter = tokenised
    mark: TrainingMark | None = None
    int8: bool = False

    @property
    def spec(self) -> TargetSpec | None:
        """The form of targets that training learns from; None for text alone."""
        return training_spec(self.collect, self.temperature)

    def asked(self, server: Server | None = None) -> AskedFor:
        """Return how much of a plan is asked, of a server or of a model that is at hand."""
        return AskedFor(
            self.collect.samples,
            self.evaluate.fidelity_prompts,
            self.evaluate.greedy,
            all_greedy=server is not None and self.all_greedy,
            targets=server is not None and server.tells_targets,
        )


@dataclass(frozen=True)
class Kept:
    """Where a run keeps what the store does not hold.

    `author` and `plan` are told, before the first answer is stored, whose answers they are and
    which prompts a log gave. Files: `paid` for what a server charged without an answer to store,
    `readings` for the text that it read.
    """

    author: Callable[[str], None]
    plan: Callable[[PromptPlan], None]
    paid: Path
    readings: Path


def collect_answers(
    opened: Opened,
    store: ExchangeStore,
    decision: TermsDecision,
    asking: Asking,
    kept: Kept,
    *,
    plan: Callable[[], PromptPlan],
    log: Callable[[], Log],
    progress: Progress = Silent(),
) -> CollectRecord:
    """Have the prompts answered, store the answers, durable as they come, and return the figures.

    `decision` is the terms gate's about the author. Of `plan` and `log` only that is asked for
    which the author needs. Raises PotstillError where no training answer is stored in the end, and
    where a server stopped before it.
    """
    match opened.access.author:
        case Weights():
            planned = plan()
            found = decoded_answers(opened.teacher, planned, asking, store, decision, progress)
        case Server() as server:
            planned, tokens = plan(), opened.served_tokens
            reader = TextReader.of(server, tokens, asking.spec, kept.readings, decision)
            found = served_answers(
                server,
                planned,
                asking,
                store,
                decision,
                tokens=tokens,
                reader=reader,
                paid=kept.paid,
                progress=progress,
            )
        case PastCalls():
            found = past_answers(
                log(), asking, store, decision, opened.conversation, kept, progress
            )
        case RightAnswers():
            found = right_answers(plan(), asking, store, decision, opened.conversation, kept)
    if not _training_answers(store):
        raise PotstillError(
            "there is no training answer: collecting stored none; look at what was left out, and "
            "give more rows in prompts.source or collect.calls"
        )
    return found


def decoded_answers(
    teacher: LoadedModel,
    plan: PromptPlan,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    progress: Progress = Silent(),
) -> CollectRecord:
    """Have a model that is loaded answer, and store its states and its head.

    The figures are those of training and validation. Raises PotstillError where its terms forbid
    it, or a prompt leaves no room.
    """
    learnt, *measured = prompt_sets(plan, asking.samplings, asking.asked())
    if asking.int8:
        # How far it is from itself is measured on its own answers, so these come first.
        for part in measured:
            _decoded(teacher, part, asking, store, decision, progress)
        figures = _decoded_in_int8(teacher, learnt, asking, store, decision, progress)
    else:
        figures, *_ = [
            _decoded(teacher, part, asking, store, decision, progress)
            for part in (learnt, *measured)
        ]
    store.save_head(teacher.identity, head_of(teacher))
    return _record(figures, plan.overlap, store)


def _decoded_in_int8(
    teacher: LoadedModel,
    part: PromptSet,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    progress: Progress,
) -> DecodedAnswers:
    """Collect the answers that are learnt from by byte products, which are measured first."""
    own = [row for row in store.read("held_out") if row.sampling["temperature"] != 0]
    prompts = questions(teacher, part.prompts, part.sampling)
    made = rounded_teacher(teacher, prompts, own, decision, seed=asking.seed, progress=progress)
    found = _decoded(made.model, part, asking, store, decision, progress)
    return found.model_copy(update={"int8": made.answers})


def _decoded(
    teacher: LoadedModel,
    part: PromptSet,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    progress: Progress,
) -> DecodedAnswers:
    """Collect one set of responses, say how fast, and return its figures."""
    mark = asking.mark if part.training else None
    wanted = questions(
        teacher,
        part.prompts,
        part.sampling,
        samples=part.samples,
        mark_id=None if mark is None else mark.scheme.mark_id,
    )
    config = asking.collect
    figures = collect(
        teacher,
        wanted,
        plan_waves(wanted, config.slots, config.wave),
        part.sampling,
        store,
        decision,
        slots=config.slots,
        targets=target_specs(config, asking.temperature),
        progress=progress,
        label=part.label,
        scheme=None if mark is None else mark.scheme,
    )
    if figures.computed:
        before = figures.slots_busy_before_last_wave
        progress.note(
            f"{part.label}: {figures.computed} responses, {figures.response_tokens} tokens, "
            f"{figures.tokens_per_s:.0f} tokens/s, {figures.slots_busy:.0%} of slots busy"
            + (f" ({before:.0%} before the last wave)" if before is not None else "")
        )
    found = DecodedAnswers(**asdict(figures))
    if mark is None or not wanted:
        return found
    marked = mark_effect(
        teacher,
        wanted,
        part.sampling,
        mark,
        store,
        decision,
        slots=config.slots,
        samples=part.samples,
        progress=progress,
    )
    progress.note(said_of(marked))
    return found.model_copy(update={"watermark": marked})


def served_answers(
    server: Server,
    plan: PromptPlan,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    *,
    tokens: TeacherTokens | None,
    reader: TextReader | None,
    paid: Path,
    progress: Progress,
) -> CollectRecord:
    """Have a server answer; what came is stored where it stops before the end.

    `tokens` are those that its likeliest tokens are read by, `reader` is the same server where it
    reads given text. Raises PotstillError where it stopped, and where no training prompt got an
    answer: nothing more is paid for then, as held-out answers would have nothing to measure.
    """
    if reader is not None:
        check_reading(reader, store)
    found = []
    for part in prompt_sets(plan, asking.samplings, asking.asked(server)):
        figures = collect_from_endpoint(
            # Likeliest tokens that nobody keeps would be sent for nothing.
            server.endpoint
            if part.targets
            else server.endpoint.model_copy(update={"top_logprobs": 0}),
            server.model,
            part.prompts,
            part.sampling,
            store,
            decision,
            samples=part.samples,
            tokens=tokens if part.targets else None,
            spec=asking.spec if part.targets else None,
            spent=None if reader is None else reader.spent,
            paid=paid,
            progress=progress,
            currency=asking.currency,
            label=part.label,
        )
        found.append(figures)
        if figures.stopped is not None:
            raise PotstillError(why_stopped(figures))
        if figures.failed:
            reasons = ", ".join(f"{count} {reason}" for reason, count in figures.failed.items())
            progress.note(f"{part.label}: no answer to {len(figures.failures)} prompts ({reasons})")
        if part.training and not _training_answers(store):
            raise PotstillError(no_training_answer(figures))
    notes = _targets_notes(server, asking.spec, store, found)
    return _record(together(found, notes), plan.overlap, store)


def _targets_notes(
    server: Server, spec: TargetSpec | None, store: ExchangeStore, found: Sequence[EndpointFigures]
) -> tuple[str, ...]:
    """Return how many answers have a server's likeliest tokens; nothing where none are kept."""
    if not server.tells_targets or spec is None:
        return ()
    ids = {row.exchange_id for row in (*store.read("train"), *store.read("validation"))}
    having = len(ids & store.target_ids(server.identity, spec))
    return (without_targets(found, having, len(ids)),)


def past_answers(
    log: Log,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    conversation: Conversation,
    kept: Kept,
    progress: Progress,
) -> CollectRecord:
    """Store the answers of a log, and say what was left out.

    `conversation` is the student's, in whose tokens they are counted. Raises PotstillError where
    the terms do not permit it, or no call is left.
    """
    found = exchanges_from_calls(log, asking.prompts, decision, seed=asking.seed)
    kept.plan(found.plan)
    named = sorted({row.teacher for row in found.exchanges})
    kept.author(named[0] if len(named) == 1 else SEVERAL)
    notes = found.report.notes()
    for note in (*found.plan.notes, *notes):
        progress.note(note)
    store.append(found.exchanges)
    figures = _given(store, conversation, asking)
    noted = figures.model_copy(update={"notes": tuple(notes)})
    return _record(noted, found.plan.overlap, store)


def right_answers(
    plan: PromptPlan,
    asking: Asking,
    store: ExchangeStore,
    decision: TermsDecision,
    conversation: Conversation,
    kept: Kept,
) -> CollectRecord:
    """Store the right answers that a plan's rows came with."""
    kept.author(GOLD)
    store.append(gold_exchanges(plan.prompts, GOLD, decision))
    return _record(_given(store, conversation, asking), plan.overlap, store)


def _given(store: ExchangeStore, conversation: Conversation, asking: Asking) -> GivenAnswers:
    """Return the figures of answers that nobody was asked for, in the student's tokens."""
    dropped = {mark.exchange_id for mark in store.marks() if not mark.kept}
    rows: list[Exchange] = [row for row in store.read() if row.exchange_id not in dropped]
    return GivenAnswers(
        exchanges=len(rows),
        computed=len(rows),
        response_tokens=sum(
            len(asking.cut(row, conversation, asking.reasoning).response_ids) for row in rows
        ),
        seconds=0.0,
        tokens_per_s=0.0,
    )


def _training_answers(store: ExchangeStore) -> int:
    return int(store.stats()["splits"].get("train", 0))


def _record(
    figures: DecodedAnswers | ServedAnswers | GivenAnswers,
    overlap: OverlapReport,
    store: ExchangeStore,
) -> CollectRecord:
    stats = store.stats()
    return CollectRecord(
        figures=figures,
        overlap=Overlap(**overlap.record()),
        stored=StoredRows(exchanges=stats["exchanges"], targets=stats["targets"]),
        **UNMEASURED,
    )
