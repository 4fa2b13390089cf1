"""Each test's questions, put to whoever goes through it: the suspect, or a control."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.models.chat import prompt_ids
from potstill.progress import Step
from potstill.runs.trace_order import ordered_run
from potstill.runs.trace_parts import TraceParts
from potstill.runs.trace_planning import answers_path, texts_path
from potstill.text.turns import prompt_id_of
from potstill.trace.agreement import AgreementPlanned
from potstill.trace.finding import TestName, TraceRecord
from potstill.trace.gather.agreement import gather_agreement, kept_answers
from potstill.trace.gather.answers import gather_answers
from potstill.trace.gather.choices import gather_choices
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.order import gather_order
from potstill.trace.gather.remote import RemoteModel
from potstill.trace.gather.scores import gather_scores
from potstill.trace.gather.twins import draw_twins, read_twins, twin_requests, write_requests
from potstill.trace.gather.weights import gather_weights
from potstill.trace.marked_texts import read_texts
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.marks_in_text import MarksInTextPlanned
from potstill.trace.order import OrderPlanned
from potstill.trace.served import TwinSet
from potstill.trace.suspect import TextsSuspect
from potstill.trace.twins import TwinsPlanned
from potstill.trace.weights import WeightsPlanned


@dataclass(frozen=True)
class Questions:
    """One raw log's questions: of which test, put to whom, what is there, and where items go.

    `number` is the test's place in the plan, whose digest is `digest`; `control` is None for the
    suspect. `enough` ends a sequential test.
    """

    number: int
    control: int | None
    digest: str
    done: Sequence[Any]
    append: Callable[[TraceRecord], None]
    enough: Callable[[], bool]
    step: Step


Gatherer = Callable[[TraceParts, Any, Questions], None]


def _answers(parts: TraceParts, planned: MarksInTextPlanned, asked: Questions) -> None:
    gather_answers(
        planned,
        parts.asked(asked.number, asked.control),
        parts.scheme,
        parts.encode,
        asked.digest,
        asked.done,
        asked.append,
        enough=asked.enough,
        progress=parts.progress,
        step=asked.step,
    )


def _choices(parts: TraceParts, planned: MarksInChoicesPlanned, asked: Questions) -> None:
    whom = parts.asked(asked.number, asked.control)
    if isinstance(whom, TextsSuspect):
        raise PotstillError("collected texts read nothing; take tests.watermark_reading out")
    gather_choices(
        planned,
        whom,
        parts.scheme,
        read_texts(texts_path(parts.own, asked.number)),
        asked.done,
        asked.append,
        tokens=parts.teacher_ids,
        decoded=_decoded(parts, whom),
        enough=asked.enough,
        progress=parts.progress,
        step=asked.step,
    )


def _scores(parts: TraceParts, planned: TwinsPlanned, asked: Questions) -> None:
    config = parts.config.tests.twins
    assert config is not None
    twins = _given_twins if planned.drawn_elsewhere else _drawn_twins
    sets = twins(parts, planned, asked)
    reference = None
    if config.reference is not None:
        reference = parts.reference(config.reference)
    whom = parts.asked(asked.number, asked.control)
    if isinstance(whom, TextsSuspect):
        raise PotstillError("collected texts score nothing; take tests.twins out")
    gather_scores(
        planned,
        whom if isinstance(whom, RemoteModel) else parts.scoring(whom.model),
        reference,
        sets,
        parts.salt(),
        asked.done,
        asked.append,
        decoded=_decoded(parts, whom),
        enough=asked.enough,
        progress=parts.progress,
        step=asked.step,
    )


def _drawn_twins(parts: TraceParts, planned: TwinsPlanned, asked: Questions) -> list[TwinSet]:
    """Return the twins, drawn here where they are not yet."""
    return draw_twins(
        planned,
        LocalModel(parts.teacher, parts.config.slots),
        parts.served.rows,
        parts.salt(),
        asked.digest,
        parts.own / f"twins-{asked.number}.jsonl",
        scheme=None if planned.marked_with is None else parts.scheme,
        label=parts.config.teacher.identity,
    )


def _given_twins(parts: TraceParts, planned: TwinsPlanned, asked: Questions) -> list[TwinSet]:
    """Return the twins that the engine that served drew.

    Raises PotstillError, with what is to be drawn in a file, where they are not there yet.
    """
    config, rows, salt = parts.config.tests.twins, parts.served.rows, parts.salt()
    assert config is not None and config.drawn is not None
    path = Path(config.drawn).expanduser()
    if path.is_file():
        return read_twins(planned, rows, salt, path)
    wanted = parts.own / f"twins-wanted-{asked.number}.jsonl"
    write_requests(wanted, twin_requests(planned, rows, salt, asked.digest))
    raise PotstillError(
        f"the twins are not drawn yet: have the engine that served answer each line of {wanted}, "
        f"put a line of exchange, twin and ids for each into {path}, and run the same command again"
    )


def _decoded(parts: TraceParts, whom: object) -> tuple[str, ...] | None:
    """Return the texts of the teacher's tokens, where a server is asked of its ids."""
    return parts.token_texts if isinstance(whom, RemoteModel) else None


def _blocks(parts: TraceParts, planned: WeightsPlanned, asked: Questions) -> None:
    gather_weights(planned, parts.teacher, parts.suspect_model, asked.done, asked.append)


def _rows(parts: TraceParts, planned: OrderPlanned, asked: Questions) -> None:
    config = parts.config.tests.order
    assert config is not None
    run = ordered_run(Path(config.run), parts.progress)
    reference = parts.load(config.reference)
    if reference.identity != planned.reference:
        raise PotstillError(
            f"the model {config.reference} is not the one of the plan; give the one that was "
            "planned, or make another plan"
        )
    for what, model in (("suspect", parts.suspect_model), ("reference", reference)):
        if model.tokenizer_id != run.tokenizer:
            raise PotstillError(
                f"tests.order gives the {what} the run's own token ids, and it has another "
                "tokenizer; take the test out of the plan"
            )
    gather_order(
        planned,
        parts.suspect_model,
        reference,
        run.rows,
        run.secret,
        asked.done,
        asked.append,
        step=asked.step,
    )


def _prefixes(parts: TraceParts, planned: AgreementPlanned, asked: Questions) -> None:
    messages = [({"role": "user", "content": prompt},) for prompt in parts.prompts]
    if tuple(prompt_id_of(one) for one in messages) != planned.prompts:
        raise PotstillError(
            f"the prompts of {parts.config.prompts.source} are not those of the plan; bring the "
            "file back as it was, or make another plan"
        )
    gather_agreement(
        planned,
        parts.teacher,
        parts.suspect_model,
        [parts.control(number) for number in range(len(parts.config.controls))],
        [prompt_ids(parts.teacher, one) for one in messages],
        asked.done,
        asked.append,
        answers=kept_answers(planned, answers_path(parts.own, asked.number)),
        step=asked.step,
    )


GATHERERS: Mapping[TestName, Gatherer] = {
    "watermark-text": _answers,
    "watermark-reading": _choices,
    "twins": _scores,
    "order": _rows,
    "weights": _blocks,
    "agreement": _prefixes,
}
