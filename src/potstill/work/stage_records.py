"""What the stages record."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Recorded(BaseModel):
    """A part of a record: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class AnswerFigures(Recorded):
    """How many answers are stored, and what came in the last call.

    `exchanges` are stored, `computed` came now, with `response_tokens`.
    """

    exchanges: int
    computed: int
    response_tokens: int
    seconds: float
    tokens_per_s: float | None


class DecodedAnswers(AnswerFigures):
    """Those of a teacher whose weights are here; shares are of decoding steps times slots."""

    slots_busy: float | None
    slots_busy_before_last_wave: float | None
    waves: int


class ServedAnswers(AnswerFigures):
    """Those of a server. `failures` are (prompt id, reason), which may be asked again."""

    money: float | None
    failed: dict[str, int]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class GivenAnswers(AnswerFigures):
    """Those that nobody was asked for: past calls, right answers."""

    notes: tuple[str, ...] = ()


class StoredRows(Recorded):
    """How many rows collecting left in the store."""

    exchanges: int
    targets: int


class ReadAnswers(Recorded):
    """What a server read of answers that were there: `collect.served.reading.ScoringFigures`."""

    texts: int
    scored: int
    without_targets: dict[str, int]
    prompt_tokens: int
    response_tokens: int
    money: float | None
    seconds: float
    note: str
