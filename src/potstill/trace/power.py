"""What a plan would take, and what it can be expected to find, before it is fixed.

Both are expectations, and each says what it rests on. Questions, tokens and money come from the
plan and from stated prices, minutes from a rate that was measured. Power is computed under an
effect of an assumed size: how much of a mark, or of a served answer, a suspect has learnt is not
known before it is asked.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, gamma, norm

from potstill.endpoint.budget import Prices, Tokens
from potstill.stats.exact import BinomialLaw, GammaLaw, Law
from potstill.stats.ranks import RankSumLaw
from potstill.watermark.needed import POWER, scores_needed

# A mean rank that lies no further above chance's is chance's; more prompts than anybody has.
_NO_EXCESS, _MOST = 1e-6, 10**9
# A grid over a normal's values that is wide and fine enough for chances right to 1e-9.
_GRID = np.linspace(-10.0, 10.0, 4001)


@dataclass(frozen=True)
class Pace:
    """Tokens a second that a model reads and writes, as measured on this machine."""

    read: float
    written: float


@dataclass(frozen=True)
class Outlay:
    """What one test takes: questions, tokens at the most, money and minutes.

    `money` is None where nothing is paid or a price is not stated, `minutes` where no rate is
    known: a server's is not, before it was asked.
    """

    questions: int
    tokens: Tokens
    money: float | None = None
    minutes: float | None = None

    def __add__(self, other: Outlay) -> Outlay:
        return Outlay(
            self.questions + other.questions,
            self.tokens + other.tokens,
            _sum(self.money, other.money),
            _sum(self.minutes, other.minutes),
        )


@dataclass(frozen=True)
class ExpectedPower:
    """The chance that a test's p-value reaches `alpha`, under an assumed effect.

    `needed` is how many scores (or prompts) would give a chance of 80%, None where none do.
    `assumes` says in a sentence what the figures rest on; `coins` stand beside the scores.
    """

    alpha: float
    scores: int
    power: float
    needed: int | None
    assumes: str
    coins: int = 0


def answers_outlay(
    prompt_tokens: Sequence[int],
    samples: int,
    max_tokens: int,
    *,
    prices: Prices | None = None,
    pace: Pace | None = None,
) -> Outlay:
    """Return what it takes to have prompts of so many tokens answered; every answer at its longest.

    `prices` are a server's, `pace` that of a model in memory.
    """
    count = len(prompt_tokens) * samples
    tokens = Tokens(sum(prompt_tokens) * samples, count * max_tokens)
    return _outlay(count, tokens, prices, pace)


def readings_outlay(
    text_tokens: Sequence[int], *, prices: Prices | None = None, pace: Pace | None = None
) -> Outlay:
    """Return what it takes to have texts of so many tokens, prompts among them, read.

    A server writes one token for each, which is thrown away.
    """
    written = len(text_tokens) if prices is not None else 0
    return _outlay(len(text_tokens), Tokens(sum(text_tokens), written), prices, pace)


def twins_outlay(
    prompt_tokens: Sequence[int],
    answer_tokens: int,
    twins: int,
    teacher: Pace | None,
    *,
    models: int = 1,
    prices: Prices | None = None,
    pace: Pace | None = None,
) -> Outlay:
    """Return what it takes to draw twins and to have them read beside the served answers.

    The teacher draws at its own pace; with None they are drawn elsewhere. `models` in memory
    (suspect, reference, controls) read at `pace`; with `prices` a server reads instead of one of
    them. Answers are taken to have `answer_tokens`, at the longest.
    """
    count = len(prompt_tokens)
    texts = [length + answer_tokens for length in prompt_tokens for _ in range(twins + 1)]
    drawn = Tokens(sum(prompt_tokens) * twins, count * twins * answer_tokens)
    found = Outlay(0, Tokens()) if teacher is None else _outlay(0, drawn, None, teacher)
    served = 1 if prices is not None else 0
    for _ in range(models - served):
        found += _outlay(len(texts), Tokens(sum(texts)), None, pace)
    return found + readings_outlay(texts, prices=prices) if served else found


def expected_of_mark(
    law: Law, marked_mean: float, learnt: float, scores: int, alpha: float, *, coins: int = 0
) -> ExpectedPower:
    """Return what a test of a mark by so many distinct scores can be expected to find.

    `coins` more are fair ones, which say nothing and cost power: all are taken to have the mean of
    both together, as their sum has.

    `marked_mean` is the mean score of the teacher's own marked text (`Scheme.expected`), `learnt`
    the share of its excess over chance that is assumed to come back in the suspect's choices.
    Scores are taken for independent: a green one is 1 at one chance, a Gumbel one exponential.
    """
    mean = law.mean + learnt * (marked_mean - law.mean)
    spread = _spread_at(law, mean)
    n = scores + coins
    both = law.mean + (mean - law.mean) * (scores / n if n else 0.0)
    return ExpectedPower(
        alpha=alpha,
        scores=scores,
        power=_power_of_scores(law, both, n, alpha),
        needed=scores_needed(law, mean, spread, alpha),
        assumes=f"{learnt:.0%} of the mark's excess in the teacher's own text is assumed to come "
        f"back: a mean score of {mean:.3f}, where {law.mean:.3f} is chance; scores are taken for "
        "independent, and text that a suspect wrote gives ever fewer new ones",
        coins=coins,
    )


def expected_of_twins(prompts: int, twins: int, shift: float, alpha: float) -> ExpectedPower:
    """Return what ranking so many served answers among their twins can be expected to find.

    `shift` is how much higher a served answer scores than its twins on average, in standard
    deviations of their scores; all are taken for normal. The p-value is exact, how the sum of
    ranks is spread under the shift is taken for normal.
    """
    chance = rank_chances(twins, shift)
    ranks = np.arange(twins + 1)
    mean = float(chance @ ranks)
    spread = math.sqrt(max(0.0, float(chance @ ranks**2) - mean**2))
    return ExpectedPower(
        alpha=alpha,
        scores=prompts,
        power=_power_of_ranks(prompts, twins, mean, spread, alpha),
        needed=_prompts_needed(twins, mean, spread, alpha),
        assumes=f"a served answer is assumed to score {shift:g} standard deviations above its "
        f"twins on average, so that it stands above {mean / twins:.1%} of them (50% by chance)",
    )


def rank_chances(twins: int, shift: float) -> NDArray[np.float64]:
    """Return the chance of each rank 0 .. m of a N(shift, 1) number among m of N(0, 1).

    The rank is binomial given the number, at a chance of its place among the others.
    """
    weight_Z = norm.pdf(_GRID - shift)
    below_Z = norm.cdf(_GRID)
    chance_R = np.array(
        [float(weight_Z @ binom.pmf(rank, twins, below_Z)) for rank in range(twins + 1)]
    )
    return np.asarray(chance_R / chance_R.sum(), dtype=np.float64)


def _power_of_scores(law: Law, mean: float, n: int, alpha: float) -> float:
    """Return the chance that n independent scores of a mean reach an exact p of alpha."""
    if n <= 0:
        return 0.0
    if isinstance(law, BinomialLaw):
        least = int(binom.isf(alpha, n, law.rate)) + 1
        while least > 0 and float(law.p(least - 1, n)) <= alpha:
            least -= 1
        while float(law.p(least, n)) > alpha:
            least += 1
        return float(binom.sf(least - 1, n, min(1.0, mean)))
    assert isinstance(law, GammaLaw)
    total = float(gamma.isf(alpha, law.shape * n))
    return float(gamma.sf(total * law.mean / mean, law.shape * n))


def _spread_at(law: Law, mean: float) -> float:
    """Return the standard deviation of a score of another mean than chance's."""
    if isinstance(law, BinomialLaw):
        return math.sqrt(max(0.0, mean * (1 - mean)))
    return law.spread * mean / law.mean


