"""Find a key's marks in texts, with an exact p-value (docs/methods/watermark.md).

Each distinct input of the scheme's keyed function is scored once over all texts, so that the
scores are independent of one another where the texts do not depend on the key.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from potstill.errors import PotstillError
from potstill.stats.exact import holm
from potstill.text.counts import many
from potstill.watermark.coins import coin_of
from potstill.watermark.decoys import DecoyCheck, check_decoys
from potstill.watermark.distinct import distinct_rows, groups_of
from potstill.watermark.needed import scores_needed
from potstill.watermark.schemes import Scheme
from potstill.watermark.token_texts import TextRows, TokenTexts

# The p that a detection is planned for where nobody says otherwise.
P_WANTED = 1e-6
# Nats a token of the text that a scheme's expected score is stated for: a small model's at T 1.
ENTROPY = 2.0
# From which p on a mean score is taken for a sign of a mark.
_SIGN = 0.05


@dataclass(frozen=True)
class TextNeeded:
    """How much text would reach `p` with a chance of 80%; None where no amount would.

    `observed` takes the mean score as it was found, `expected` the scheme's own for marked text of
    `entropy` nats a token. A mean that is no farther from the null's than by chance (p above 0.05)
    says nothing of an amount, and `observed` is None. Both in tokens of texts that repeat
    themselves as these do; longer corpora repeat themselves more, so these are the least amounts.
    """

    p: float
    entropy: float
    observed: int | None
    expected: int | None


@dataclass(frozen=True)
class FoundInText:
    """One text alone: `p` is exact for it, `adjusted_p` is Holm's over all texts."""

    scored: int
    total: float
    p: float
    adjusted_p: float


@dataclass(frozen=True)
class Detection:
    """What a key's marks in texts come to.

    `tokens` stand in `texts` texts; `windows` of them have a whole window of their own text before
    them. Of these `left_out` have a window that the suspect was shown, the others repeat one
    another, and `scored` are distinct. `total` is the sum of their scores, `null_mean` and `mean`
    are the mean score without a mark and as found. `p` is exact and `log10_p` its logarithm, also
    where `p` is too small for a number; `randomised_p` has a fixed coin in place of a tie.
    """

    scheme: str
    parameters: dict[str, float]
    key_id: str
    text_digest: str
    texts: int
    tokens: int
    windows: int
    left_out: int
    scored: int
    total: float
    null_mean: float
    mean: float
    p: float
    log10_p: float
    randomised_p: float
    needed: TextNeeded
    each: tuple[FoundInText, ...] | None = None
    decoys: DecoyCheck | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form it has in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Looking:
    """How a detection is done, beside scheme and texts.

    `p_wanted` and `entropy` are what the amount of text needed is stated for; `each` asks for a
    p-value of every text alone; `decoys` is how many decoy keys check the uniformity, 0 for none.
    """

    p_wanted: float = P_WANTED
    entropy: float = ENTROPY
    each: bool = False
    decoys: int = 0


def detect(
    scheme: Scheme,
    texts: TokenTexts | Iterable[ArrayLike],
    *,
    shown: TokenTexts | None = None,
    looking: Looking | None = None,
) -> Detection:
    """Return how sure the key's marks are in texts of token ids, given in plan order.

    `shown` are texts that the suspect was given (prompts, few-shot examples): windows that occur
    in them are left out. Raises `PotstillError` for no text, or none longer than a window.
    """
    looking = looking or Looking()
    found = texts if isinstance(texts, TokenTexts) else TokenTexts.of(texts)
    rows, keep_N = _rows_of(scheme, found, shown)
    inputs = scheme.inputs(rows.windows_KN, rows.tokens_N)
    distinct = distinct_rows(inputs, keep_N)
    scores = scheme.scores(distinct)
    scored, total = len(scores), float(scores.sum())
    windows = int(rows.inside_N.sum())
    mean = total / scored if scored else scheme.law.mean
    coin = coin_of(scheme.key_id, found.digest)
    return Detection(
        scheme=scheme.name,
        parameters=scheme.parameters(),
        key_id=scheme.key_id,
        text_digest=found.digest,
        texts=found.texts,
        tokens=found.tokens,
        windows=windows,
        left_out=windows - int(keep_N.sum()),
        scored=scored,
        total=total,
        null_mean=scheme.law.mean,
        mean=mean,
        p=float(scheme.law.p(total, scored)),
        log10_p=scheme.law.log10_p(total, scored),
        randomised_p=float(scheme.law.randomised_p(total, scored, coin)),
        needed=_needed(scheme, found, scores, looking),
        each=_each(scheme, found, keep_N, inputs) if looking.each else None,
        decoys=check_decoys(scheme, distinct, looking.decoys) if looking.decoys else None,
    )


