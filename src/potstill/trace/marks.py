"""A mark as a plan knows it: everything but the key, and what a sum of its scores comes to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import gammaincinv

from potstill.errors import PotstillError
from potstill.stats.evalues import running_log_e, sequential_log10_p
from potstill.stats.exact import BinomialLaw, GammaLaw, Law, clopper_pearson
from potstill.trace.finding import Finding, TestName, TraceRecord
from potstill.trace.items import refuse_record
from potstill.watermark.coins import coin_of
from potstill.watermark.keys import EpochKey
from potstill.watermark.schemes import WIDEST_WINDOW, GreenList, Gumbel, Scheme

# Scores that differ by less, as a share of their size, differ by the rounding of a logarithm.
_ROUNDING = 1e-9
_CONFIDENCE = 0.95
# Hexadecimal digits of a digest that one key alone has.
_WHOLE_DIGEST = 64


class PlannedMark(TraceRecord):
    """Scheme and parameters of a mark, the digest of its key, and in whose ids it is made.

    A score is 1 at a chance of `rate` and else 0, or Gamma(`shape`, 1), if the text knew no key.
    `tokenizer` is the digest of the marking model's tokenizer, `vocabulary` its number of ids.
    """

    scheme: str
    parameters: dict[str, float]
    window: int = Field(ge=1, le=WIDEST_WINDOW)
    key_id: str
    tokenizer: str
    vocabulary: int = Field(ge=1, le=2**32)
    rate: float | None = Field(None, gt=0, lt=1)
    shape: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_law(self) -> PlannedMark:
        if (self.rate is None) == (self.shape is None):
            raise ValueError("a mark's scores have either a rate or a shape")
        return self

    @property
    def law(self) -> Law:
        """How a sum of scores is spread without a mark."""
        if self.rate is not None:
            return BinomialLaw(self.rate)
        return GammaLaw(self.shape or 1)

    def check(self, scheme: Scheme) -> None:
        """Raise PotstillError unless this scheme, under this key, is the one that was planned."""
        if scheme.key_id != self.key_id:
            raise PotstillError(
                f"this is not the key of the plan (its digest is {scheme.key_id}, planned was "
                f"{self.key_id}); give that key's file and epoch"
            )
        if (scheme.name, scheme.parameters()) != (self.scheme, self.parameters):
            raise PotstillError(
                f"the plan is for the mark {self.scheme} with {_listed(self.parameters)}, not for "
                f"{scheme.name} with {_listed(scheme.parameters())}; give the scheme as planned"
            )

    def under(self, key: EpochKey) -> GreenList | Gumbel:
        """Return the scheme that marks like this under a key.

        Raises PotstillError for another key than the plan's, and for another's scheme.
        """
        if self.scheme == "green":
            gamma, delta = self.parameters["gamma"], self.parameters["delta"]
            scheme: GreenList | Gumbel = GreenList(key, self.window, gamma, delta)
        elif self.scheme == "gumbel":
            scheme = Gumbel(key, self.window)
        else:
            raise PotstillError(
                f"a mark of {self.scheme} is not made by a key of an epoch, so that its scores "
                "cannot be made again; verify without the key"
            )
        self.check(scheme)
        return scheme

    def coin(self, digest: str, test: str, configuration: str, index: int) -> float:
        """Return the score that stands for a missing one: drawn by the plan's digest alone."""
        coin = coin_of(digest, test, configuration, str(index))
        if self.rate is not None:
            return float(coin < self.rate)
        return float(gammaincinv(self.shape, coin))

    def possible(self, score: float) -> bool:
        """Tell whether a number can be a score of this mark."""
        return score in (0.0, 1.0) if self.rate is not None else score >= 0

    def check_figures(self, index: int, ids: Iterable[int], scores: Iterable[float]) -> None:
        """Raise PotstillError, naming the record, for ids and scores that no mark like this has."""
        if not all(0 <= one < self.vocabulary for one in ids):
            raise refuse_record(
                index,
                f"has token ids outside the vocabulary of {self.vocabulary:,} that marks were "
                "made in",
            )
        if not all(map(self.possible, scores)):
            raise refuse_record(index, "has a score that no mark of the plan has")


def refuse_unbound(name: str) -> NoReturn:
    """Raise PotstillError for a mark whose key no plan fixes.

    Of a 64-bit key a whole digest could be searched for the key, so that it has a short one; and
    2^32 keys have the same 32 bits, among which an owner could choose after the answers.
    """
    raise PotstillError(
        f"a trace looks for no mark of {name}: its 64-bit key is named by 32 bits of a digest, "
        "which 2^32 keys have, so that a plan fixes none of them before the suspect is asked; look "
        "for it with potstill watermark detect, and trace marks of potstill's own keys, or twins"
    )


