"""Schemes of marking behind one interface, and potstill's own two: green list and Gumbel.

Each token of a text is looked at with the k tokens before it, its *window*. A keyed function of
both gives a number that is as good as random for whoever has not the key, and independent of
every other (window, token)'s. Marking prefers tokens with good numbers. Detection sums up scores
of these numbers, over distinct inputs of the keyed function alone: under the null hypothesis
(the text does not depend on the key) they are independent, and their sum has a known law.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Protocol, Self

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import digamma

from potstill.canonical import digest_of, labelled
from potstill.errors import PotstillError
from potstill.stats.exact import BinomialLaw, GammaLaw, Law
from potstill.watermark.keys import EpochKey
from potstill.watermark.prf import Columns, below, of_hashes, siphash, uniforms_of

Ids = NDArray[Any]
Scores = NDArray[np.float64]

WIDEST_WINDOW = 16
_SCORE = np.dtype(np.float64)


class Scheme(Protocol):
    """What detection needs of a scheme, potstill's own or another's."""

    @property
    def name(self) -> str:
        """What `--scheme` calls it."""
        ...

    @property
    def window(self) -> int:
        """How many tokens before a token its number depends on."""
        ...

    @property
    def key_id(self) -> str:
        """The digest that names the key and discloses nothing of it."""
        ...

    @property
    def law(self) -> Law:
        """How the sum of n scores of distinct inputs is spread if the text knew no key."""
        ...

    def parameters(self) -> dict[str, float]:
        """Return what else than its key decides the scheme, by name."""
        ...

    def inputs(self, windows_KN: Sequence[Ids], tokens_N: Ids) -> Columns:
        """Return what the keyed function is given for N tokens: columns of whole numbers.

        Two rows are equal if and only if the function is given the same, after any hashing of
        the window: detection scores equal rows once. `windows_KN` are K arrays, the oldest
        token's first.
        """
        ...

    def scores(self, inputs: Columns) -> Scores:
        """Return score_N of the rows that `inputs` gave: large where the key marked."""
        ...

    def expected(self, entropy: float) -> float:
        """Return the mean score of a marked token, for a model of that many nats a token.

        An assumption about the text, not a bound: how much text a detection would need.
        """
        ...

    def decoy(self, number: int) -> Self:
        """Return the same scheme under another key, the `number`-th of a fixed public list."""
        ...


@dataclass(frozen=True)
class _Keyed:
    """What potstill's own schemes share: SipHash of window and token under the epoch's subkey."""

    key: EpochKey
    window: int

    def __post_init__(self) -> None:
        if not 1 <= self.window <= WIDEST_WINDOW:
            raise PotstillError(
                f"a watermark's window is 1 to {WIDEST_WINDOW} tokens, not {self.window}; choose "
                "one of these"
            )

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def key_id(self) -> str:
        return self.key.key_id

    @property
    def mark_id(self) -> str:
        """The digest of key, scheme and parameters: what exchanges are stored under."""
        facts = {"key": self.key_id, "scheme": self.name, "parameters": self.parameters()}
        return labelled(digest_of(facts))

    @cached_property
    def subkey(self) -> bytes:
        """The 128-bit key of SipHash; schemes under one epoch's key have each their own."""
        return self.key.subkey(self.name)

    def parameters(self) -> dict[str, float]:
        return {"window": self.window}

    def inputs(self, windows_KN: Sequence[Ids], tokens_N: Ids) -> Columns:
        return (*windows_KN, tokens_N)

    def decoy(self, number: int) -> Self:
        secret = blake3(f"potstill watermark decoy {number}".encode()).digest(length=32)
        return replace(self, key=EpochKey(f"decoy-{number}", secret))


