"""What a plan takes and may find, told before it is fixed: every plan that is fixed counts."""

from __future__ import annotations

from collections.abc import Sequence

from potstill.endpoint.budget import Prices
from potstill.models.loaded import LoadedModel
from potstill.runs.trace_parts import TraceParts
from potstill.runs.trace_planning import texts_path
from potstill.trace.finding import TraceRecord
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.pace import measured_pace
from potstill.trace.marked_texts import read_texts
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.marks_in_text import MarksInTextPlanned
from potstill.trace.power import (
    ExpectedPower,
    Outlay,
    Pace,
    answers_outlay,
    expected_of_mark,
    expected_of_twins,
    readings_outlay,
    twins_outlay,
)
from potstill.trace.served import ServedLog
from potstill.trace.suspect import EndpointSuspect, WeightsSuspect
from potstill.trace.twins import TwinsPlanned
from potstill.watermark.detect import ENTROPY

# What is assumed to have been learnt, where nobody knows: a fifth of a mark, and a shift of a
# served answer that a student of all of them shows.
_LEARNT, _SHIFT = 0.2, 0.3
_SENTENCE = "The pace of a model is measured on this sentence, and what it says is thrown away."


def told_of(parts: TraceParts, tests: Sequence[TraceRecord], level: float) -> list[str]:
    """Return in sentences what each test takes and can be expected to find at a level.

    Minutes are told of a suspect whose weights are here: its pace is measured on a sentence of its
    own, which is in no plan.
    """
    found: list[str] = []
    asked: list[Outlay] = []
    pace = _pace(parts, tests)
    for number, planned in enumerate(tests):
        if isinstance(planned, MarksInTextPlanned) and planned.prompts:
            asked.append(_of_text(parts, planned, pace))
            found.append(f"{planned.test}: {_outlay_words(asked[-1])}")
        elif isinstance(planned, MarksInChoicesPlanned):
            asked.append(_of_reading(parts, pace, number))
            found.append(f"{planned.test}: {_outlay_words(asked[-1])}")
            found.append(f"  {_power_words(_power_of_reading(parts, planned, level))}")
        elif isinstance(planned, TwinsPlanned):
            asked.append(readings_outlay(_read_lengths(parts, planned), prices=_prices(parts)))
            found += _told_of_twins(parts, planned, pace, level)
    return [*found, *_beyond_budget(parts, asked)]


def _pace(parts: TraceParts, tests: Sequence[TraceRecord]) -> Pace | None:
    """Return how fast the suspect is here; None where it is elsewhere, or nothing needs it."""
    asked = any(
        isinstance(one, MarksInTextPlanned | MarksInChoicesPlanned | TwinsPlanned) for one in tests
    )
    if not asked or not isinstance(parts.suspect, WeightsSuspect):
        return None
    return _measured(parts, parts.suspect_model)


def _measured(parts: TraceParts, model: LoadedModel) -> Pace:
    local = LocalModel(model, parts.config.slots)
    ids = local.model.tokenizer(_SENTENCE, add_special_tokens=False)["input_ids"]
    return measured_pace(local, [ids] * local.slots)


def _of_text(parts: TraceParts, planned: MarksInTextPlanned, pace: Pace | None) -> Outlay:
    lengths = [len(parts.encode(prompt)) for prompt in planned.prompts]
    return answers_outlay(
        lengths, planned.samples, planned.max_tokens, prices=_prices(parts), pace=pace
    )


def _of_reading(parts: TraceParts, pace: Pace | None, number: int) -> Outlay:
    texts = read_texts(texts_path(parts.own, number))
    lengths = [len(text.prompt_ids) + len(text.ids) for text in texts]
    return readings_outlay(lengths, prices=_prices(parts), pace=pace)


def _power_of_reading(
    parts: TraceParts, planned: MarksInChoicesPlanned, level: float
) -> ExpectedPower:
    scored = sum(len(reading.positions) for reading in planned.readings)
    mean = parts.scheme.expected(ENTROPY)
    coins = planned.n - scored
    return expected_of_mark(planned.mark.law, mean, _LEARNT, scored, level, coins=coins)


