"""Training order: do a suspect's likelihoods follow the order that one run was trained in?

The order of a run is drawn from a secret (`work.order_secret`). What descends from the run finds
the rows that were read last, or those that were read at the highest learning rate, a little
likelier. Whatever does not descend from it has likelihoods
that do not depend on the secret, so that the true order is one among those of fresh secrets
(docs/methods/trace.md; after Kuditipudi et al. 2025, arXiv 2510.19796).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.errors import PotstillError
from potstill.trace.finding import Finding, TraceRecord
from potstill.trace.items import Outcome, TraceItem, check_order, refuse_record
from potstill.watermark.coins import coin_of
from potstill.work.order_secret import OrderSecret
from potstill.work.step_plan import SecretOrder, epoch_positions, epochs_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_ASSUMES = (
    "the secret of the run's order was known to nobody who trained the suspect",
    "the order in which the run was trained is the one that its secret gives",
)


class OrderPlanned(TraceRecord):
    """What is asked about one training run, and all that its order is planned again from.

    `lengths` are the tokens of the training's rows, in its own order of rows; `asked` the rows
    whose likelihood is asked, each the first of those that equal it, as `same_as` says (None where
    no two are equal). `secret` is the digest of the order's secret. The epoch that counts is the
    last of `epochs`; where training stopped earlier, or an earlier student was kept,
    `quarters` says after how many quarters of an epoch, and the p-value is multiplied by the number
    of quarters that it could have been. `redraws` fresh secrets give the null distribution.
    `reference` names the model whose log-likelihood is taken off.
    """

    test: Literal["order"] = "order"
    configuration: str = "order"
    secret: str
    lengths: tuple[int, ...] = Field(min_length=1)
    same_as: tuple[int, ...] | None = None
    asked: tuple[int, ...] = Field(min_length=1)
    batch_tokens: int = Field(ge=1)
    epochs: float = Field(gt=0)
    quarters: int | None = Field(None, ge=1)
    redraws: int = Field(9999, ge=99)
    reference: str

    needs: ClassVar[frozenset[str]] = frozenset({"scores_text"})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        rows = len(self.lengths)
        if min(self.lengths) < 1:
            raise ValueError("a training row has at least one token")
        first = range(rows) if self.same_as is None else self.same_as
        if len(first) != rows or any(not 0 <= f <= i or first[f] != f for i, f in enumerate(first)):
            raise ValueError("same_as names for each row the first that equals it")
        if list(self.asked) != sorted({*self.asked} & {*first}):
            raise ValueError("asked names rows in their order, each the first of its equals")
        if self.quarters is not None and self.quarters > self.choices:
            raise ValueError("quarters goes beyond the epochs")
        return self

    @property
    def choices(self) -> int:
        """How many quarters of an epoch there are to stop after."""
        return math.ceil(4 * self.epochs - 1e-9)

    def require_secret(self, secret: OrderSecret) -> None:
        """Raise PotstillError for another secret than that of the plan's training order."""
        if secret.digest != self.secret:
            raise PotstillError(
                f"this is not the secret of the plan's training order (its digest is "
                f"{secret.digest}, the plan's {self.secret}); give the file order.secret of that "
                "run"
            )


