"""What is known of a teacher's next-token distribution at each response position of an exchange.

Three kinds of values: final hidden states (with the head, the whole distribution), draws from the
distribution, and its likeliest tokens. Ids are the teacher's. `codecs` turns them into bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.exchanges.specs import TargetSpec


@dataclass(frozen=True)
class HiddenStates:
    """`hidden_RD`: the state, after the last norm, that predicts each response token."""

    hidden_RD: Tensor

    def __len__(self) -> int:
        return len(self.hidden_RD)


@dataclass(frozen=True)
class Draws:
    """Tokens that were drawn at each position, and how often.

    `ids_RU` and `count_RU` have as many columns as the widest row has different tokens; unused
    places hold count 0 and id 0. Used ids ascend along a row, and its counts add up to the number
    of draws. `entropy_R` is that of the distribution drawn from, in nats; `width` is how many
    tokens it has.
    """

    ids_RU: Tensor
    count_RU: Tensor
    entropy_R: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.ids_RU)


@dataclass(frozen=True)
class LikeliestTokens:
    """The k likeliest tokens at each position, ids ascending along a row, and their
    log-probabilities (nats, over all of the `width` tokens).

    `rest_R` is the log of the mass of all other tokens, -inf where there are none: a figure of its
    own, since 1 minus the mass of the k is lost to rounding where these have nearly all of it.
    `rest_told` is False where it had to be taken for that all the same: an old store has no other.
    """

    ids_RK: Tensor
    logp_RK: Tensor
    rest_R: Tensor
    width: int
    rest_told: bool = True

    def __len__(self) -> int:
        return len(self.ids_RK)


def with_rest(logp_RK: Tensor, error_R: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Return (logp_RK, rest_R), both fp32, from log-probabilities whose rest nobody told.

    The rest is what they leave of 1, in float64. `error_R` is how far rounding may have moved
    their sum; where they leave less than that, the rest is known up to it alone, and counts as the
    most it can be: `error_R`. Too much rest lowers a reverse KL, and raises a forward one by less
    than error log(error / q), where too little would raise a reverse KL without bound. Rows that
    then add up to more than 1 are brought back to it. Where k tokens are all there are, rest_R is
    -inf and the rows are brought to 1.
    """
    exact_RK = logp_RK.double()
    error_R = error_R.double()
    if logp_RK.shape[1] >= width:
        exact_RK = exact_RK.log_softmax(dim=-1)
        return exact_RK.float(), torch.full_like(error_R, float("-inf")).float()
    most_R = exact_RK.amax(dim=-1)
    # The likeliest token's share of 1 is taken away by expm1: it may be all of it but 1e-12.
    others_R = exact_RK.exp().sum(dim=-1) - most_R.exp()
    left_R = -torch.expm1(most_R) - others_R
    rest_R = torch.maximum(left_R, error_R)
    over_R = (rest_R - left_R).log1p()
    return (exact_RK - over_R[:, None]).float(), (rest_R.log() - over_R).float()


TargetValues = HiddenStates | Draws | LikeliestTokens


@dataclass(frozen=True)
class ExchangeTargets:
    """One scorer's targets of one exchange, a row for each response token.

    `scorer` is the identity of the model that they come from.
    """

    exchange_id: str
    scorer: str
    spec: TargetSpec
    values: TargetValues
