"""Texts of ids, and which of their tokens have a whole window of their own text before them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.watermark.token_texts import TokenTexts

TEXTS = st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6)


@given(texts=TEXTS, window=st.integers(1, 5))
def test_rows_are_those_of_each_text_alone(texts: list[list[int]], window: int) -> None:
    found = TokenTexts.of(texts)
    rows = found.rows(window)
    columns = [*rows.windows_KN, rows.tokens_N]
    seen = [tuple(int(c[i]) for c in columns) for i in np.flatnonzero(rows.inside_N)]
    expected = [
        (d, tuple(text[t - window : t + 1]))
        for d, text in enumerate(texts)
        for t in range(window, len(text))
    ]
    assert seen == [row for _, row in expected]
    owner = found.text_of_rows(window)[: len(rows.inside_N)]
    assert owner[rows.inside_N].tolist() == [d for d, _ in expected]
    assert (found.texts, found.tokens) == (len(texts), sum(map(len, texts)))


@given(texts=TEXTS, window=st.integers(1, 5))
def test_windows_are_all_runs_inside_a_text(texts: list[list[int]], window: int) -> None:
    found = TokenTexts.of(texts).windows(window)
    expected = [
        tuple(text[t : t + window]) for text in texts for t in range(len(text) - window + 1)
    ]
    assert list(zip(*(c.tolist() for c in found), strict=True)) == expected


def test_the_digest_names_ids_order_and_parting() -> None:
    texts = [[[1, 2], [3]], [[1], [2, 3]], [[1, 2, 3]], [[3], [1, 2]], [[1, 2], [], [3]]]
    assert len({TokenTexts.of(t).digest for t in texts}) == len(texts)
    assert TokenTexts.of([np.array([1, 2]), (3,)]).digest == TokenTexts.of(texts[0]).digest


@pytest.mark.parametrize("text", [[-1], [2**32], [0.5], ["a"], [[1, 2]], [True, False]])
def test_what_is_no_list_of_ids_is_refused(text: list[object]) -> None:
    with pytest.raises(PotstillError, match="list of token ids"):
        TokenTexts.of([text])


def test_ids_of_a_larger_vocabulary_are_refused() -> None:
    texts = TokenTexts.of([[1, 2, 49_152]])
    texts.refuse_strangers(49_153)
    with pytest.raises(PotstillError, match="in the tokenizer that wrote the marks"):
        texts.refuse_strangers(49_152)
