"""A batch: its input and its output, joined on custom_id.

OpenAI's lines have `body` and `response`, those of Anthropic's Message Batches `params` and
`result`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from potstill.errors import PotstillError
from potstill.logs.call import BatchRequest, CallFacts, Reason, Record, Values
from potstill.logs.lines import BadRow, log_rows
from potstill.logs.readers import read_batch_output, read_batch_request

_REQUEST = {"body", "params"}
_ANSWER = {"response", "result", "error"}


@dataclass(frozen=True, slots=True)
class _AskedLine:
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
    asked: dict[str, _AskedLine] = {}
    outputs = 0
    for path in paths:
        for row in log_rows(path):
            if isinstance(row, BadRow):
                yield row.reason, row.place
                continue
            key = row.values.get("custom_id")
            if not isinstance(key, str) or not row.values.keys() & (_REQUEST | _ANSWER):
                yield Reason.NO_CALL, row.place
            elif _asks(row.values):
                _note(asked, key, read_batch_request(row.values), row.place)
            else:
                outputs += 1
    _require_both(paths, inputs=len(asked), outputs=outputs, answers=answers)
    yield from _joined(paths, asked)


def part_of_a_batch(row: Values) -> str | None:
    """Return the column beside custom_id that shows a line of a batch, None where none does."""
    if not isinstance(row.get("custom_id"), str):
        return None
    return next((k for k in ("body", "params", "response", "result", "error") if k in row), None)


def _asks(row: Values) -> bool:
    return bool(row.keys() & _REQUEST)


def _note(asked: dict[str, _AskedLine], key: str, request: BatchRequest, place: str) -> None:
    known = asked.get(key)
    if known is not None and known.request != request:
        request = replace(request, ask=Reason.SAME_ID)
    asked[key] = _AskedLine(request, place)


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


def _joined(paths: Sequence[str], asked: dict[str, _AskedLine]) -> Iterator[tuple[Record, str]]:
    answered = set()
    for path in paths:
        for row in log_rows(path):
            if isinstance(row, BadRow) or _asks(row.values):
                continue
            key = row.values.get("custom_id")
            if isinstance(key, str) and row.values.keys() & _ANSWER:
                found = asked.get(key)
                answered.add(key)
                yield read_batch_output(found.request if found else None, row.values), row.place
    for key, found in asked.items():
        if key not in answered:
            facts = CallFacts(model=found.request.model)
            yield Record(found.request.ask, (Reason.NO_RESPONSE,), facts), found.place