def _power_of_ranks(prompts: int, twins: int, mean: float, spread: float, alpha: float) -> float:
    if prompts <= 0:
        return 0.0
    law = RankSumLaw((twins,) * prompts)
    low, high = 0, law.most + 1  # the least sum whose p is at most alpha lies in (low, high]
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if law.log10_p(middle) <= math.log10(alpha) else (middle, high)
    if high > law.most:
        return 0.0
    if spread == 0:
        return float(prompts * mean >= high)
    # A half for the step between two sums.
    return float(norm.sf((high - 0.5 - prompts * mean) / (spread * math.sqrt(prompts))))


def _prompts_needed(twins: int, mean: float, spread: float, alpha: float) -> int | None:
    """Return how many prompts give a power of about 80%, both sums taken for normal.

    None where ranks are no higher than chance's, or where more than anybody has would be needed.
    """
    excess = mean - twins / 2
    if excess < _NO_EXCESS:
        return None
    chance = math.sqrt(twins * (twins + 2) / 12)
    root = (norm.isf(alpha) * chance + norm.ppf(POWER) * spread) / excess
    # Even if every served answer stands above all its twins, p is no less than (m + 1)^-n.
    least = math.ceil(-math.log(alpha) / math.log(twins + 1))
    return max(least, math.ceil(root**2)) if root**2 < _MOST else None


def _outlay(questions: int, tokens: Tokens, prices: Prices | None, pace: Pace | None) -> Outlay:
    seconds = None if pace is None else tokens.prompt / pace.read + tokens.response / pace.written
    return Outlay(
        questions,
        tokens,
        None if prices is None else prices.of(tokens),
        None if seconds is None else seconds / 60,
    )


def _sum(one: float | None, other: float | None) -> float | None:
    """Return the sum of what is known: None where neither is."""
    known = [part for part in (one, other) if part is not None]
    return sum(known) if known else None
