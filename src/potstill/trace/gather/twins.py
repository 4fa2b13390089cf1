"""Draw the twins of served answers: fresh answers of the same model, drawn as they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from pydantic import ValidationError

from potstill.canonical import canonical_json
from potstill.durable import append_line, read_lines, write_bytes
from potstill.errors import PotstillError
from potstill.logs.serving import ServedCall, ServedMark
from potstill.models.generate import Completion, Request
from potstill.models.sampling import Chooser, Sampling, drawn
from potstill.progress import Step
from potstill.trace.finding import TraceRecord
from potstill.trace.gather.local import LocalModel, answered, waves
from potstill.trace.gather.seeds import request_seed, twin_key
from potstill.trace.served import TwinSet, ids_of_row, require_served
from potstill.trace.twins import TwinsPlanned
from potstill.watermark.marking import marking
from potstill.watermark.survivors import OwnScheme

# potstill's own engine, by which twins are drawn here.
_ENGINE = "potstill"
# What logs call dtypes beside their names.
_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}


class DrawnTwin(TraceRecord):
    """One twin: of which exchange, which of its twins, and its ids."""

    exchange: int
    twin: int
    ids: tuple[int, ...]


class TwinRequest(TraceRecord):
    """One twin that the engine that served has to draw, by the plan's own seed."""

    exchange: int
    twin: int
    prompt_token_ids: tuple[int, ...]
    temperature: float
    top_p: float
    top_k: int
    max_tokens: int
    seed: int


@dataclass(frozen=True)
class _TwinQuestion:
    """One twin that is wanted: a prompt, and the key of its random numbers."""

    exchange: int
    twin: int
    key: str
    prompt: tuple[int, ...]
    sampling: Sampling


def draw_twins(
    planned: TwinsPlanned,
    teacher: LocalModel,
    rows: Sequence[ServedCall],
    salt: str,
    digest: str,
    path: Path,
    *,
    scheme: OwnScheme | None = None,
    label: str | None = None,
    step: Step | None = None,
) -> list[TwinSet]:
    """Return the plan's served answers with their twins, in plan order.

    `rows` are the served answers of the plan, `salt` is that of its digests, and every twin's
    random numbers follow from `digest`, the plan's. Twins are kept in the file `path` as waves are
    done, and are drawn once: a wave that a kill interrupted is drawn again whole, to the same
    logits. Marked answers need the `scheme` that they were marked by. `label` is what the owner
    calls this model in the log, where that is no digest of weights: it is taken at their word.
    Raises PotstillError where
    the model, its dtype, the engine, the mark or the rows are not those that served.
    """
    _check_rows(planned, rows, salt)
    require_drawn_alike(planned, teacher, rows, label)
    _check_mark(rows, scheme)
    choose = drawn if scheme is None else marking(scheme)
    kept = _read(path)
    wanted = _questions(planned, rows, digest)
    missing = {(q.exchange, q.twin) for q in wanted} - kept.keys()
    if step is not None:
        step.advance(len(wanted) - len(missing))
    # Rows that were drawn with other numbers cannot share a wave.
    for sampling, some in groupby(wanted, key=lambda q: q.sampling):
        for wave, _ in waves(list(some), teacher.wave_size, 0):
            if not missing.intersection((q.exchange, q.twin) for q in wave):
                continue
            fresh = _wave(teacher, wave, sampling, choose)
            new = [one for one in fresh if (one.exchange, one.twin) in missing]
            append_line(path, b"\n".join(canonical_json(one.model_dump()) for one in new))
            kept |= {(one.exchange, one.twin): one.ids for one in new}
            if step is not None:
                step.advance(len(new))
    return _sets(planned, rows, kept)


