"""From a trace's settings to what is planned of each test, before anything is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

from potstill.canonical import digest_of, labelled
from potstill.errors import PotstillError
from potstill.models.chat import prompt_ids
from potstill.models.identity import identity_of, tokenizer_id_of
from potstill.models.load import locate
from potstill.runs.trace_order import ordered_run
from potstill.runs.trace_parts import TraceParts, said_of
from potstill.runs.trace_texts import marked_texts
from potstill.text.counts import many
from potstill.text.turns import prompt_id_of
from potstill.trace.agreement import too_few
from potstill.trace.finding import TraceRecord
from potstill.trace.gather.agreement import plan_agreement
from potstill.trace.gather.answers import digest_of_text_file, read_collected
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.order import plan_order
from potstill.trace.gather.twins import require_drawn_alike
from potstill.trace.gather.weights import plan_weights
from potstill.trace.marked_texts import keep_texts
from potstill.trace.marks import PlannedMark, planned_mark
from potstill.trace.marks_in_choices import MarksInChoicesPlanned, planned_readings
from potstill.trace.marks_in_text import MarksInTextPlanned, least_answers_of
from potstill.trace.plan import ControlFacts, PlanSource, SuspectFacts, TeacherFacts
from potstill.trace.served import served_exchanges
from potstill.trace.suspect import EndpointSuspect, TextsSuspect, WeightsSuspect
from potstill.trace.twins import TwinsPlanned


@dataclass
class Drafted:
    """Planned tests, and what they rest on."""

    tests: list[TraceRecord] = field(default_factory=list)
    sources: list[PlanSource] = field(default_factory=list)

    def rests_on(
        self, kind: Literal["key", "served-log", "prompts", "texts"], name: str, digest: str
    ) -> None:
        """Note once what a test rests on."""
        source = PlanSource(kind=kind, name=name, digest=digest)
        if source not in self.sources:
            self.sources.append(source)


def draft_tests(parts: TraceParts) -> Drafted:
    """Return what is planned of every test that the settings name, in their order.

    Raises PotstillError where one cannot be planned: a file is missing, a model does not fit.
    """
    drafted = Drafted()
    for name in parts.config.tests.named:
        drafted.tests.append(PLANNERS[name](parts, drafted, len(drafted.tests)))
    if parts.config.watermark is not None and any(s.kind == "key" for s in drafted.sources):
        parts.progress.note(f"the key of epoch {parts.scheme.key.epoch}: {parts.scheme.key_id}")
    return drafted


def teacher_facts(parts: TraceParts) -> TeacherFacts:
    """Return who the teacher is."""
    teacher, identity = parts.config.teacher, parts.config.teacher.identity
    if teacher.model is not None:
        identity = identity_of(locate(teacher.model, revision=teacher.revision))
    assert identity is not None
    marked = parts.config.watermark is not None
    return TeacherFacts(
        name=teacher.name,
        identity=identity,
        tokenizer=parts.tokens.digest if marked else None,
        vocabulary=parts.tokens.vocabulary if marked else None,
    )


def suspect_facts(parts: TraceParts) -> SuspectFacts:
    """Return who is tested, as a plan states it: no address, and nothing of the environment."""
    suspect, config = parts.suspect, parts.config.suspect
    can = tuple(sorted(suspect.can))
    if isinstance(suspect, TextsSuspect):
        digests = tuple(digest_of_text_file(path) for path in suspect.paths)
        return SuspectFacts(
            kind="texts",
            name=config.name,
            parameters=config.parameters,
            digests=digests,
            can=can,
        )
    if isinstance(suspect, EndpointSuspect):
        return SuspectFacts(
            kind="endpoint",
            name=config.name,
            identity=suspect.name,
            parameters=config.parameters,
            can=can,
        )
    assert isinstance(suspect, WeightsSuspect)
    directory = locate(suspect.model, revision=suspect.revision)
    return SuspectFacts(
        kind="weights",
        name=config.name,
        identity=identity_of(directory),
        tokenizer=tokenizer_id_of(directory),
        parameters=config.parameters or _parameters(directory),
        can=can,
    )


def control_facts(parts: TraceParts, tests: list[TraceRecord]) -> tuple[ControlFacts, ...]:
    """Return the controls, each with the tests that it goes through beside the suspect.

    These are marks in text, twins, and marks in choices where it reads the teacher's ids; the
    items of an agreement hold its controls themselves.
    """
    found = []
    for ref in parts.config.controls:
        directory = locate(ref)
        tokenizer = tokenizer_id_of(directory)
        places = tuple(at for at, one in enumerate(tests) if _goes_through(one, tokenizer))
        # Where it lies on this machine is nobody's matter.
        name = Path(ref).name if Path(ref).expanduser().exists() else ref
        found.append(ControlFacts(name=name, identity=identity_of(directory), tests=places))
    return tuple(found)


def _goes_through(planned: TraceRecord, tokenizer: str) -> bool:
    if isinstance(planned, MarksInChoicesPlanned):
        return planned.mark.tokenizer == tokenizer
    if isinstance(planned, MarksInTextPlanned):
        return bool(planned.prompts)
    return isinstance(planned, TwinsPlanned)


def _text(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.watermark_text
    assert config is not None
    mark, suspect = _mark(parts, drafted), parts.suspect
    values: dict[str, Any] = {
        "configuration": parts.scheme.key.epoch,
        "mark": mark,
        "sequential": config.sequential,
    }
    if isinstance(suspect, TextsSuspect):
        count = len(read_collected(suspect, mark.tokenizer))
        least = config.least_answers or least_answers_of(count)
        return MarksInTextPlanned(**values, least_answers=least, collected=count)
    _note_prompts(parts, drafted)
    count = len(parts.prompts) * config.samples
    return MarksInTextPlanned(
        **values,
        least_answers=config.least_answers or least_answers_of(count),
        prompts=parts.prompts,
        samples=config.samples,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
    )


def _reading(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.watermark_reading
    assert config is not None
    mark = _mark(parts, drafted)
    with said_of("tests.watermark_reading.texts"):
        texts = marked_texts(config.texts, parts.scheme)
    ids = chain.from_iterable((*text.prompt_ids, *text.ids) for text in texts)
    _require_known(ids, mark.vocabulary, "tests.watermark_reading.texts")
    readings = planned_readings(texts, mark, config.positions)
    keep_texts(texts_path(parts.own, number), texts[: len(readings)])
    digest = digest_of([reading.text for reading in readings], 32)
    drafted.rests_on("texts", parts.scheme.key.epoch, labelled(digest))
    found = sum(len(reading.positions) for reading in readings)
    if found < config.positions:
        parts.progress.note(
            f"the marked texts have {found:,} new windows, and coins stand for the other "
            f"{config.positions - found:,} of tests.watermark_reading.positions"
        )
    return MarksInChoicesPlanned(
        configuration=parts.scheme.key.epoch,
        mark=mark,
        readings=readings,
        n=config.positions,
        sequential=config.sequential,
    )


def _twins(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.twins
    assert config is not None
    log, salt = parts.served, parts.salt()
    ids = chain.from_iterable(
        (*(row.prompt_token_ids or ()), *(row.response_token_ids or ())) for row in log.rows
    )
    _require_known(ids, len(parts.teacher.tokenizer), "tests.twins.log")
    first = log.rows[0]
    assert first.snapshot is not None and first.sampling.temperature is not None
    reference = None if config.reference is None else identity_of(locate(config.reference))
    digest = digest_of([row.digest for row in log.rows], 32)
    drafted.rests_on("served-log", Path(config.log).name, labelled(digest))
    marked = first.watermark
    planned = TwinsPlanned(
        configuration=log.configuration,
        exchanges=tuple(served_exchanges(log.rows, config.twins, salt)),
        snapshot=first.snapshot,
        temperature=first.sampling.temperature,
        marked_with=None if marked is None or marked == "none" else marked.scheme,
        drawn_elsewhere=config.drawn is not None,
        reference=reference,
        per_token=config.per_token,
        sequential=config.sequential,
    )
    if not planned.drawn_elsewhere:
        # A plan that is fixed counts, and this one could not be run.
        teacher = LocalModel(parts.teacher, parts.config.slots)
        require_drawn_alike(planned, teacher, log.rows, parts.config.teacher.identity)
    return planned


def _require_known(ids: Iterable[int], vocabulary: int, key: str) -> None:
    """Raise PotstillError, which names the key, for a token id that the teacher does not have."""
    if (greatest := max(ids, default=0)) >= vocabulary:
        raise PotstillError(
            f"{key} holds the token id {greatest:,}, and the teacher's tokenizer has {vocabulary:,}"
            " ids; give what this teacher answered, or name its tokenizer"
        )


def _weights(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.weights
    assert config is not None
    return plan_weights(parts.teacher, parts.suspect_model, how=config.how)


def _order(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.order
    assert config is not None
    run = ordered_run(Path(config.run), parts.progress)
    return plan_order(
        run.rows,
        run.secret,
        batch_tokens=run.batch_tokens,
        epochs=run.epochs,
        quarters=run.quarters,
        most=config.rows,
        redraws=config.redraws,
        reference=identity_of(locate(config.reference)),
    )


def _agreement(parts: TraceParts, drafted: Drafted, number: int) -> TraceRecord:
    config = parts.config.tests.agreement
    assert config is not None
    _note_prompts(parts, drafted)
    messages = [({"role": "user", "content": prompt},) for prompt in parts.prompts]
    planned = plan_agreement(
        parts.teacher,
        [prompt_ids(parts.teacher, one) for one in messages],
        names=[prompt_id_of(one) for one in messages],
        longest=config.longest,
        controls=[identity_of(locate(ref)) for ref in parts.config.controls],
        path=answers_path(parts.own, number),
    )
    prompts, clusters = len(planned.prompts), len(set(planned.clusters_N.tolist()))
    parts.progress.note(
        f"agreement: the teacher answers {many(prompts, 'prompt')} in {many(clusters, 'way')} that "
        "can be told apart"
    )
    if (why := too_few(prompts, clusters)) is not None:
        parts.progress.note(f"agreement will be void: {why}")
    return planned


Planner = Callable[[TraceParts, Drafted, int], TraceRecord]
PLANNERS: Mapping[str, Planner] = {
    "watermark_text": _text,
    "watermark_reading": _reading,
    "twins": _twins,
    "order": _order,
    "weights": _weights,
    "agreement": _agreement,
}


def texts_path(own: Path, number: int) -> Path:
    """Return the file, of the owner's, of the marked texts of the test at a place of the plan."""
    return own / f"marked-{number}.jsonl"


def answers_path(own: Path, number: int) -> Path:
    """Return the file, of the owner's, of the teacher's answers for an agreement of the plan."""
    return own / f"answers-{number}.jsonl"


def _mark(parts: TraceParts, drafted: Drafted) -> PlannedMark:
    scheme, tokens = parts.scheme, parts.tokens
    drafted.rests_on("key", scheme.key.epoch, scheme.key_id)
    return planned_mark(scheme, tokenizer=tokens.digest, vocabulary=tokens.vocabulary)


def _note_prompts(parts: TraceParts, drafted: Drafted) -> None:
    source = parts.config.prompts.source
    assert source is not None
    drafted.rests_on("prompts", Path(source).name, labelled(parts.prompts_digest))


def _parameters(directory: Path) -> int:
    """Return how many numbers a saved model's weights hold, without loading them."""
    from safetensors import safe_open

    total = 0
    for file in sorted(directory.glob("*.safetensors")):
        with safe_open(str(file), framework="np") as handle:
            for name in handle.keys():  # noqa: SIM118
                size = 1
                for length in handle.get_slice(name).get_shape():
                    size *= length
                total += size
    return total
