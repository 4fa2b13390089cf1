"""Targets from hidden states: draws are unbiased and few, likeliest tokens are the likeliest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.forming import formed, systematic_draws
from potstill.exchanges.specs import HIDDEN_INT8, TargetSpec
from potstill.exchanges.targets import Draws, HiddenStates, LikeliestTokens
from potstill.models.head import Head

DIM, TOKENS = 8, 300


def head(**options: object) -> Head:
    generator = torch.Generator().manual_seed(5)
    weight_VD = torch.randn(TOKENS + 12, DIM, generator=generator)
    return Head(weight_VD, tokens=TOKENS, **options)  # type: ignore[arg-type]


def hidden(rows: int) -> Tensor:
    return torch.randn(rows, DIM, generator=torch.Generator().manual_seed(6))


def dense(ids_RU: Tensor, count_RU: Tensor, width: int) -> Tensor:
    return torch.zeros(len(ids_RU), width).scatter_add_(1, ids_RU, count_RU.float())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(1, 200), st.integers(0, 2**32 - 1))
def test_systematic_counts_are_never_further_than_one_from_their_expectation(
    draws: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.exponential(size=(3, width)) ** rng.uniform(0.5, 4)
    p_RV = torch.from_numpy(weights / weights.sum(1, keepdims=True))
    ids_RU, count_RU = systematic_draws(p_RV, torch.from_numpy(rng.random(3)), draws)
    count_RV = dense(ids_RU, count_RU, width)
    assert count_RV.sum(1).tolist() == [draws] * 3
    assert bool(((count_RV - draws * p_RV).abs() < 1 + 1e-6).all())
    used_RU = count_RU > 0
    for ids_U, used_U in zip(ids_RU, used_RU, strict=True):
        chosen = ids_U[used_U].tolist()
        assert chosen == sorted(set(chosen))
        assert not used_U[len(chosen) :].any()


def test_draws_are_unbiased() -> None:
    """Over many starts, the mean of each token's share is its probability."""
    p_V = torch.tensor([0.5, 0.3, 0.15, 0.04, 0.0099, 0.0001, 0.0])
    starts = (torch.arange(40_000) + 0.5) / 40_000
    ids_RU, count_RU = systematic_draws(p_V.expand(len(starts), -1), starts, 7)
    share_V = dense(ids_RU, count_RU, len(p_V)).mean(0) / 7
    assert torch.allclose(share_V, p_V, atol=2e-5)


def test_draws_vary_less_than_independent_ones() -> None:
    generator = torch.Generator().manual_seed(0)
    p_V = torch.randn(200, generator=generator).mul(2).softmax(-1)
    rows_RV = p_V.expand(3000, -1)
    start_R = torch.rand(3000, generator=generator)
    ids_RU, count_RU = systematic_draws(rows_RV, start_R, 32)
    error = (dense(ids_RU, count_RU, 200) / 32 - p_V).square().sum(1).mean()
    picks_RK = torch.multinomial(rows_RV, 32, replacement=True, generator=generator)
    plain = (dense(picks_RK, torch.ones_like(picks_RK), 200) / 32 - p_V).square().sum(1).mean()
    assert error < 0.6 * plain


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_formed_draws_follow_the_tempered_distribution_and_leave_padding_alone(
    temperature: float,
) -> None:
    spec = TargetSpec("sampled", 5000, temperature)
    got = formed("an exchange", "s", hidden(20), head(), spec).values
    assert isinstance(got, Draws)
    assert got.width == TOKENS
    assert int(got.ids_RU.max()) < TOKENS
    p_RV = (head().logits(hidden(20))[:, :TOKENS] / temperature).softmax(-1)
    share_RV = dense(got.ids_RU, got.count_RU, TOKENS) / 5000
    assert bool(((share_RV - p_RV).abs() < 1 / 5000 + 1e-6).all())
    assert torch.allclose(got.entropy_R, torch.special.entr(p_RV).sum(-1), atol=1e-4)