def read_twins(
    planned: TwinsPlanned, rows: Sequence[ServedCall], salt: str, path: Path
) -> list[TwinSet]:
    """Return the plan's served answers with twins that lie in a file, whoever drew them.

    A line is a `DrawnTwin`; `twin_requests` says what was to be drawn. Raises PotstillError where
    rows are not the plan's, where a line is no twin, and where twins are missing, are empty or
    stand there twice.
    """
    _check_rows(planned, rows, salt)
    kept = _read(path, once=True)
    counts = enumerate(exchange.twins for exchange in planned.exchanges)
    missing = [(i, twin) for i, twins in counts for twin in range(twins) if (i, twin) not in kept]
    if missing:
        raise PotstillError(
            f"{path} lacks {len(missing):,} of the twins that the plan asks for, the first that of "
            f"exchange {missing[0][0]}; draw them all"
        )
    return _sets(planned, rows, kept)


def write_requests(path: Path, requests: Sequence[TwinRequest]) -> None:
    """Write what another engine has to draw, one request a line, in the order to draw it in."""
    lines = [canonical_json(request.model_dump(mode="json")) for request in requests]
    write_bytes(path, b"\n".join(lines) + b"\n")


def twin_requests(
    planned: TwinsPlanned, rows: Sequence[ServedCall], salt: str, digest: str
) -> list[TwinRequest]:
    """Return what another engine has to draw, in the order to draw it in.

    Raises PotstillError where rows are not the plan's.
    """
    _check_rows(planned, rows, salt)
    return [
        TwinRequest(
            exchange=q.exchange,
            twin=q.twin,
            prompt_token_ids=q.prompt,
            temperature=q.sampling.temperature,
            top_p=q.sampling.top_p,
            top_k=q.sampling.top_k,
            max_tokens=q.sampling.max_tokens,
            seed=request_seed(q.key),
        )
        for q in _questions(planned, rows, digest)
    ]


def _wave(
    teacher: LocalModel, wave: Sequence[_TwinQuestion], sampling: Sampling, choose: Chooser
) -> list[DrawnTwin]:
    requests = [Request(question.key, question.prompt) for question in wave]
    done: list[Completion] = answered(teacher, requests, sampling, choose)
    return [
        DrawnTwin(exchange=q.exchange, twin=q.twin, ids=one.token_ids)
        for q, one in zip(wave, done, strict=True)
    ]


def _questions(
    planned: TwinsPlanned, rows: Sequence[ServedCall], digest: str
) -> list[_TwinQuestion]:
    """Return every twin that is wanted, the first of each prompt before the second of any.

    So a wave holds many prompts, as served ones did.
    """
    most = max(exchange.twins for exchange in planned.exchanges)
    asked = [(ids_of_row(row)[0], _sampling(row)) for row in rows]
    return [
        _TwinQuestion(
            number, twin, twin_key(digest, planned.configuration, number, twin), prompt, sampling
        )
        for twin in range(most)
        for number, ((prompt, sampling), exchange) in enumerate(
            zip(asked, planned.exchanges, strict=True)
        )
        if twin < exchange.twins
    ]


def _sampling(row: ServedCall) -> Sampling:
    """Return how a row was drawn; its seed is none of a twin's, whose key is its own."""
    stated = row.sampling
    assert stated.temperature is not None and stated.top_p is not None
    assert stated.top_k is not None and stated.max_tokens is not None
    return Sampling(stated.temperature, stated.top_p, stated.top_k, stated.max_tokens)


def _check_rows(planned: TwinsPlanned, rows: Sequence[ServedCall], salt: str) -> None:
    if len(rows) != len(planned.exchanges):
        raise PotstillError(
            f"the plan ranks {len(planned.exchanges):,} served answers, and {len(rows):,} are "
            "given; give the served log that it was made of"
        )
    require_served(planned.exchanges, map(ids_of_row, rows), salt)


