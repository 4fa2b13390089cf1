"""What a call costs, teacher and student, and from how many calls on the student has paid.

Formulas: docs/methods/tasks.md. Money is in whatever currency the prices are in.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from potstill.work.stage_records import PricedByTime, PricedByTokens

CALLS = 1000


@dataclass(frozen=True)
class MachinePrice:
    """A model on a machine of one's own.

    `seconds_per_call` is the machine's time for one call, so the length of a batch over its
    calls where calls are batched; `machine_hour` the price of an hour.
    """

    seconds_per_call: float
    machine_hour: float


@dataclass(frozen=True)
class TokenPrice:
    """A model behind an endpoint: mean tokens a call, and prices of a million tokens."""

    prompt_tokens: float
    response_tokens: float
    prompt_million: float
    response_million: float


Price = MachinePrice | TokenPrice


@dataclass(frozen=True)
class Payback:
    """Costs of 1,000 calls side by side, and when the student has paid for itself.

    `spent` is what making the student cost: collection, shrinking, training and evaluation.
    `saved_per_1000_calls` is below 0 where the student is the dearer one. `calls` is the number
    of calls after which the student has been the cheaper way, None where it never is.
    """

    teacher_per_1000_calls: float
    student_per_1000_calls: float
    saved_per_1000_calls: float
    spent: float
    calls: int | None

    def record(self) -> dict[str, Any]:
        """Return the fields as JSON values."""
        return asdict(self)


def price_of(record: PricedByTime | PricedByTokens) -> Price:
    """Return the price that a run recorded."""
    if isinstance(record, PricedByTime):
        return MachinePrice(record.seconds_per_call, record.machine_hour)
    return TokenPrice(
        record.prompt_tokens, record.response_tokens, record.prompt_million, record.response_million
    )


def cost_per_1000_calls(price: Price) -> float:
    """Return the money that 1,000 calls take. Raises ValueError for a negative part."""
    if any(part < 0 or not math.isfinite(part) for part in asdict(price).values()):
        raise ValueError("prices, seconds and tokens must be finite and not negative")
    if isinstance(price, MachinePrice):
        return CALLS * price.seconds_per_call / 3600 * price.machine_hour
    prompts = price.prompt_tokens * price.prompt_million
    responses = price.response_tokens * price.response_million
    return CALLS * (prompts + responses) / 1e6


def payback(teacher: Price, student: Price, *, spent: float) -> Payback:
    """Return costs side by side and the volume from which on the student is the cheaper way.

    Raises ValueError where a price or `spent` is negative or not finite.
    """
    if spent < 0 or not math.isfinite(spent):
        raise ValueError("what was spent must be finite and not negative")
    before, after = cost_per_1000_calls(teacher), cost_per_1000_calls(student)
    saved = before - after
    calls = _calls(spent, saved) if saved > 0 else None
    return Payback(before, after, saved, spent, calls)


def _calls(spent: float, saved: float) -> int | None:
    calls = spent / saved * CALLS
    return math.ceil(calls) if math.isfinite(calls) else None
