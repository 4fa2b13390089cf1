"""Shingles as numbers find what sets of tuples find, templates and parts of any size included."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from overlap_oracle import plain_overlap
from potstill.collect.prompts import plan_prompts
from potstill.errors import PotstillError
from potstill.exchanges import overlap as overlap_module
from potstill.exchanges import shared_shingles
from potstill.exchanges.overlap import overlap
from potstill.exchanges.shared_shingles import Numbered, shingle_sets
from potstill.recipe import PromptsConfig
from potstill.text.turns import Turns
from potstill.work import shared_prompts as shared_prompts_module

# A few words, so that texts share many; an empty one and one that is no word are texts too.
words = st.sampled_from(["a", "b", "c", "d", "e", "7", "ü", "光", "-", ""])
texts = st.lists(st.lists(words, max_size=9).map(" ".join), max_size=14)
thresholds = st.sampled_from([0.05, 0.2, 0.5, 0.6, 0.9, 1.0])


@settings(max_examples=300, deadline=None)
@given(
    texts,
    texts,
    thresholds,
    st.integers(0, 4),
    st.sampled_from([0.05, 0.4]),
    st.sampled_from([1, 5, 1_000_000]),
    st.sampled_from([0, 30, 2**63 - 1]),
)
def test_equals_sets_of_tuples(
    train: list[str],
    held_out: list[str],
    threshold: float,
    least: int,
    share: float,
    joined: int,
    largest: int,
) -> None:
    """Whatever is a template's, however much is joined at once, with ranks and without."""
    with (
        patch.object(overlap_module, "TEMPLATE_COUNT", least),
        patch.object(overlap_module, "TEMPLATE_SHARE", share),
        patch.object(shared_shingles, "_JOINED", joined),
        patch.object(shared_shingles, "_LARGEST", largest),
    ):
        found = overlap(train, held_out, threshold=threshold)
        assert found == plain_overlap(train, held_out, threshold=threshold)


@settings(max_examples=60, deadline=None)
@given(texts, st.integers(1, 4), st.integers(0, 2), st.integers(0, 3))
def test_the_plan_is_the_same(texts: list[str], held_out: int, least: int, seed: int) -> None:
    config = PromptsConfig(source="x", held_out_count=held_out, validation_count=1)

    def plan() -> Any:
        def read(*_: Any) -> list[Any]:
            return [Turns(({"role": "user", "content": text.strip()},)) for text in texts]

        try:
            return plan_prompts(config, seed=seed, read=read)
        except PotstillError as error:
            return str(error)

    with patch.object(overlap_module, "TEMPLATE_COUNT", least):
        found = plan()
        with patch.object(shared_prompts_module, "overlap", plain_overlap):
            assert found == plan()


def test_many_words_do_not_run_into_one_another() -> None:
    """Numbers of words are multiplied: those of 3,000,000 words cubed are more than 64 bits."""
    words = 3_000_000
    last = words - 1
    word_T = np.array([last, last, 1, 2, last, 1, 2, last, last, 1, 1], dtype=np.int32)
    sets = shingle_sets(Numbered(word_T, np.array([4, 7, 11]), words), 3)
    assert sets.size_N.tolist() == [2, 1, 2]
    assert len(np.unique(sets.shingle_P)) == 3
