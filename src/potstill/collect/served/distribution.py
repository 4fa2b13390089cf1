"""Whether a server's numbers are a distribution. Pure functions: they are, or there are none.

A server that draws greedily, truncates or masks may tell what it drew from in place of what the
model thinks; another tells probabilities, or figures of nothing. What is learnt from such numbers
is learnt wrongly, and a loss does not show it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from potstill.endpoint.wire import ScoredToken

# Figures rounded to bf16 add up to 1 within this.
SUM_LIMIT = 1.01
# A log-probability above 0 by no more than rounding.
_ROUNDED_UP = 1e-3
# In place of minus infinity servers write -9999, -1e9, the least fp32 or the like: no softmax in
# fp32 tells less than about -200 of a token that is among its likeliest.
_SENTINEL = -1000.0
# Two figures of one token are equal up to bf16's rounding: absolute, and relative.
_SAME_ABS, _SAME_REL = 0.01, 0.01
_TWO = "two log-probabilities of one token"
# What is not told is no likelier than the least that is, but for rounding.
_REST_FACTOR = 2.0


class NoTargets(ValueError):
    """Why an answer has no targets, in fixed words."""


def likeliest_row(
    score: ScoredToken, id_of: Callable[[int, str], int], count: int, width: int
) -> list[tuple[int, float]]:
    """Return the likeliest `count` tokens of a position as (id, log-probability), ids ascending.

    They come in any order, and one token may be told twice with the same figure. `id_of` names a
    token by its (id or -1, text); `width` is how many tokens there are. Raises NoTargets where the
    figures are no distribution's, or too few.
    """
    figures = [logp for _, _, logp in score.top]
    figures += [] if score.logp is None else [score.logp]
    if not all(logp <= _ROUNDED_UP for logp in figures):  # NaN neither
        raise NoTargets("a log-probability that is none")
    _check_alike(score)
    row: dict[int, float] = {}
    for token_id, text, logp in sorted(score.top, key=lambda entry: -entry[2]):
        if len(row) == count:
            break
        named = id_of(token_id, text)
        if not _same(row.setdefault(named, logp), logp):
            raise NoTargets(_TWO)
    if len(row) < count:
        raise NoTargets("the server gave fewer likeliest tokens than were asked for")
    if min(row.values()) < _SENTINEL:
        raise NoTargets("a mark in place of a log-probability (-9999 or the like)")
    _check_sum(list(row.values()), count, width)
    return sorted(row.items())


def check_told(rows: Sequence[Sequence[tuple[int, float]]]) -> None:
    """Raise NoTargets where every figure of an answer is 0: the server tells none."""
    if rows and all(logp == 0 for row in rows for _, logp in row):
        raise NoTargets("log-probabilities that are all 0")


def _check_sum(figures: Sequence[float], count: int, width: int) -> None:
    total = sum(math.exp(logp) for logp in figures)
    if total > SUM_LIMIT:
        raise NoTargets("log-probabilities whose probabilities add up to more than 1")
    # All that is left, spread over the other tokens, must not make them likelier than these.
    most = max(0, width - count) * math.exp(min(figures)) * _REST_FACTOR
    if 1 - total > most + (SUM_LIMIT - 1):
        raise NoTargets("tokens that cannot be the likeliest: they leave too much to the others")


def _check_alike(score: ScoredToken) -> None:
    """Raise NoTargets where two figures of one token differ, its own and its entries'."""
    listed: dict[int | str, list[float]] = {}
    for token_id, text, logp in score.top:
        listed.setdefault(_key(token_id, text), []).append(logp)
    # Parts of characters have one text among several tokens: only ids tell those apart.
    numbered = [figures for key, figures in listed.items() if isinstance(key, int)]
    if not all(_same(figures[0], other) for figures in numbered for other in figures):
        raise NoTargets(_TWO)
    if score.logp is None or not score.top:
        return
    own = listed.get(_key(score.token_id, score.text))
    least = min(logp for _, _, logp in score.top)
    if own is None:
        fits = score.logp <= least or _same(score.logp, least)
    else:
        fits = any(_same(score.logp, logp) for logp in own)
    if not fits:
        raise NoTargets("a token's own log-probability is not that of its entry in the list")


def _key(token_id: int, text: str) -> int | str:
    return token_id if token_id >= 0 else text


def _same(one: float, other: float) -> bool:
    return math.isclose(one, other, abs_tol=_SAME_ABS, rel_tol=_SAME_REL)