def test_draws_depend_on_the_exchange_and_on_no_batch() -> None:
    spec = TargetSpec("sampled", 16)
    one, again = (formed("a", "s", hidden(40), head(), spec).values for _ in range(2))
    first = formed("a", "s", hidden(40)[:3], head(), spec).values
    other = formed("b", "s", hidden(40), head(), spec).values
    assert isinstance(one, Draws) and isinstance(again, Draws)
    assert isinstance(first, Draws) and isinstance(other, Draws)
    assert torch.equal(one.ids_RU, again.ids_RU) and torch.equal(one.count_RU, again.count_RU)
    width = first.ids_RU.shape[1]
    assert torch.equal(one.count_RU[:3, :width], first.count_RU)
    assert not torch.equal(
        dense(one.ids_RU, one.count_RU, TOKENS), dense(other.ids_RU, other.count_RU, TOKENS)
    )


def test_formed_likeliest_tokens_are_the_likeliest() -> None:
    got = formed("a", "s", hidden(20), head(softcap=4.0), TargetSpec("top-k", 9)).values
    assert isinstance(got, LikeliestTokens)
    logp_RV = head(softcap=4.0).logits(hidden(20))[:, :TOKENS].log_softmax(-1)
    best = logp_RV.topk(9, dim=-1)
    assert torch.equal(got.ids_RK, best.indices.sort(-1).values)
    assert torch.allclose(got.logp_RK.sort(-1, descending=True).values, best.values, atol=1e-5)
    rest_R = logp_RV.scatter(1, best.indices, float("-inf")).logsumexp(-1)
    assert torch.allclose(got.rest_R, rest_R, atol=1e-5)


@pytest.mark.parametrize("scale", [3.0, 10.0, 40.0])
def test_the_rest_of_a_sure_teacher_is_added_up_from_the_rest(scale: float) -> None:
    sure = head(scale=scale)
    got = formed("a", "s", hidden(20), sure, TargetSpec("top-k", 5)).values
    assert isinstance(got, LikeliestTokens)
    exact_RV = sure.logits(hidden(20))[:, :TOKENS].double().log_softmax(-1)
    rest_R = exact_RV.scatter(1, got.ids_RK, float("-inf")).logsumexp(-1)
    assert float(rest_R.exp().min()) < 1e-4
    torch.testing.assert_close(got.rest_R.double(), rest_R, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        got.logp_RK.double(), exact_RV.gather(1, got.ids_RK), rtol=1e-5, atol=1e-5
    )


def test_where_all_tokens_are_the_likeliest_there_is_no_rest() -> None:
    got = formed("a", "s", hidden(3), head(), TargetSpec("top-k", TOKENS)).values
    assert isinstance(got, LikeliestTokens)
    assert got.rest_R.tolist() == [float("-inf")] * 3


@pytest.mark.parametrize("spec", [TargetSpec("sampled", 4), TargetSpec("top-k", 4), HIDDEN_INT8])
def test_an_empty_response_has_empty_targets(spec: TargetSpec) -> None:
    assert len(formed("a", "s", hidden(0), head(), spec).values) == 0


def test_more_tokens_than_there_are_is_refused() -> None:
    with pytest.raises(PotstillError, match=r"top_k_targets is 301, but the teacher has 300"):
        formed("a", "s", hidden(2), head(), TargetSpec("top-k", 301))


def test_hidden_states_are_the_whole_of_it() -> None:
    got = formed("a", "s", hidden(3), head(), HIDDEN_INT8).values
    assert isinstance(got, HiddenStates)
    assert torch.equal(got.hidden_RD, hidden(3))


def test_a_bias_gives_draws_of_the_marked_distribution() -> None:
    """Each token's count is within one of its expectation under logits plus the bias."""
    bias_RV = torch.randint(0, 2, (9, TOKENS), generator=torch.Generator().manual_seed(1)) * 2.0
    spec = TargetSpec("sampled", 400, 2.0)
    values = formed("a", "t", hidden(9), head(), spec, lambda rows, _: bias_RV[rows]).values
    assert isinstance(values, Draws)
    logits_RV = head().logits(hidden(9))[:, :TOKENS] + bias_RV
    p_RV = torch.softmax(logits_RV / 2, dim=-1)
    count_RV = dense(values.ids_RU, values.count_RU, TOKENS)
    assert bool(((count_RV - 400 * p_RV).abs() < 1.001).all())
    plain = formed("a", "t", hidden(9), head(), spec).values
    assert isinstance(plain, Draws) and not torch.equal(plain.entropy_R, values.entropy_R)


def test_hidden_states_show_no_bias() -> None:
    with pytest.raises(ValueError, match="the scorer's own"):
        formed("a", "t", hidden(2), head(), HIDDEN_INT8, lambda rows, width: torch.zeros(2, width))
