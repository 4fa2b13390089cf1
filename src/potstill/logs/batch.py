"""An OpenAI batch: its input and its output, joined on custom_id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from potstill.errors import PotstillError
from potstill.logs.call import BatchRequest, Facts, Reason, Record
from potstill.logs.lines import BadRow, log_rows
from potstill.logs.readers import read_batch_output, read_batch_request


@dataclass(frozen=True, slots=True)
class _Asked:
    request: BatchRequest
    place: str


def batch_records(
    paths: Sequence[str], *, answers: bool = True
) -> Iterator[tuple[Record | Reason, str]]:
    """Yield (record or why there is none, place) for every line of the output, then for every
    request without one.

    The files are read twice, so that only the requests are held, not the answers. Raises
    PotstillError where there is no input at all, or no output although `answers` are wanted.
    """
    asked: dict[str, _Asked] = {}
    outputs = 0
    for path in paths:
        for row in log_rows(path):
            if isinstance(row, BadRow):
                yield row.reason, row.place
                continue
            key = row.values.get("custom_id")
            if not isinstance(key, str) or not row.values.keys() & {"body", "response", "error"}:
                yield Reason.NO_CALL, row.place
            elif "body" in row.values:
                _note(asked, key, read_batch_request(row.values), row.place)
            else:
                outputs += 1
    _require_both(paths, inputs=len(asked), outputs=outputs, answers=answers)
    yield from _joined(paths, asked)


def _note(asked: dict[str, _Asked], key: str, request: BatchRequest, place: str) -> None:
    known = asked.get(key)
    if known is not None and known.request != request:
        request = replace(request, ask=Reason.SAME_ID)
    asked[key] = _Asked(request, place)


def _require_both(paths: Sequence[str], *, inputs: int, outputs: int, answers: bool) -> None:
    names = ", ".join(path.rpartition("/")[2] for path in paths)
    if not inputs:
        raise PotstillError(
            f"the batch {names} has answers but not what was asked; add the batch's input file to "
            "collect.calls.path"
        )
    if answers and not outputs:
        raise PotstillError(
            f"the batch {names} has requests but no answers; add the batch's output file to "
            "collect.calls.path, or set collect.calls.use to prompts"
        )


def _joined(paths: Sequence[str], asked: dict[str, _Asked]) -> Iterator[tuple[Record, str]]:
    answered = set()
    for path in paths:
        for row in log_rows(path):
            if isinstance(row, BadRow) or "body" in row.values:
                continue
            key = row.values.get("custom_id")
            if isinstance(key, str) and row.values.keys() & {"response", "error"}:
                found = asked.get(key)
                answered.add(key)
                yield read_batch_output(found.request if found else None, row.values), row.place
    for key, found in asked.items():
        if key not in answered:
            facts = Facts(model=found.request.model)
            yield Record(found.request.ask, (Reason.NO_RESPONSE,), facts), found.place
