"""How a suspect's p grows with what is asked: its raw log, cut short, through the same findings.

A curve's point is the finding of a smaller plan of the same kind: fewer prompts, texts, served
answers. It needs no model, no key and no text of the owner's: scores stand in the log.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from potstill.stats.exact import BinomialLaw
from potstill.trace.finding import Finding
from potstill.trace.marks import PlannedMark
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarksInChoicesPlanned,
    PlannedReading,
    marks_in_choices_finding,
)
from potstill.trace.marks_in_text import (
    AnswerItem,
    MarksInTextPlanned,
    least_answers_of,
    marks_in_text_finding,
)
from potstill.trace.twins import ServedExchange, TwinsItem, TwinsPlanned, twins_finding
from potstill.watermark.needed import scores_needed

SHARES = (0.0625, 0.125, 0.25, 0.5, 1.0)
# How many answers a pair stands in where it is scored, as the nano zoo's plan has it.
LEAST_ANSWERS = 2
Least = Callable[[int], int]


def two(_: int) -> int:
    """Return in how many of so many answers a pair stands under the nano zoo's plan."""
    return LEAST_ANSWERS


def least_of(row: dict[str, Any]) -> Least:
    """Return what a row's plan of text goes by: SmolLM2's second one by `trace plan`'s rule."""
    return least_answers_of if "text_plan" in row else two


def read_log(path: Path) -> list[dict[str, Any]]:
    """Return the records of a raw log."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def again(
    name: str,
    log: Sequence[dict[str, Any]],
    mark: dict[str, Any],
    digest: str,
    share: float = 1.0,
    least: Least = two,
) -> Finding | None:
    """Return the finding of the first `share` of a raw log; None for a test that has no curve.

    `name` is test and configuration, `mark` the scheme's settings, `digest` the plan's, `least` in
    how many of so many answers a pair has to stand.
    """
    test, _, configuration = name.partition(" ")
    if test == "watermark-text":
        answers = [AnswerItem(**one) for one in log]
        return _text(answers, configuration, mark, digest, share, least)
    if test == "watermark-reading":
        return _choices([ChoiceItem(**one) for one in log], configuration, mark, digest, share)
    if test == "twins":
        return _twins([TwinsItem(**one) for one in log], configuration, digest, share)
    return None


def curve(
    name: str,
    log: Sequence[dict[str, Any]],
    mark: dict[str, Any],
    digest: str,
    least: Least = two,
) -> list[dict[str, float]]:
    """Return points {n, asked, log10_p}: `n` scored, `asked` tokens, positions or exchanges."""
    points = []
    for share in SHARES:
        found = again(name, log, mark, digest, share, least)
        if found is None:
            return []
        points.append({"share": share, "n": found.n, "log10_p": found.log10_p})
    return points


def share_for(points: Sequence[dict[str, float]], target: float) -> float | None:
    """Return what multiple of the whole log would reach log10 p `target`; None where none shows.

    log10 p is taken to go on as a power of the size, by the last two points that differ. It is an
    extrapolation, which text from a suspect's memory need not follow.
    """
    whole = points[-1]["log10_p"]
    before = [point for point in points[:-1] if point["log10_p"] < 0]
    if whole >= 0 or not before:
        return None
    last = before[-1]
    if whole <= target:
        reached = [point["share"] for point in points if point["log10_p"] <= target]
        return min(reached)
    slope = math.log(whole / last["log10_p"]) / math.log(1 / last["share"])
    return None if slope <= 0 else float((target / whole) ** (1 / slope))


def scores_for(mark: dict[str, Any], effect: float, target: float) -> int | None:
    """Return how many scores of a mean `effect` reach p `target` with a chance of 80%.

    None where the mean is no better than chance's. The mean is the suspect's own over all that was
    read, and may be chance's itself where p is large.
    """
    law = _mark(mark).law
    if isinstance(law, BinomialLaw):
        spread = math.sqrt(effect * (1 - effect))
    else:
        spread = law.spread * effect / law.mean
    return scores_needed(law, effect, spread, target)


def stop_rate(log: Sequence[dict[str, Any]], end: int) -> float:
    """Return the share of questions whose answer ends with the token `end`."""
    answers = [one["ids"] for one in log if one["outcome"] == "answered"]
    return sum(ids[-1] == end for ids in answers) / len(log)


def _mark(settings: dict[str, Any]) -> PlannedMark:
    green = settings["scheme"] == "green"
    return PlannedMark(
        scheme=settings["scheme"],
        parameters={},
        window=settings["window"],
        key_id="-",
        tokenizer="-",
        vocabulary=2**32,
        rate=settings["gamma"] if green else None,
        shape=None if green else 1,
    )


def _count(whole: int, share: float) -> int:
    return max(1, round(share * whole))


def _text(
    items: list[AnswerItem],
    configuration: str,
    mark: dict[str, Any],
    digest: str,
    share: float,
    least: Least,
) -> Finding:
    """Fewer prompts, each asked as often."""
    samples = 1 + max(item.sample or 0 for item in items)
    prompts = _count(len(items) // samples, share)
    kept = [item for item in items if item.prompt is not None and item.prompt < prompts]
    numbered = [item.model_copy(update={"index": i}) for i, item in enumerate(kept)]
    planned = MarksInTextPlanned(
        configuration=configuration,
        mark=_mark(mark),
        prompts=("-",) * prompts,
        samples=samples,
        least_answers=least(len(numbered)),
    )
    return marks_in_text_finding(planned, numbered, digest)


def _choices(
    items: list[ChoiceItem], configuration: str, mark: dict[str, Any], digest: str, share: float
) -> Finding:
    """Fewer marked texts."""
    kept = items[: _count(len(items), share)]
    window = mark["window"]
    readings = tuple(
        PlannedReading(text="-", positions=tuple(range(window, window + len(item.choices))))
        for item in kept
    )
    count = sum(len(reading.positions) for reading in readings)
    planned = MarksInChoicesPlanned(
        configuration=configuration, mark=_mark(mark), readings=readings, n=max(1, count)
    )
    return marks_in_choices_finding(planned, kept, digest)


def _twins(items: list[TwinsItem], configuration: str, digest: str, share: float) -> Finding:
    """Fewer served exchanges."""
    kept = items[: _count(len(items), share)]
    twins = max(len(item.texts) for item in items) - 1
    exchanges = tuple(
        ServedExchange(prompt=str(i), served=item.texts[0] if item.texts else "-", twins=twins)
        for i, item in enumerate(kept)
    )
    planned = TwinsPlanned(
        configuration=configuration,
        exchanges=exchanges,
        snapshot="-",
        temperature=1.0,
        reference="-" if any(item.reference_logp for item in items) else None,
    )
    return twins_finding(planned, kept, digest)
