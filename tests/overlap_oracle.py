"""Overlap as sets of tuples say it, one text after another: slow, large, and easy to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from potstill.exchanges import overlap as under_test
from potstill.exchanges.overlap import OverlapReport
from potstill.text.shingles import Shingle, jaccard, shingles_of
from potstill.text.words import words_of

Shingles = Sequence[frozenset[Shingle]]


def plain_overlap(
    train_texts: Sequence[str],
    held_out_texts: Sequence[str],
    *,
    threshold: float = under_test.THRESHOLD,
) -> OverlapReport:
    """Return what `overlap` has to."""
    train, held_out = ([words_of(t) for t in texts] for texts in (train_texts, held_out_texts))
    exact = {i for i, words in enumerate(train) if words in held_out}
    near = _near([shingles_of(w) for w in train], [shingles_of(w) for w in held_out], threshold)
    return OverlapReport(
        held_out=len(held_out),
        train=len(train),
        exact=len(exact),
        near=len(near - exact),
        threshold=threshold,
        train_indices=tuple(sorted(exact | near)),
    )


def _near(train: Shingles, held_out: Shingles, threshold: float) -> set[int]:
    counts = Counter(shingle for shingles in (*train, *held_out) for shingle in shingles)
    share = under_test.TEMPLATE_SHARE * (len(train) + len(held_out))
    least = max(under_test.TEMPLATE_COUNT, share)
    typical = {shingle for shingle, count in counts.items() if count > least}
    found = set()
    for i, one in enumerate(train):
        for other in held_out:
            own, others = one - typical, other - typical
            pairs = [(own, others)] if own and others else [(one, other)]
            found |= {i for pair in pairs if jaccard(*pair) >= threshold}
    return found
