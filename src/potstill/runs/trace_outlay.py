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
from potstill.trace.served import ids_of_row
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
    pace = _pace(parts, tests)
    for number, planned in enumerate(tests):
        if isinstance(planned, MarksInTextPlanned):
            found += _of_text(parts, planned, pace)
        elif isinstance(planned, MarksInChoicesPlanned):
            found += _of_reading(parts, planned, level, pace, number)
        elif isinstance(planned, TwinsPlanned):
            found += _of_twins(parts, planned, level, pace)
    return found


def _pace(parts: TraceParts, tests: Sequence[TraceRecord]) -> Pace | None:
    """Return how fast the suspect is here; None where it is elsewhere, or nothing needs it."""
    kinds = MarksInTextPlanned | MarksInChoicesPlanned | TwinsPlanned
    asked = any(isinstance(one, kinds) for one in tests)
    if not asked or not isinstance(parts.suspect, WeightsSuspect):
        return None
    return _pace_of(parts.suspect_model, parts.config.slots)


def _pace_of(model: LoadedModel, slots: int) -> Pace:
    ids = model.tokenizer(_SENTENCE, add_special_tokens=False)["input_ids"]
    return measured_pace(LocalModel(model, slots), [ids] * slots)


def _of_text(parts: TraceParts, planned: MarksInTextPlanned, pace: Pace | None) -> list[str]:
    if not planned.prompts:
        return []
    lengths = [len(parts.encode(prompt)) for prompt in planned.prompts]
    outlay = answers_outlay(
        lengths, planned.samples, planned.max_tokens, prices=_prices(parts), pace=pace
    )
    return [f"{planned.test}: {_outlay_words(outlay)}"]


def _of_reading(
    parts: TraceParts,
    planned: MarksInChoicesPlanned,
    level: float,
    pace: Pace | None,
    number: int,
) -> list[str]:
    texts = read_texts(texts_path(parts.own, number))
    lengths = [len(text.prompt_ids) + len(text.ids) for text in texts]
    outlay = readings_outlay(lengths, prices=_prices(parts), pace=pace)
    scored = sum(len(reading.positions) for reading in planned.readings)
    mean = parts.scheme.expected(ENTROPY)
    coins = planned.n - scored
    power = expected_of_mark(planned.mark.law, mean, _LEARNT, scored, level, coins=coins)
    return [f"{planned.test}: {_outlay_words(outlay)}", f"  {_power_words(power)}"]


def _of_twins(
    parts: TraceParts, planned: TwinsPlanned, level: float, pace: Pace | None
) -> list[str]:
    """Answers are taken at their longest; models whose pace is not known read at the teacher's."""
    count = len(planned.exchanges)
    twins = max(exchange.twins for exchange in planned.exchanges)
    power = expected_of_twins(count, twins, _SHIFT, level)
    here = None if planned.drawn_elsewhere else _pace_of(parts.teacher, parts.config.slots)
    others = len(parts.config.controls) + (planned.reference is not None)
    outlay = twins_outlay(
        [len(ids_of_row(row)[0]) for row in parts.served.rows],
        max(row.sampling.max_tokens or 0 for row in parts.served.rows),
        twins,
        here,
        models=1 + others,
        prices=_prices(parts),
        pace=pace or here,
    )
    words = _outlay_words(outlay, f"answers to read by the suspect and {others} other models")
    return [f"{planned.test}: {count * twins:,} twins to draw, {words}", f"  {_power_words(power)}"]


def _prices(parts: TraceParts) -> Prices | None:
    suspect = parts.suspect
    return suspect.prices if isinstance(suspect, EndpointSuspect) else None


def _outlay_words(outlay: Outlay, asked: str = "questions") -> str:
    tokens = outlay.tokens.prompt + outlay.tokens.response
    money = "" if outlay.money is None else f", at most {outlay.money:.2f} in money"
    minutes = "" if outlay.minutes is None else f", about {outlay.minutes:.1f} minutes here"
    return f"{outlay.questions:,} {asked}, at most {tokens:,} tokens{money}{minutes}"


def _power_words(power: ExpectedPower) -> str:
    needed = "" if power.needed is None else f"; 80% would take {power.needed:,}"
    coins = ""
    if power.coins:
        coins = f" and {power.coins:,} coins, which stand where no score is left and cost power"
    return (
        f"chance to find at p {power.alpha:.1g}: {power.power:.0%} with {power.scores:,} scores"
        f"{coins}{needed} ({power.assumes})"
    )