def require_drawn_alike(
    planned: TwinsPlanned, teacher: LocalModel, rows: Sequence[ServedCall], label: str | None
) -> None:
    """Raise PotstillError unless fresh answers are drawn here as the served ones were.

    `label` is as in `draw_twins`.
    """
    model = teacher.model
    if planned.snapshot not in (model.identity, label):
        raise PotstillError(
            f"twins are drawn from the model that served, {planned.snapshot}, and this one is "
            f"{model.identity}; give that one's weights"
        )
    dtype = str(model.compute_dtype).removeprefix("torch.")
    for row in rows:
        if (why := _drawn_otherwise(row, planned, dtype)) is not None:
            raise PotstillError(f"the answer {row.exchange_id} {why}")


def _drawn_otherwise(row: ServedCall, planned: TwinsPlanned, dtype: str) -> str | None:
    """Return why a row has no twins that are drawn here, and the way out; None where it has."""
    if (why := _other_engine(row)) is not None:
        return why
    if row.snapshot != planned.snapshot:
        return "was served by another snapshot than the plan's; take rows of one snapshot"
    if _DTYPES.get(row.dtype or "", row.dtype) != dtype:
        return (
            f"was computed in {row.dtype}, and the model here computes in {dtype}; load it in the "
            "dtype that served"
        )
    if row.sampling.temperature != planned.temperature:
        return "was drawn at another temperature than the plan's; take rows of one configuration"
    return None


def _other_engine(row: ServedCall) -> str | None:
    engine = "an engine that the log does not name" if row.engine is None else row.engine.name
    if engine == _ENGINE:
        return None
    return (
        f"was served by {engine}, and twins are drawn by {_ENGINE}, whose logits differ; take rows "
        f"that {_ENGINE} served, or have the engine that served draw them and name their file in "
        "tests.twins.drawn"
    )


def _check_mark(rows: Sequence[ServedCall], scheme: OwnScheme | None) -> None:
    marks = {row.watermark for row in rows}
    if len(marks) > 1:
        raise PotstillError(
            "some served answers are marked otherwise than others; take rows of one configuration"
        )
    (mark,) = marks
    if not isinstance(mark, ServedMark):
        if scheme is None:
            return
        raise PotstillError(
            "the served answers carry no mark, and a key is given to draw twins with; leave it out"
        )
    if scheme is None:
        raise PotstillError(
            f"the served answers are marked with the key {mark.key_id}, and so are their twins; "
            "give that key"
        )
    if mark.key_id not in (scheme.mark_id, scheme.key_id) or mark.scheme != scheme.name:
        raise PotstillError(
            f"the served answers are marked with the key {mark.key_id}, and the one that is given "
            f"is {scheme.key_id}; give that key's file, epoch and scheme"
        )


def _read(path: Path, *, once: bool = False) -> dict[tuple[int, int], tuple[int, ...]]:
    """Return the twins that are there. Raises PotstillError where a line is none.

    A wave that a kill interrupted is drawn again; elsewhere each stands there `once`.
    """
    found: dict[tuple[int, int], tuple[int, ...]] = {}
    for at, values in enumerate(read_lines(path, strict=True), 1):
        try:
            one = DrawnTwin.model_validate_json(canonical_json(values))
        except ValidationError:
            raise PotstillError(
                f"line {at} of {path} is no twin; restore the file, or draw the twins anew in "
                "another folder"
            ) from None
        if once and ((one.exchange, one.twin) in found or not one.ids):
            raise PotstillError(
                f"line {at} of {path} is a twin that stands there before, or has no ids; give each "
                "as the engine drew it, its end included"
            )
        found.setdefault((one.exchange, one.twin), one.ids)
    return found


def _sets(
    planned: TwinsPlanned,
    rows: Sequence[ServedCall],
    kept: dict[tuple[int, int], tuple[int, ...]],
) -> list[TwinSet]:
    return [
        TwinSet(*ids_of_row(row), tuple(kept[number, twin] for twin in range(exchange.twins)))
        for number, (row, exchange) in enumerate(zip(rows, planned.exchanges, strict=True))
    ]