def planned_mark(scheme: Scheme, *, tokenizer: str, vocabulary: int) -> PlannedMark:
    """Return what a plan holds of a scheme.

    Raises PotstillError for a mark whose number does not depend on window and token as they are
    (vLLM's SBW): which of its inputs are new, nobody could check without the key. So it does for
    vLLM's other marks, as `refuse_unbound` says.
    """
    columns = [np.zeros(1, np.uint32)] * scheme.window
    if len(scheme.inputs(columns, columns[0])) != scheme.window + 1:
        raise PotstillError(
            f"a mark of {scheme.name} makes its own inputs with the key, so that a trace of it "
            "could not be checked without; trace marks of another scheme"
        )
    if len(scheme.key_id.rpartition(":")[2]) < _WHOLE_DIGEST:
        refuse_unbound(scheme.name)
    law = scheme.law
    return PlannedMark(
        scheme=scheme.name,
        parameters=dict(scheme.parameters()),
        window=scheme.window,
        key_id=scheme.key_id,
        tokenizer=tokenizer,
        vocabulary=vocabulary,
        rate=law.rate if isinstance(law, BinomialLaw) else None,
        shape=law.shape if isinstance(law, GammaLaw) else None,
    )


@dataclass(frozen=True)
class MarkFigures:
    """What n scores in plan order come to; `log10_p` is that of the plan's kind of p."""

    n: int
    total: float
    p: float
    log10_p: float
    log10_e: float


def figures_of(law: Law, scores: Sequence[float], *, sequential: bool) -> MarkFigures:
    """Return the figures of scores, in the order in which they were looked at.

    Sums are rounded once, so that they do not depend on that order.
    """
    n, total = len(scores), math.fsum(scores)
    log_e = running_log_e(law, scores) if n else np.zeros(1)
    log10_e = float(log_e[-1]) / math.log(10)
    log10_p = sequential_log10_p(log_e) if sequential else min(0.0, law.log10_p(total, n))
    p = float(10**log10_p) if sequential else min(1.0, float(law.p(total, n)))
    return MarkFigures(n, total, p, log10_p, log10_e)


def effect_of(law: Law, total: float, n: int) -> tuple[float, float | None, float | None]:
    """Return the mean score with a 95% interval; the mean without a mark, and none, of no score.

    The interval is exact for independent scores of one other rate, or one other mean.
    """
    if not n:
        return law.mean, None, None
    if isinstance(law, BinomialLaw):
        return total / n, *clopper_pearson(round(total), n, _CONFIDENCE)
    side = (1 - _CONFIDENCE) / 2
    shape = law.mean * n
    low, high = (total / n * shape / float(gammaincinv(shape, 1 - s)) for s in (side, 1 - side))
    return total / n, low, high


def effect_unit(law: Law, of: str) -> str:
    """Return what the mean score is called."""
    if isinstance(law, BinomialLaw):
        return f"share of {of} that are green ({law.mean:g} without a mark)"
    return f"mean score of {of} ({law.mean:g} without a mark)"


class PlannedMarkTest(Protocol):
    """A planned test of a mark, as far as its finding goes."""

    @property
    def test(self) -> TestName:
        """Its name."""
        ...

    @property
    def configuration(self) -> str:
        """What tells it apart from others of its name in one plan."""
        ...

    @property
    def mark(self) -> PlannedMark:
        """The mark that it looks for."""
        ...

    @property
    def sequential(self) -> bool:
        """Whether it may stop early."""
        ...


def mark_finding(
    planned: PlannedMarkTest,
    scores: Sequence[float],
    made: Sequence[float],
    *,
    of: str,
    nothing: str,
    assumes: tuple[str, ...],
) -> Finding:
    """Return what scores in plan order come to.

    `made` are those of them that the suspect made; the others are coins. The effect is the mean of
    what was made, `of` what; where nothing was, the finding is void, for `nothing`.
    """
    law = planned.mark.law
    found = figures_of(law, scores, sequential=planned.sequential)
    effect, low, high = effect_of(law, math.fsum(made), len(made))
    return Finding(
        test=planned.test,
        configuration=planned.configuration,
        tier="proof",
        n=found.n,
        coins=found.n - len(made),
        statistic=found.total,
        null_mean=found.n * law.mean,
        effect=effect,
        effect_unit=effect_unit(law, of),
        effect_low=low,
        effect_high=high,
        p=found.p,
        log10_p=found.log10_p,
        sequential=planned.sequential,
        log10_e=found.log10_e,
        void=None if made else nothing,
        assumes=assumes,
    )


def same_scores(stored_N: NDArray[np.float64], made_N: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell which stored scores are those that the key makes, but for rounding."""
    return np.isclose(stored_N, made_N, rtol=_ROUNDING, atol=_ROUNDING)


def scores_of(
    scheme: Scheme, windows_NK: Sequence[Sequence[int]] | NDArray[Any], tokens_N: Sequence[int]
) -> tuple[float, ...]:
    """Return the score of each token behind its window."""
    if not tokens_N:
        return ()
    columns: list[NDArray[Any]] = list(np.asarray(windows_NK, dtype=np.uint32).T)
    inputs = scheme.inputs(columns, np.asarray(tokens_N, dtype=np.uint32))
    return tuple(scheme.scores(inputs).tolist())


def _listed(parameters: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in parameters.items())
