"""Marking: exactly the distribution it says, on what survives, and where it says."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from made_keys import key_of
from scipy import stats

from potstill.models.counter import uniforms
from potstill.models.generate import Request, completions
from potstill.models.load import load
from potstill.models.sampling import Candidates, Sampling, drawn, surviving
from potstill.watermark import marking as module
from potstill.watermark.detect import detect
from potstill.watermark.marking import (
    MarkedLogits,
    Windows,
    doubts,
    marked_windows,
    marking,
)
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.survivors import OwnScheme, tilted

KEY = key_of("marking")
GREEN, GUMBEL = GreenList(KEY, 2, 0.5, 2.0), Gumbel(KEY, 2)


def candidates(
    logits_SV: torch.Tensor,
    responses: Sequence[Sequence[int]],
    sampling: Sampling | None = None,
    name: str = "row",
) -> Candidates:
    keys = [f"{name}-{s}" for s in range(len(responses))]
    numbers = [float(uniforms(k, len(r) + 1)[-1]) for k, r in zip(keys, responses, strict=True)]
    prompts = [[7, 8, 9]] * len(responses)
    return Candidates(logits_SV, sampling or Sampling(), keys, numbers, prompts, responses)


def fits(token_S: torch.Tensor, weight_V: np.ndarray) -> float:
    """Return the chance of draws lying so far from a distribution."""
    expected = weight_V / weight_V.sum() * len(token_S)
    seen = np.bincount(token_S.numpy(), minlength=len(weight_V))
    assert (seen[expected == 0] == 0).all()
    often = expected >= 5
    rest = expected[~often].sum()
    parts = [(seen[often], expected[often])] + (
        [([seen[~often].sum()], [rest])] if rest >= 5 else []
    )
    counts = np.concatenate([p[0] for p in parts])
    wanted = np.concatenate([p[1] for p in parts])
    if len(counts) == 1:
        return 1.0
    return float(stats.chisquare(counts, wanted * counts.sum() / wanted.sum()).pvalue)


def by_hand(scheme: GreenList, logits_V: torch.Tensor, sampling: Sampling, window: Sequence[int]):
    """Weights of marked text, one token at a time."""
    weight_V = surviving(logits_V[None], sampling)[0].double().numpy()
    for token in range(len(weight_V)):
        column = [np.array([i]) for i in (*window, token)]
        if scheme.green(scheme.inputs(column[:-1], column[-1]))[0]:
            weight_V[token] *= math.exp(scheme.delta)
    return weight_V


@pytest.mark.parametrize("delta", [0.5, 2.0, 6.0, 12.0])
@pytest.mark.parametrize("sampling", [Sampling(), Sampling(temperature=0.7, top_p=0.8, top_k=9)])
def test_green_text_is_drawn_from_the_tilted_distribution(delta: float, sampling: Sampling) -> None:
    """Up to a delta at which hardly a red token is ever accepted."""
    scheme = GreenList(KEY, 2, 0.25, delta)
    logits_V = torch.randn(30, generator=torch.Generator().manual_seed(2)) * 2
    rows = 8_000
    token_S = marking(scheme)(
        candidates(logits_V.expand(rows, -1), [[3, 4]] * rows, sampling, f"d{delta}")
    )
    assert fits(token_S, by_hand(scheme, logits_V, sampling, (3, 4))) > 1e-3


def test_where_one_red_token_survives_it_is_written() -> None:
    scheme = GreenList(KEY, 1, 0.1, 30.0)
    logits_SV = torch.full((20, 20), -50.0)
    logits_SV.fill_diagonal_(50.0)
    token_S = marking(scheme)(candidates(logits_SV, [[1]] * 20, Sampling(top_k=1)))
    assert token_S.tolist() == list(range(20))


def test_gumbel_text_is_the_token_with_the_largest_power() -> None:
    generator = torch.Generator().manual_seed(3)
    sampling = Sampling(temperature=0.9, top_p=0.9, top_k=25)
    logits_SV = torch.randn(40, 30, generator=generator) * 2
    responses = [[s % 5, s // 5] for s in range(40)]
    token_S = marking(GUMBEL)(candidates(logits_SV, responses, sampling))
    for s, response in enumerate(responses):
        p = surviving(logits_SV[s][None], sampling)[0].double().numpy()
        p /= p.sum()
        columns = [np.array([i] * 30) for i in response]
        u = GUMBEL.uniforms(GUMBEL.inputs(columns, np.arange(30)))
        power = [u[v] ** (1 / p[v]) if p[v] > 0 else -1.0 for v in range(30)]
        assert int(token_S[s]) == int(np.argmax(power))


def test_over_keys_gumbel_text_is_the_models_own() -> None:
    logits_1V = torch.randn(1, 12, generator=torch.Generator().manual_seed(4)) * 1.5
    drawn_by = [marking(GUMBEL.decoy(i))(candidates(logits_1V, [[1, 2]])) for i in range(4_000)]
    assert fits(torch.cat(drawn_by), torch.softmax(logits_1V[0].double(), -1).numpy()) > 1e-3


@pytest.mark.parametrize("scheme", [GREEN, GUMBEL], ids=["green", "gumbel"])
def test_first_tokens_and_repeated_windows_are_drawn_without_a_mark(scheme: OwnScheme) -> None:
    logits_SV = torch.randn(200, 50, generator=torch.Generator().manual_seed(5))
    for response in ([], [4], [1, 2, 5, 1, 2], [6, 6, 6, 6]):
        given_ = candidates(logits_SV, [response] * 200)
        assert marking(scheme)(given_).tolist() == drawn(given_).tolist()
    for response in ([1, 2], [1, 2, 1], [6, 6]):
        given_ = candidates(logits_SV, [response] * 200)
        assert marking(scheme)(given_).tolist() != drawn(given_).tolist()


@pytest.mark.parametrize("scheme", [GREEN, GUMBEL], ids=["green", "gumbel"])
def test_at_temperature_0_the_likeliest_token_is_written(scheme: OwnScheme) -> None:
    logits_SV = torch.randn(30, 50, generator=torch.Generator().manual_seed(6))
    found = marking(scheme)(candidates(logits_SV, [[1, 2]] * 30, Sampling(temperature=0)))
    assert found.tolist() == logits_SV.argmax(-1).tolist()


@pytest.mark.parametrize("scheme", [GreenList(KEY, 2, 0.1, 5.0), GUMBEL], ids=["green", "gumbel"])
def test_a_row_does_not_depend_on_its_company(scheme: OwnScheme) -> None:
    logits_SV = torch.randn(60, 500, generator=torch.Generator().manual_seed(7)) * 4
    responses = [[s % 7, s % 3, *range(s % 4)] for s in range(60)]
    together = candidates(logits_SV, responses, Sampling(top_p=0.9))
    choose = marking(scheme)
    found = choose(together).tolist()
    assert choose(together).tolist() == found
    for s in (0, 13, 59):
        alone = Candidates(
            logits_SV[s : s + 1],
            together.sampling,
            together.keys[s : s + 1],
            together.uniforms[s : s + 1],
            together.prompts[s : s + 1],
            responses[s : s + 1],
        )
        assert marking(scheme)(alone).tolist() == [found[s]]


@given(ids=st.lists(st.integers(0, 2), max_size=14), window=st.integers(1, 3))
def test_a_window_is_fresh_until_a_token_has_followed_it(ids: list[int], window: int) -> None:
    remembered = Windows(window)
    for length in [*range(len(ids) + 1), *range(len(ids) + 1)]:
        earlier = [tuple(ids[at - window : at]) for at in range(window, length)]
        last = tuple(ids[length - window : length]) if length >= window else None
        expected = None if last is None or last in earlier else last
        assert remembered.fresh("key", ids[:length]) == expected
        assert Windows(window).fresh("key", ids[:length]) == expected


def test_more_responses_than_are_remembered_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    windows = Windows(1)
    for length in range(1, 6):
        for key in "abcd":
            expected = (length,) if length < 4 else None
            assert (
                windows.fresh(key, [1, 2, 3, 3, 3][:length]) == (expected if length != 4 else None)
                or length == 3
            )


def test_the_bias_of_a_text_is_what_it_was_marked_with() -> None:
    response = [3, 1, 4, 1, 5, 3, 1, 2, 9]
    bias_RV = MarkedLogits(GREEN).bias(response, 40)
    logits_RV = torch.randn(len(response), 40, generator=torch.Generator().manual_seed(8))
    for at in range(len(response)):
        window = Windows(2).fresh("", response[:at])
        weight_1V = surviving(logits_RV[at][None], Sampling())
        expected = weight_1V.double() if window is None else tilted(GREEN, weight_1V, [window])
        found = torch.softmax((logits_RV[at] + bias_RV[at]).double(), -1)
        torch.testing.assert_close(found, (expected / expected.sum())[0], rtol=1e-5, atol=1e-9)
    assert [bool(row.any()) for row in bias_RV] == [False, False, *[True] * 5, False, True]


def test_what_speaks_against_marking_is_said() -> None:
    assert doubts(GREEN, Sampling(), answers=5) == []
    assert doubts(GUMBEL, Sampling()) == []
    assert "temperature 0" in doubts(GREEN, Sampling(temperature=0))[0]
    assert len(doubts(GUMBEL, Sampling(temperature=0), answers=3)) == 2
    assert "3 answers to one prompt" in doubts(GUMBEL, Sampling(), answers=3)[0]


@pytest.mark.parametrize("scheme", [GREEN, GUMBEL], ids=["green", "gumbel"])
def test_what_a_model_wrote_under_a_key_is_found_with_it(
    scheme: OwnScheme, nano_model: Callable[[str], Path]
) -> None:
    model = load(str(nano_model("llama")), precision="fp32")
    requests = [Request(f"q-{i}", (5 + i, 9, 30 + i)) for i in range(12)]
    sampling = Sampling(max_tokens=48)
    texts = {}
    for slots in (4, 12):
        done = completions(model, requests, sampling, slots=slots, choose=marking(scheme))
        texts[slots] = [c.token_ids for c in done]
    plain = [c.token_ids for c in completions(model, requests, sampling, slots=12)]
    assert detect(scheme, texts[4]).p < 1e-10
    assert detect(scheme, plain).p > 1e-4
    assert detect(scheme.decoy(1), texts[4]).p > 1e-4
    same = sum(a == b for a, b in zip(texts[4], texts[12], strict=True))
    assert same >= 10


def test_bits_that_are_kept_are_those_of_the_key() -> None:
    """The same for a text that comes again, in parts, and by the function itself."""
    response, kept = (3, 1, 2, 1, 5, 3, 9), MarkedLogits(GREEN)
    whole_RV = kept.bias(response, 40)
    assert torch.equal(kept.bias(response, 40), whole_RV)
    parts = [kept.bias(response, 40, slice(start, start + 2)) for start in range(0, 7, 2)]
    assert torch.equal(torch.cat(parts), whole_RV)
    for at, window in enumerate(marked_windows(GREEN, response)):
        if window is not None:
            columns = [np.full(40, i) for i in window]
            green = GREEN.green(GREEN.inputs(columns, np.arange(40)))
            assert (whole_RV[at].numpy() > 0).tolist() == green.tolist()
    assert kept.bias(response, 50)[:, :40].equal(whole_RV)