def _told_of_twins(
    parts: TraceParts, planned: TwinsPlanned, pace: Pace | None, level: float
) -> list[str]:
    count = len(planned.exchanges)
    twins = min(exchange.twins for exchange in planned.exchanges)
    power = expected_of_twins(count, twins, _SHIFT, level)
    drawn = sum(exchange.twins for exchange in planned.exchanges)
    outlay = _outlay_of_twins(parts, planned, twins, pace)
    return [
        f"{planned.test}: {drawn:,} twins to draw, and {drawn + count:,} answers that suspect and "
        f"controls read: {_outlay_words(outlay)}",
        f"  {_power_words(power)}",
        *_left_out(parts.served),
    ]


def _outlay_of_twins(
    parts: TraceParts, planned: TwinsPlanned, twins: int, pace: Pace | None
) -> Outlay:
    """Return what drawing takes here, and reading by the suspect, the controls, the reference."""
    teacher = None if planned.drawn_elsewhere else _measured(parts, parts.teacher)
    return twins_outlay(
        _prompt_lengths(parts),
        _longest(parts),
        twins,
        teacher,
        models=1 + len(parts.config.controls) + (planned.reference is not None),
        prices=_prices(parts),
        pace=pace or teacher,
    )


def _left_out(log: ServedLog) -> list[str]:
    """Return in a sentence which rows of a served log have no twins, and why; nothing for none."""
    left = [log.tally.words()] if log.tally.left_out else []
    if log.other_ways:
        left.append(f"{log.other_ways:,} drawn in other ways than most")
    if not left:
        return []
    return [
        f"  of {log.tally.rows:,} rows of tests.twins.log these are left out: {', '.join(left)}"
    ]


def _read_lengths(parts: TraceParts, planned: TwinsPlanned) -> list[int]:
    """Return how long each text is at the longest that the suspect reads of twins."""
    longest = _longest(parts)
    lengths = zip(_prompt_lengths(parts), planned.exchanges, strict=True)
    return [length + longest for length, one in lengths for _ in range(one.twins + 1)]


def _prompt_lengths(parts: TraceParts) -> list[int]:
    return [len(row.prompt_token_ids or ()) for row in parts.served.rows]


def _longest(parts: TraceParts) -> int:
    """Return the longest answer that a twin can be."""
    rows = parts.served.rows
    stated = rows[0].sampling.max_tokens or 0
    return max(stated, *(len(row.response_token_ids or ()) for row in rows))


def _beyond_budget(parts: TraceParts, asked: Sequence[Outlay]) -> list[str]:
    """Return what is said where a server's budget may not suffice for all that it is asked."""
    endpoint = parts.config.suspect.endpoint
    if endpoint is None or not asked:
        return []
    whole = sum(asked[1:], asked[0])
    found = []
    if endpoint.budget_tokens is not None and whole.tokens.total > endpoint.budget_tokens:
        found.append(f"suspect.endpoint.budget_tokens ({endpoint.budget_tokens:,})")
    if endpoint.budget is not None and whole.money is not None and whole.money > endpoint.budget:
        found.append(f"suspect.endpoint.budget ({endpoint.budget:g})")
    return [
        f"that may be more than {limit} allows: the run would stop there, and go on once it is "
        "raised"
        for limit in found
    ]


def _prices(parts: TraceParts) -> Prices | None:
    suspect = parts.suspect
    return suspect.prices if isinstance(suspect, EndpointSuspect) else None


def _outlay_words(outlay: Outlay) -> str:
    tokens = outlay.tokens.prompt + outlay.tokens.response
    money = "" if outlay.money is None else f", at most {outlay.money:.2f} in money"
    minutes = ""
    if outlay.minutes is not None:
        about = f"about {outlay.minutes:.1f}" if outlay.minutes >= 0.1 else "less than 0.1"
        minutes = f", {about} minutes here"
    return f"{outlay.questions:,} questions, at most {tokens:,} tokens{money}{minutes}"


def _power_words(power: ExpectedPower) -> str:
    needed = "" if power.needed is None else f"; 80% would take {power.needed:,}"
    coins = ""
    if power.coins:
        coins = f" and {power.coins:,} coins, which stand where no score is left and cost power"
    return (
        f"chance to find at p {power.alpha:.1g}: {power.power:.0%} with {power.scores:,} scores"
        f"{coins}{needed} ({power.assumes})"
    )
