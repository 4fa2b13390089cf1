"""Do two sets of prompts share any, exactly or nearly?

Near-duplicates are found by the Jaccard similarity of word shingles (Broder 1997, "On the
resemblance and containment of documents"), here of three words, after case, accents' encoding,
Markdown, punctuation and spacing are put aside; signs, as of a sum, are words (`text.words`).
Shingles that a large share of all texts has in common come from a template, not from the prompt:
they are left out, since otherwise every pair of prompts under a long template would count as near.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import numpy as np

from potstill.exchanges.shared_shingles import ShingleSets, numbered, shingle_sets, similar
from potstill.text.shingles import SHINGLE_WORDS, THRESHOLD
from potstill.text.tool_calls import message_text
from potstill.text.turns import Message
from potstill.text.words import words_of

# A shingle is a template's when this share of all texts has it, and at least this many do.
TEMPLATE_SHARE = 0.05
TEMPLATE_COUNT = 20

METHOD = (
    f"Jaccard similarity of {SHINGLE_WORDS}-word shingles; case, Markdown and punctuation ignored, "
    f"signs kept, shingles found in over {TEMPLATE_SHARE:.0%} of all prompts left out"
)


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
    """Return what tells one prompt from another: everything but system messages and tools."""
    return "\n".join(message_text(m) for m in messages if m["role"] != "system")


def overlap(
    train_texts: Sequence[str], held_out_texts: Sequence[str], *, threshold: float = THRESHOLD
) -> OverlapReport:
    """Return which training texts equal or nearly equal a held-out text.

    Time grows with the number of pairs that share an untypical shingle, not with all pairs.
    """
    texts = numbered(map(words_of, chain(train_texts, held_out_texts)), SHINGLE_WORDS)
    keys = list(texts.keys())
    known = set(keys[len(train_texts) :])
    exact = {i for i, key in enumerate(keys[: len(train_texts)]) if key in known}
    near = _near(shingle_sets(texts, SHINGLE_WORDS), len(train_texts), threshold) - exact
    return OverlapReport(
        held_out=len(held_out_texts),
        train=len(train_texts),
        exact=len(exact),
        near=len(near),
        threshold=threshold,
        train_indices=tuple(sorted(exact | near)),
    )


def _near(sets: ShingleSets, train_count: int, threshold: float) -> set[int]:
    """Return which of the first `train_count` texts are similar to any of those after them."""
    count = len(sets.size_N)
    least = max(TEMPLATE_COUNT, TEMPLATE_SHARE * count)
    typical_S = np.bincount(sets.shingle_P) > least
    trains_N = np.arange(count) < train_count
    own = sets.only(~typical_S[sets.shingle_P])
    found_N = similar(own.of(trains_N), own.of(~trains_N), threshold)
    # A text made of typical shingles alone (one of many variants) is compared as it stands.
    plain_N = own.size_N == 0
    if plain_N.any():
        train, held_out = sets.of(trains_N), sets.of(~trains_N)
        found_N |= similar(train.of(plain_N), held_out, threshold)
        found_N |= similar(train, held_out.of(plain_N), threshold)
    return set(np.flatnonzero(found_N).tolist())
