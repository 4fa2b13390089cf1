"""What one test of a suspect comes to, and how strong that can be.

A test has three parts. What is *planned* is fixed before anything is asked. An *item* is one
record of what was asked and what came, in the order of the plan: the raw log holds them. A
*finding* is computed from the two alone, so that anybody computes it again. Items that a suspect
erred at, refused or left unanswered are never dropped: coins of the plan's digest stand for them.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

# What a finding can say, strongest first; tiers are never merged into one number.
#   proof    this text, or these answers, were learnt (accuses)
#   descent  weights come from these weights, or from this training run
#   support  resembles: speaks for something, and accuses nobody
Tier = Literal["proof", "descent", "support"]

TestName = Literal["watermark-text", "watermark-reading", "twins", "order", "weights", "agreement"]


def is_none(value: object) -> bool:
    """Tell of a field that is left out of a record where it holds nothing."""
    return value is None


class TraceRecord(BaseModel):
    """Base of what a plan, a raw log and a verdict hold: immutable, unknown keys are an error."""

    # What a record holds may be somebody's text, and is quoted in no error.
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, allow_inf_nan=False
    )


class Finding(TraceRecord):
    """What one test of one suspect comes to.

    `configuration` tells apart several of one test (a scheme and epoch, a set of controls). `n`
    items carry `statistic`, whose mean under the null hypothesis is `null_mean`; `coins` of the n
    are coins. `clusters` says of how many independent observations the n are, where that is fewer,
    and `controls` over how many models p is the greatest. `effect` is the size of what was found,
    in `effect_unit`, with its interval where there is one. A test that was planned for a fixed n
    has `p` and its logarithm, also where `p` is too small for a number; a sequential one has only
    `log10_p` of min(1, 1 / sup E), as `sequential` says. `log10_e` is the logarithm of an e-value,
    where the test has one. `void` says why nothing follows, whatever the figures are. `assumes` are
    sentences that a reader has to grant.
    """

    test: TestName
    configuration: str
    tier: Tier
    n: int = Field(ge=0)
    coins: int = Field(0, ge=0)
    # Left out where they are None, so that findings of before there were any stay as they are.
    clusters: int | None = Field(None, ge=1, exclude_if=is_none)
    controls: int | None = Field(None, ge=1, exclude_if=is_none)
    statistic: float
    null_mean: float
    effect: float
    effect_unit: str
    effect_low: float | None = None
    effect_high: float | None = None
    p: float = Field(ge=0, le=1)
    log10_p: float = Field(le=0)
    sequential: bool = False
    log10_e: float | None = None
    void: str | None = None
    assumes: tuple[str, ...] = ()
