"""What the power benchmark measures of marked text, on a nano model and by hand."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import nano_models
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_keys import key_of

from potstill.models.generate import Request, completions
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling, surviving
from potstill.models.score import response_hidden
from potstill.watermark.detect import detect
from potstill.watermark.marking import marked_windows, marking
from potstill.watermark.schemes import GreenList, Gumbel

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from marked_text import (
    curve_of,
    first_tokens,
    more_of_mark,
    tokens_for,
    write,
)
from watermark_students import first_choices

KEYS = [key_of("one"), key_of("two")]


@pytest.fixture(scope="module")
def teacher(nano_model: Callable[[str], Path]) -> LoadedModel:
    return load(str(nano_model("llama")), device="cpu", precision="fp32")


def prompts(teacher: LoadedModel, count: int) -> list[list[tuple[int, ...]]]:
    ids = nano_models.chat_ids(teacher.tokenizer, "Write a story about a fox.", "")[:-1]
    return [[tuple(ids)] * count] * 2


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=24), Sampling(top_p=0.9, max_tokens=24)])
@pytest.mark.parametrize("mark", ["green", "gumbel", None])
def test_texts_are_those_of_the_decoder_and_cost_what_they_are_read_at(
    teacher: LoadedModel, sampling: Sampling, mark: str | None
) -> None:
    """Two keys at once write what each writes alone; figures are those of reading the text."""
    schemes = [
        None if mark is None else GreenList(k, 2, 0.5, 2.0) if mark == "green" else Gumbel(k, 2)
        for k in KEYS
    ]
    asked = prompts(teacher, 5)
    texts = write(teacher, asked, sampling, schemes)
    for r, (scheme, own) in enumerate(zip(schemes, texts, strict=True)):
        requests = [Request(f"{r}/{i}", ids) for i, ids in enumerate(asked[r])]
        alone = completions(
            teacher, requests, sampling, **({} if scheme is None else {"choose": marking(scheme)})
        )
        assert [text.ids for text in own] == [found.token_ids for found in alone]
    # Every fourth text is asked how far its mark moved it.
    text = max(texts[1][0], texts[1][4], key=lambda text: len(text.ids))
    assert len(text.ids) > 8
    (hidden_RD,) = response_hidden(teacher, [(asked[1][0], text.ids)])
    logits_RV = head_of(teacher).logits(hidden_RD).detach().double()
    at_R = torch.arange(len(text.ids)), torch.tensor(text.ids)
    assert text.figures.nll == pytest.approx(
        -float(logits_RV.log_softmax(-1)[at_R].sum()), rel=1e-4
    )
    weight_RV = surviving(logits_RV, sampling)
    p_RV = weight_RV / weight_RV.sum(-1, keepdim=True)
    assert text.figures.nll_drawn == pytest.approx(-float(p_RV.log()[at_R].sum()), rel=1e-4)
    entropy = float(torch.special.entr(p_RV).sum())
    assert text.figures.entropy == pytest.approx(entropy, rel=1e-4)
    if mark == "green":
        scheme = schemes[1]
        assert isinstance(scheme, GreenList)
        windows = marked_windows(scheme, text.ids)
        rows = [n for n, window in enumerate(windows) if window is not None]
        more = more_of_mark(scheme, weight_RV[rows], [w for w in windows if w is not None])
        assert text.figures.more == pytest.approx(float(more.sum()), rel=1e-3, abs=1e-4)
    else:
        assert text.figures.more is None


def test_what_a_mark_adds_to_the_likelihood_is_summed_over_the_vocabulary() -> None:
    scheme, window = GreenList(KEYS[0], 1, 0.25, 1.5), (3,)
    p = np.array([0.5, 0.3, 0.2])
    tokens = np.arange(3)
    green = scheme.green(scheme.inputs([np.full(3, window[0])], tokens))
    q = p * np.exp(1.5 * green) / (p * np.exp(1.5 * green)).sum()
    found = more_of_mark(scheme, torch.tensor(7 * p[None]), [window])
    assert found[0] == pytest.approx(-((q - p) * np.log(p)).sum())


def test_curves_are_those_of_detection_on_the_first_tokens(teacher: LoadedModel) -> None:
    schemes = [Gumbel(key, 2) for key in KEYS]
    written = write(teacher, prompts(teacher, 8), Sampling(max_tokens=40), schemes)
    texts = [[text.ids for text in own] for own in written]
    curve = curve_of(schemes, texts, (30, 60, 10**6))
    assert curve.tokens == (30, 60)
    for r, scheme in enumerate(schemes):
        for j, size in enumerate(curve.tokens):
            found = detect(scheme, first_tokens(texts[r], size))
            assert found.tokens == size
            assert found.scored == curve.scored[r, j]
            assert found.log10_p == pytest.approx(curve.log10_p[r, j])


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), max_size=6), st.integers(0, 30))
def test_first_tokens_are_the_beginning_of_all(texts: list[list[int]], size: int) -> None:
    whole = [token for text in texts for token in text]
    found = first_tokens(texts, size)
    assert [token for text in found for token in text] == whole[:size]
    assert all(list(a) == b[: len(a)] for a, b in zip(found, texts, strict=False))


def test_a_curve_is_straight_between_sizes() -> None:
    assert tokens_for([100, 200], [-2.0, -10.0], -6.0) == pytest.approx(150)
    assert tokens_for([100, 200], [-12.0, -20.0], -6.0) == pytest.approx(50)
    assert tokens_for([100, 200, 400], [-2.0, -1.0, -6.0], -6.0) == pytest.approx(400)
    assert tokens_for([100, 200], [-2.0, -5.9], -6.0) is None
    assert tokens_for([], [], -6.0) is None


def test_a_window_is_scored_where_it_is_new() -> None:
    texts = [[1, 2, 1, 3], [2, 1, 4]]
    choices = [[10, 11, 12, 13], [20, 21, 22]]
    # The last token of a text has no choice behind it, but has occurred.
    assert first_choices(1, texts, choices) == ([(1,), (2,)], [11, 12])
    windows, tokens = first_choices(2, texts, choices)
    assert (windows, tokens) == ([(1, 2), (2, 1)], [12, 13])
