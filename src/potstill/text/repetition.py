"""Text that repeats itself: shares of repeated word n-grams, and a tail that loops.

The shares and their limits are those of Rae et al. 2021, "Scaling Language Models: Methods,
Analysis & Insights from Training Gopher" (arXiv 2112.11446), table A1. They were made for web
pages of at least 50 words, so shorter answers are only looked at for a loop.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from potstill.text.words import is_word, words_of

# n-gram length: largest share of characters in the most frequent n-gram.
TOP_SHARES = {2: 0.20, 3: 0.18, 4: 0.16}
# n-gram length: largest share of characters in n-grams that stood before.
REPEATED_SHARES = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
LEAST_WORDS = 50

_LONGEST_PERIOD = 64
_LEAST_ROUNDS = 4
_LEAST_LOOPED_WORDS = 12
_LEAST_LOOPED_CHARACTERS = 100
_LEAST_CHARACTER_ROUNDS = 10


def repetition(text: str) -> str | None:
    """Return in words how a text repeats itself, or None where it does not."""
    # Signs repeat in any sum or table.
    words = tuple(filter(is_word, words_of(text)))
    if loops(words) or _loops_within_words(text.rstrip()):
        return "ends in a loop"
    if len(words) < LEAST_WORDS:
        return None
    for size, limit in TOP_SHARES.items():
        if top_share(words, size) > limit:
            return f"one {size}-gram too often"
    for size, limit in REPEATED_SHARES.items():
        if repeated_share(words, size) > limit:
            return f"repeated {size}-grams"
    return None


def top_share(words: Sequence[str], size: int) -> float:
    """Return the share of characters in the most frequent n-gram; 0 where none comes twice."""
    counts = Counter(_grams(words, size))
    most = max(counts.values(), default=0)
    if most < 2:
        return 0.0
    longest = max(_characters(gram) for gram, count in counts.items() if count == most)
    # Occurrences may overlap ("no no no"), and then would count characters twice.
    return min(1.0, most * longest / _characters(words))


def repeated_share(words: Sequence[str], size: int) -> float:
    """Return the share of characters in n-grams that stood in the text before, each once."""
    seen: set[tuple[str, ...]] = set()
    covered_to = covered = 0
    for start, gram in enumerate(_grams(words, size)):
        if gram in seen:
            covered += _characters(words[max(start, covered_to) : start + size])
            covered_to = start + size
        seen.add(gram)
    return covered / max(1, _characters(words))


def loops(words: Sequence[str]) -> bool:
    """Tell whether the last words are one run of words again and again.

    That is at least 4 rounds and 12 words; the last round may be cut off.
    """
    for period in range(1, min(_LONGEST_PERIOD, len(words) // _LEAST_ROUNDS) + 1):
        looped = _periodic_tail(words, period)
        if looped >= max(_LEAST_LOOPED_WORDS, period * _LEAST_ROUNDS):
            return True
    return False


def _loops_within_words(text: str) -> bool:
    """Tell whether the text ends in a long run of few characters, as in "hahahaha..."."""
    for period in range(1, _LONGEST_PERIOD // 4 + 1):
        looped = _periodic_tail(text, period)
        if looped >= max(_LEAST_LOOPED_CHARACTERS, period * _LEAST_CHARACTER_ROUNDS):
            return True
    return False


def _periodic_tail(items: Sequence[str], period: int) -> int:
    """Return how many of the last items repeat with the period; none beyond one round is 0."""
    at = len(items) - 1
    while at >= period and items[at] == items[at - period]:
        at -= 1
    repeated = len(items) - 1 - at
    return repeated + period if repeated else 0


def _grams(words: Sequence[str], size: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + size]) for i in range(len(words) - size + 1)]


def _characters(words: Sequence[str]) -> int:
    return sum(map(len, words))
