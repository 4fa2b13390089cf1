"""Do two sets of prompts share any, exactly or nearly?

Near-duplicates are found by the Jaccard similarity of word shingles (Broder 1997, "On the
resemblance and containment of documents"), here of three words, after case, accents' encoding,
punctuation and spacing are put aside. Shingles that a large share of all texts has in common
come from a template, not from the prompt: they are left out, since otherwise every pair of
prompts under a long template would count as near.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from potstill.exchanges.exchange import Message

Shingle = tuple[str, ...]

SHINGLE_WORDS = 3
THRESHOLD = 0.6
# A shingle is a template's when this share of all texts has it, and at least this many do.
TEMPLATE_SHARE = 0.05
TEMPLATE_COUNT = 20

METHOD = (
    f"Jaccard similarity of {SHINGLE_WORDS}-word shingles, case and punctuation ignored, "
    f"shingles found in over {TEMPLATE_SHARE:.0%} of all prompts left out"
)

# Scripts written without spaces: every character is a word.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")


@dataclass(frozen=True)
class OverlapReport:
    """What two sets of prompts share.

    `exact` counts training texts whose words equal those of a held-out text, `near` those that
    are only similar (Jaccard at least `threshold`); `train_indices` are their positions.
    `dropped_from_training` is how many were taken out before training.
    """

    held_out: int
    train: int
    exact: int
    near: int
    dropped_from_training: int = 0
    method: str = METHOD
    threshold: float = THRESHOLD
    train_indices: tuple[int, ...] = ()

    def record(self) -> dict[str, Any]:
        """Return the section `overlap` of evaluation.json (without positions)."""
        fields = asdict(self)
        del fields["train_indices"]
        return fields


def prompt_text(messages: Iterable[Message]) -> str:
    """Return what tells one prompt from another: everything but system messages."""
    return "\n".join(m["content"] for m in messages if m["role"] != "system")


def words_of(text: str) -> tuple[str, ...]:
    """Return the words of a text, lower case, without punctuation."""
    normal = unicodedata.normalize("NFKC", text).casefold()
    return tuple(_WORD.findall(normal)) or (normal.strip(),)


def shingles_of(words: Sequence[str], size: int = SHINGLE_WORDS) -> frozenset[Shingle]:
    """Return the runs of `size` words; a shorter text is one shingle."""
    if len(words) <= size:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def jaccard(one: frozenset[Shingle], other: frozenset[Shingle]) -> float:
    """Return shared shingles over all shingles, in [0, 1]."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def overlap(
    train_texts: Sequence[str], held_out_texts: Sequence[str], *, threshold: float = THRESHOLD
) -> OverlapReport:
    """Return which training texts equal or nearly equal a held-out text.

    Time grows with the number of pairs that share an untypical shingle, not with all pairs:
    10,000 against 1,000 texts take about a second.
    """
    train = [words_of(text) for text in train_texts]
    held_out = [words_of(text) for text in held_out_texts]
    known = set(held_out)
    exact = {i for i, words in enumerate(train) if words in known}
    near = _near([shingles_of(w) for w in train], [shingles_of(w) for w in held_out], threshold)
    near -= exact
    return OverlapReport(
        held_out=len(held_out),
        train=len(train),
        exact=len(exact),
        near=len(near),
        threshold=threshold,
        train_indices=tuple(sorted(exact | near)),
    )


def _near(
    train: Sequence[frozenset[Shingle]], held_out: Sequence[frozenset[Shingle]], threshold: float
) -> set[int]:
    """Return positions of training texts that are similar to any held-out text."""
    typical = _typical(train, held_out)
    own_train = [s - typical for s in train]
    own_held_out = [s - typical for s in held_out]
    index = _index(own_held_out)
    found = {i for i, own in enumerate(own_train) if _best(own, own_held_out, index) >= threshold}
    # A text made of typical shingles alone (one of many variants) is compared as it stands.
    plain_train = [i for i, own in enumerate(own_train) if not own]
    plain_held_out = [s for s, own in zip(held_out, own_held_out, strict=True) if not own]
    if plain_train:
        whole = _index(held_out)
        found |= {i for i in plain_train if _best(train[i], held_out, whole) >= threshold}
    if plain_held_out:
        some = _index(plain_held_out)
        found |= {i for i, s in enumerate(train) if _best(s, plain_held_out, some) >= threshold}
    return found


def _typical(
    train: Sequence[frozenset[Shingle]], held_out: Sequence[frozenset[Shingle]]
) -> frozenset[Shingle]:
    counts = Counter(shingle for shingles in (*train, *held_out) for shingle in shingles)
    least = max(TEMPLATE_COUNT, TEMPLATE_SHARE * (len(train) + len(held_out)))
    return frozenset(shingle for shingle, count in counts.items() if count > least)


def _index(texts: Sequence[frozenset[Shingle]]) -> dict[Shingle, list[int]]:
    index: dict[Shingle, list[int]] = defaultdict(list)
    for position, shingles in enumerate(texts):
        for shingle in shingles:
            index[shingle].append(position)
    return index


def _best(
    shingles: frozenset[Shingle],
    texts: Sequence[frozenset[Shingle]],
    index: dict[Shingle, list[int]],
) -> float:
    """Return the largest similarity of a text to any of `texts`."""
    shared = Counter(position for s in shingles for position in index.get(s, ()))
    return max(
        (count / (len(shingles) + len(texts[at]) - count) for at, count in shared.items()),
        default=0.0,
    )
