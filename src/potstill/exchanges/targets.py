"""What is known of a teacher's next-token distribution at each response position of an exchange.

Three kinds of values: final hidden states (with the head, the whole distribution), draws from the
distribution, and its likeliest tokens. Ids are the teacher's. `codecs` turns them into bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    log-probabilities (nats, over all of the `width` tokens)."""

    ids_RK: Tensor
    logp_RK: Tensor
    width: int

    def __len__(self) -> int:
        return len(self.ids_RK)


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