def _rows_of(
    scheme: Scheme, texts: TokenTexts, shown: TokenTexts | None
) -> tuple[TextRows, NDArray[np.bool_]]:
    """Return the rows of texts, and which of them are scored."""
    if not texts.tokens:
        raise PotstillError("there is no text to look for marks in; give texts that have some")
    rows = texts.rows(scheme.window)
    if not rows.inside_N.any():
        raise PotstillError(
            f"no text is longer than the scheme's window of {many(scheme.window, 'token')}, so "
            "that none can show a mark; give longer texts"
        )
    if shown is None:
        return rows, rows.inside_N
    return rows, rows.inside_N & ~occurs(rows, shown.windows(scheme.window))


def distinct_scores(scheme: Scheme, texts: TokenTexts) -> NDArray[np.float64]:
    """Return the score of each distinct input of the texts: what a detection sums up.

    Raises `PotstillError` for no text, or none longer than a window.
    """
    rows, keep_N = _rows_of(scheme, texts, None)
    return scheme.scores(distinct_rows(scheme.inputs(rows.windows_KN, rows.tokens_N), keep_N))


def occurs(rows: TextRows, shown: tuple[NDArray[Any], ...]) -> NDArray[np.bool_]:
    """Tell for each row whether its window is one of those shown."""
    pairs = zip(shown, rows.windows_KN, strict=True)
    group_M, first_G = groups_of([np.concatenate(pair) for pair in pairs])
    known_G = np.zeros(len(first_G), bool)
    known_G[group_M[: len(shown[0])]] = True
    return known_G[group_M[len(shown[0]) :]]


def _needed(
    scheme: Scheme, texts: TokenTexts, scores: NDArray[np.float64], looking: Looking
) -> TextNeeded:
    def tokens(mean: float, spread: float) -> int | None:
        count = scores_needed(scheme.law, mean, spread, looking.p_wanted)
        return None if count is None else -(-count * texts.tokens // len(scores))

    if not len(scores):
        return TextNeeded(looking.p_wanted, looking.entropy, None, None)
    mean = float(scores.mean())
    spread = math.sqrt(max(0.0, float(scores @ scores) / len(scores) - mean**2))
    sign = float(scheme.law.p(float(scores.sum()), len(scores))) <= _SIGN
    return TextNeeded(
        p=looking.p_wanted,
        entropy=looking.entropy,
        observed=tokens(mean, spread) if sign else None,
        expected=tokens(scheme.expected(looking.entropy), scheme.law.spread),
    )


def _each(
    scheme: Scheme, texts: TokenTexts, keep_N: NDArray[np.bool_], inputs: Sequence[NDArray[Any]]
) -> tuple[FoundInText, ...]:
    """Return every text's own p-value; inputs that repeat within a text are scored once in it."""
    text_N = texts.text_of_rows(scheme.window)[keep_N]
    kept = tuple(column[keep_N] for column in inputs)
    _, first_G = groups_of((text_N, *kept))
    scores_G = scheme.scores(tuple(column[first_G] for column in kept))
    text_G = text_N[first_G]
    n_D = np.bincount(text_G, minlength=texts.texts)
    total_D = np.bincount(text_G, weights=scores_G, minlength=texts.texts)
    p_D = scheme.law.p(total_D, n_D)
    adjusted = holm(p_D.tolist())
    rows = zip(n_D.tolist(), total_D.tolist(), p_D.tolist(), adjusted, strict=True)
    return tuple(FoundInText(*row) for row in rows)