@dataclass(frozen=True)
class GreenList(_Keyed):
    """One independent bit for each (window, token), green at a chance of gamma.

    Marking multiplies the chance of green tokens by e^delta (Kirchenbauer et al. 2023), with bits
    that are independent of one another, as SBW's are (Ceppi and Sanchez, arXiv 2609.03844).
    """

    gamma: float
    delta: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma < 1:
            raise PotstillError("a green list's gamma lies between 0 and 1; choose 0.5 or less")
        if not 0 < self.delta < math.inf:
            raise PotstillError("a green list's delta is a number above 0; choose for example 2")

    @property
    def name(self) -> str:
        return "green"

    @property
    def law(self) -> Law:
        return BinomialLaw(self.gamma)

    def parameters(self) -> dict[str, float]:
        return {"window": self.window, "gamma": self.gamma, "delta": self.delta}

    def green(self, inputs: Columns) -> NDArray[np.bool_]:
        """Tell which of the rows are green."""
        hashes = siphash(inputs, self.subkey)
        return below(hashes, self.gamma)

    def scores(self, inputs: Columns) -> Scores:
        return of_hashes(inputs, self.subkey, lambda h: below(h, self.gamma), _SCORE)

    def expected(self, entropy: float) -> float:
        return _expected_green(self.gamma, self.delta, entropy)


@lru_cache
def _expected_green(gamma: float, delta: float, entropy: float) -> float:
    """Return the mean share of green tokens in marked text of an entropy."""
    p_V = falling_chances(entropy)
    draws = max(64, _DRAWS // len(p_V))
    green_DV = np.random.default_rng(0).random((draws, len(p_V))) < gamma
    weight_DV = np.where(green_DV, math.exp(min(delta, 700.0)), 1.0) * p_V
    share_D = (weight_DV * green_DV).sum(1) / weight_DV.sum(1)
    return float(share_D.mean())


@dataclass(frozen=True)
class Gumbel(_Keyed):
    """One number u for each (window, token); the token with the largest u^(1/p) is written.

    Averaged over keys the text is the model's own (Aaronson 2022; Kuditipudi et al. 2023). A
    token's score is -ln(1 - u).
    """

    @property
    def name(self) -> str:
        return "gumbel"

    @property
    def law(self) -> Law:
        return GammaLaw(1)

    def uniforms(self, inputs: Columns) -> Scores:
        """Return u_N in [0, 1) of the rows."""
        return of_hashes(inputs, self.subkey, uniforms_of, _SCORE)

    def scores(self, inputs: Columns) -> Scores:
        return of_hashes(inputs, self.subkey, lambda h: -np.log1p(-uniforms_of(h)), _SCORE)

    def expected(self, entropy: float) -> float:
        # The winner's u is a uniform number to the power of its p: E[-ln(1 - u)] = H(1 / p).
        p_V = falling_chances(entropy)
        return float(np.sum(p_V * (digamma(1 / p_V + 1) - digamma(1.0))))


# Bits that the expectation over green lists is taken over.
_DRAWS = 1 << 20
# A chance that no expectation sees, and the longest list of chances; more nats than this are
# taken for this many: the mean scores have come close to their ceilings.
_TINY, _WIDEST, _MOST_NATS = 1e-6, 8192, 7.0


@lru_cache
def falling_chances(entropy: float) -> NDArray[np.float64]:
    """Return chances that each fall by one factor, with the given entropy in nats.

    Of all shapes with the same mean rank this one has the most entropy. Raises ValueError for an
    entropy below 0.
    """
    if not entropy >= 0:
        raise ValueError("an entropy is 0 nats or more")
    if entropy == 0:
        return np.ones(1)
    wanted = min(entropy, _MOST_NATS)
    factor = float(brentq(lambda r: _geometric_entropy(r) - wanted, 1e-12, 1 - 1e-6, xtol=1e-12))
    length = min(_WIDEST, 1 + math.ceil(math.log(_TINY) / math.log(factor)))
    p_V = np.asarray(factor ** np.arange(length), dtype=np.float64)
    p_V /= p_V.sum()
    p_V.flags.writeable = False
    return p_V


def _geometric_entropy(factor: float) -> float:
    """Return the entropy of chances (1 - r) r^i."""
    return -(math.log1p(-factor) + factor / (1 - factor) * math.log(factor))
