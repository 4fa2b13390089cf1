"""How much a run does with its minutes. Pure arithmetic over `predict`.

The minutes are shared out by one number, the tokens of text that a run works on. The three stages
that text makes longer get it in the proportions that the demo was tuned to: the repair is fitted on
0.65 of it, and training passes over it 1.05 times. That rule is kept at every number of minutes,
since new answers teach more than a second pass (docs/how-to/first-distillation.md), and since the
repair was short of text, not of time. Where prompts run out, a teacher that is at hand answers each
once more; then training takes what is left, up to four passes. A search gets up to 0.15 of what is
free, and what it leaves goes to training. The greedy column is left out unless the recipe asks for
it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from potstill.runs.minutes.predict import (
    Amounts,
    Rates,
    RunSizes,
    collecting,
    measuring,
    predict,
    shrinking,
    step,
    trial,
)

CALIBRATION_SHARE = 0.65
PASSES = 1.05
MOST_PASSES = 4.0
SEARCH_SHARE = 0.15
# What is measured on the way takes at most this share of a training.
WATCHED_SHARE = 0.15
LEAST_ANSWERS = 64
LEAST_CALIBRATION = 2048
LEAST_STEPS = 8
MOST_CANDIDATES = 8
MOST_SAMPLES = 8
FEWEST_VALIDATIONS, MOST_VALIDATIONS = 2, 8


@dataclass(frozen=True)
class Settled:
    """What is not to be chosen, since the recipe states it or it is done; None for what is."""

    prompts: int | None = None
    samples: int | None = None
    calibration_tokens: int | None = None
    candidates: int | None = None
    steps: int | None = None
    # Passes over the text that a recipe states, where steps follow from the text.
    passes: float | None = None
    validate_every: int | None = None
    greedy: bool | None = None


def amounts_at(text: float, sizes: RunSizes, given: Settled) -> Amounts:
    """Return what is done with so many tokens of text; nothing falls as it rises."""
    wanted = max(0, int(text / sizes.text))
    samples = _samples(wanted, sizes, given)
    least = min(sizes.available, LEAST_ANSWERS)
    prompts = given.prompts
    if prompts is None:
        prompts = max(least, min(sizes.available, wanted // samples))
    held = prompts * samples * sizes.text
    calibration = given.calibration_tokens
    if calibration is None:
        calibration = int(max(min(LEAST_CALIBRATION, held), CALIBRATION_SHARE * min(text, held)))
    steps = given.steps
    if steps is None:
        passes = given.passes
        tokens = PASSES * min(text, held) if passes is None else passes * held
        least_steps = LEAST_STEPS if passes is None else 1
        steps = max(least_steps, round(tokens / sizes.batch_tokens))
    return Amounts(
        prompts=prompts,
        samples=samples,
        calibration_tokens=calibration,
        candidates=1 if given.candidates is None else given.candidates,
        steps=steps,
        validations=_validations(steps, given),
        greedy=bool(given.greedy),
    )


def choose(seconds: float, rates: Rates, sizes: RunSizes, given: Settled) -> Amounts:
    """Return the most that is foretold to fit into so many seconds, the least where nothing does.

    What `given` states is not touched, and its time counts. Prompts, calibration tokens and
    candidates never fall as the seconds rise; steps take what is left, and may fall by a step or
    two where another prompt is taken on.
    """
    least = amounts_at(0.0, sizes, given)
    free = max(0.0, seconds - predict(rates, sizes, least).total)
    search = SEARCH_SHARE * free if sizes.search_rounds and given.candidates is None else 0.0
    low, high = 0.0, _most_text(sizes)
    if predict(rates, sizes, amounts_at(high, sizes, given)).total <= seconds - search:
        low = high
    for _ in range(40):
        middle = (low + high) / 2
        if predict(rates, sizes, amounts_at(middle, sizes, given)).total <= seconds - search:
            low = middle
        else:
            high = middle
    found = amounts_at(low, sizes, given)
    if search:
        more = int(search / max(1e-9, sizes.search_rounds * trial(rates, sizes)))
        found = replace(found, candidates=min(MOST_CANDIDATES, 1 + more))
    return _filled(found, seconds, rates, sizes, given)


def least_seconds(rates: Rates, sizes: RunSizes, given: Settled) -> float:
    """Return the fewest seconds that the held-out prompts and a training at all take."""
    return predict(rates, sizes, amounts_at(0.0, sizes, given)).total


def _filled(
    found: Amounts, seconds: float, rates: Rates, sizes: RunSizes, given: Settled
) -> Amounts:
    """Return the amounts with steps, and what is measured among them, in all that is left."""
    if given.steps is not None or given.passes is not None:
        return found
    a_step, measured = step(rates, sizes), measuring(rates, sizes)
    others = collecting(rates, sizes, found) + shrinking(rates, sizes, found)
    others += predict(rates, sizes, found).evaluate
    left = (seconds - others) / sizes.trainings - measured
    most = max(LEAST_STEPS, int(MOST_PASSES * found.answers * sizes.text / sizes.batch_tokens))
    if given.validate_every is not None:
        every = given.validate_every
        steps = min(most, int((left - measured) / (a_step + measured / every)))
        if steps <= found.steps:
            return found
        return replace(found, steps=steps, validations=_validations(steps, given))
    share = int(WATCHED_SHARE * max(0.0, left) / measured) if measured > 0 else MOST_VALIDATIONS
    validations = max(FEWEST_VALIDATIONS, min(MOST_VALIDATIONS, share))
    steps = min(most, int((left - validations * measured) / a_step))
    return found if steps < LEAST_STEPS else replace(found, steps=steps, validations=validations)


def _samples(wanted: int, sizes: RunSizes, given: Settled) -> int:
    if given.samples is not None:
        return given.samples
    prompts = sizes.available if given.prompts is None else given.prompts
    return max(1, min(MOST_SAMPLES, wanted // max(1, prompts)))


def _validations(steps: int, given: Settled) -> int:
    if given.validate_every is None:
        return FEWEST_VALIDATIONS
    return max(1, math.ceil(steps / given.validate_every))


def _most_text(sizes: RunSizes) -> float:
    return sizes.available * MOST_SAMPLES * sizes.text * MOST_PASSES