class OrderItem(TraceItem):
    """What came of one row: log-likelihoods in nats of its response, and where the run read it.

    `score` is the suspect's, `reference` the other model's; both are None unless `answered`.
    `position` is the step of the counted epoch, None where the row was not read in it.
    """

    row: int = Field(ge=0)
    outcome: Outcome = "answered"
    score: float | None = None
    reference: float | None = None
    position: int | None = Field(None, ge=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.answered == (None in (self.score, self.reference)):
            raise ValueError("an answered item has two log-likelihoods, another has none")
        return self


def order_positions(planned: OrderPlanned, secret: OrderSecret) -> Integers:
    """Return the step at which a secret's order last reads each asked row in the counted epoch.

    -1 stands for rows that it does not read there. Of equal rows the one read last counts.
    """
    epoch, share = _counted(planned)
    draw = SecretOrder(secret).epoch(epoch)
    visited = min(1.0, planned.epochs - epoch)
    position_N = epoch_positions(
        np.asarray(planned.lengths), batch_tokens=planned.batch_tokens, share=visited, draw=draw
    )
    if share < 1:
        # The steps that were taken before training stopped.
        taken = math.ceil(share * (position_N.max() + 1))
        position_N[position_N >= taken] = -1
    if planned.same_as is not None:
        last_N = np.full(len(position_N), -1, dtype=np.int64)
        np.maximum.at(last_N, np.asarray(planned.same_as), position_N)
        position_N = last_N
    return position_N[list(planned.asked)]


def _counted(planned: OrderPlanned) -> tuple[int, float]:
    """Return which epoch counts, and the share of its steps that was taken."""
    if planned.quarters is None:
        return epochs_of(planned.epochs) - 1, 1.0
    epoch = (planned.quarters - 1) // 4
    within = planned.quarters / 4 - epoch
    return epoch, min(1.0, within / min(1.0, planned.epochs - epoch))


def order_finding(
    planned: OrderPlanned,
    items: Sequence[OrderItem],
    digest: str,
    secret: OrderSecret | None = None,
) -> Finding:
    """Return what the order test comes to; `digest` is the plan's.

    Without `secret` the stored steps count (level 1); with it they are planned again, and
    PotstillError names the item that has another one, as where the secret is not the plan's.
    """
    position_N = _stored(planned, items)
    if secret is not None:
        _check(planned, position_N, secret)
    difference_N, coins = _differences(planned, items, digest)
    true = spearman(difference_N, position_N)
    drawn_B = redrawn(planned, difference_N, digest)
    p = (1 + as_far(true, drawn_B)) / (1 + planned.redraws)
    if planned.quarters is not None:
        p = min(1.0, p * planned.choices)
    read = int(np.sum(position_N >= 0))
    return Finding(
        test="order",
        configuration=planned.configuration,
        tier="descent",
        n=len(items),
        coins=coins,
        statistic=true,
        null_mean=float(drawn_B.mean()),
        effect=true,
        effect_unit=f"Spearman's correlation with the step, over {read} rows",
        p=p,
        log10_p=math.log10(p),
        void=None if read > 1 else "the counted epoch read fewer than two of the asked rows",
        assumes=_ASSUMES,
    )


def redrawn(planned: OrderPlanned, difference_N: Floats, digest: str) -> Floats:
    """Return the correlations under fresh secrets, which the plan's digest decides."""
    code_N = _codes(difference_N)
    secrets = (null_secret(digest, planned.configuration, b) for b in range(planned.redraws))
    return np.array([_correlation(code_N, order_positions(planned, s)) for s in secrets])


def as_far(true: float, drawn_B: Floats) -> int:
    """Return how many drawn correlations lie as far from the mean of all as the true one does.

    Either way counts: what was read last is remembered best, and what was read at a high learning
    rate is learnt best, which in a schedule that falls comes first. The mean is over all B + 1, so
    that none of them is treated unlike the others.
    """
    all_C = np.append(drawn_B, true)
    far_C = np.abs(all_C - all_C.mean())
    return int(np.sum(far_C[:-1] >= far_C[-1]))


def null_secret(digest: str, configuration: str, index: int) -> OrderSecret:
    """Return a fresh secret that nobody was trained by."""
    facts = ("potstill order null", digest, configuration, str(index))
    return OrderSecret(blake3("\0".join(facts).encode()).digest())


def spearman(score_N: Floats, position_N: Integers) -> float:
    """Return Spearman's correlation over rows with a position; 0 where either does not vary.

    Equal positions and equal scores share the mean of their ranks.
    """
    return _correlation(_codes(score_N), position_N)


def _codes(score_N: Floats) -> Integers:
    """Return whole numbers from 0 on that are ordered as the scores are."""
    return np.unique(score_N, return_inverse=True)[1]


def _correlation(code_N: Integers, position_N: Integers) -> float:
    read = position_N >= 0
    if not read.all():
        code_N, position_N = code_N[read], position_N[read]
    if len(code_N) < 2:
        return 0.0
    mean = (len(code_N) + 1) / 2
    x, y = _ranks(code_N) - mean, _ranks(position_N) - mean
    spread = math.sqrt(float(np.dot(x, x) * np.dot(y, y)))
    return float(np.dot(x, y)) / spread if spread > 0 else 0.0


def _ranks(value_N: Integers) -> Floats:
    """Return mean ranks of small whole numbers."""
    count_S = np.bincount(value_N)
    rank_S: Floats = count_S.cumsum() - (count_S - 1) / 2
    return rank_S[value_N]


def _stored(planned: OrderPlanned, items: Sequence[OrderItem]) -> Integers:
    """Return the stored steps; raises PotstillError where items are not those of the plan."""
    check_order(items, len(planned.asked), whole=True)
    for item, row in zip(items, planned.asked, strict=True):
        if item.row != row:
            raise refuse_record(item.index, "is of another training row than the plan's")
    return np.array([-1 if i.position is None else i.position for i in items], dtype=np.int64)


def _check(planned: OrderPlanned, stored_N: Integers, secret: OrderSecret) -> None:
    planned.require_secret(secret)
    other = np.flatnonzero(order_positions(planned, secret) != stored_N)
    if len(other):
        raise refuse_record(int(other[0]), "has another step than the secret gives")


def _differences(
    planned: OrderPlanned, items: Sequence[OrderItem], digest: str
) -> tuple[Floats, int]:
    """Return suspect's minus reference's log-likelihood, and how many are coins.

    Where nothing came, a coin of the plan's digest picks one of those that came.
    """
    known = [
        None if i.score is None or i.reference is None else i.score - i.reference for i in items
    ]
    there = sorted(k for k in known if k is not None)
    filled: list[float] = []
    for index, value in enumerate(known):
        if value is None:
            coin = coin_of(digest, planned.test, planned.configuration, str(index))
            value = there[int(coin * len(there))] if there else coin
        filled.append(value)
    return np.array(filled), len(known) - len(there)
