"""Top-k targets: what the coarse distributions give is finite, and no more than the whole ones do.

The oracle (float64, probability space) knows the teacher's whole distribution; the loss knows the
k likeliest tokens and the rest's mass, in fp32.
"""

from __future__ import annotations

import math

import loss_oracle as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import TopKTargets
from potstill.models.head import Head

KINDS = [
    "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation",
]  # fmt: skip
specs = st.builds(
    Divergence,
    st.sampled_from(KINDS),
    beta=st.sampled_from([0.001, 0.5, 0.9, 0.999]),
    alpha=st.sampled_from([0.001, 0.1, 0.5, 0.9]),
)


def top_k(p_NV: Tensor, count: int) -> TopKTargets:
    """Return what a teacher with these probabilities (float64) gives."""
    ids_NK = p_NV.topk(count, dim=-1).indices
    others_NV = p_NV.scatter(1, ids_NK, 0.0)
    logp_NK = p_NV.gather(1, ids_NK).log().float()
    return TopKTargets(ids_NK, logp_NK, others_NV.sum(-1).log().float())


def loss_and_slope(
    targets: TopKTargets, logits_NV: Tensor, divergence: Divergence, *, label: int = 0
) -> tuple[float, Tensor]:
    """Return the loss at these student logits, summed over rows, and its gradient there."""
    rows, tokens = logits_NV.shape
    hidden_ND = logits_NV.float().clone().requires_grad_()
    loss, _ = distillation_loss(
        hidden_ND,
        Head(torch.eye(tokens)),
        targets,
        torch.full((rows,), label, dtype=torch.long),
        normaliser=1.0,
        divergence=divergence,
    )
    loss.backward()
    assert hidden_ND.grad is not None
    return float(loss.detach()), hidden_ND.grad.double()


def expected(
    p_NV: Tensor, ids_NK: Tensor, logits_NV: Tensor, divergence: Divergence
) -> tuple[float, float, Tensor]:
    """Return the coarse divergence, the whole one, and the coarse one's gradient."""
    exact_NV = logits_NV.float().double().requires_grad_()
    q_NV = exact_NV.softmax(-1)
    coarse, whole = torch.zeros(()).double(), 0.0
    for p_V, q_V, ids_K in zip(p_NV, q_NV, ids_NK.tolist(), strict=True):
        coarse = coarse + oracle.divergence(
            divergence, oracle.coarse(p_V, ids_K), oracle.coarse(q_V, ids_K)
        )
        whole += float(oracle.divergence(divergence, p_V, q_V).detach())
    coarse.backward()
    assert exact_NV.grad is not None
    return float(coarse.detach()), whole, exact_NV.grad


def teacher_rows(rest: float, tokens: int, count: int, rows: int) -> Tensor:
    """Return rows whose likeliest tokens leave this much to all others (none where k is V)."""
    head = torch.rand(rows, count).double() + 0.1
    tail = torch.rand(rows, tokens - count).double() + 0.01
    p_NV = head / head.sum(-1, keepdim=True)
    if tokens > count:
        tail = tail / tail.sum(-1, keepdim=True) * rest
        p_NV = torch.cat([p_NV * (1 - rest), tail], dim=-1)
    return p_NV.gather(1, torch.rand(rows, tokens).argsort(-1))


@settings(max_examples=200, deadline=None)
@given(
    specs,
    st.sampled_from([0.04, 1e-4, 1e-7, 1e-12, 1e-30]),
    st.integers(1, 6),
    st.integers(0, 12),
    st.sampled_from([0.1, 1.0, 4.0]),
    st.integers(0, 2**31),
)
def test_value_and_slope_are_the_coarse_ones_and_no_more_than_the_whole(
    divergence: Divergence, rest: float, count: int, more: int, spread: float, seed: int
) -> None:
    torch.manual_seed(seed)
    # A rest that no single token of may be likelier than those kept.
    p_NV = teacher_rows(rest, count + more, count, 3)
    targets = top_k(p_NV, count)
    logits_NV = torch.randn(3, count + more).double() * spread
    coarse, whole, slope_NV = expected(p_NV, targets.ids_NK, logits_NV, divergence)
    value, gradient_NV = loss_and_slope(targets, logits_NV, divergence)
    size = max(1.0, abs(coarse))
    assert math.isfinite(value) and bool(gradient_NV.isfinite().all())
    assert value == pytest.approx(coarse, abs=1e-5 * size)
    assert value <= whole + 1e-5 * size
    # A token's own slope holds the difference of two figures of the loss's size.
    assert torch.allclose(gradient_NV, slope_NV, atol=2e-5 * size, rtol=1e-4)


@settings(max_examples=60, deadline=None)
@given(specs, st.integers(1, 6), st.integers(0, 5), st.integers(0, 2**31))
def test_a_teacher_without_any_rest_gives_something_finite(
    divergence: Divergence, count: int, more: int, seed: int
) -> None:
    """A whole reverse KL is infinite there; all others are what they are without the floor."""
    torch.manual_seed(seed)
    p_NV = teacher_rows(0.0, count + more, count, 2)
    targets = top_k(p_NV, count)
    assert bool((targets.rest_N == float("-inf")).all())
    logits_NV = torch.randn(2, count + more).double()
    value, gradient_NV = loss_and_slope(targets, logits_NV, divergence)
    assert math.isfinite(value) and bool(gradient_NV.isfinite().all())
    q_NV = logits_NV.softmax(-1)
    pairs = zip(p_NV, q_NV, strict=True)
    whole = sum(float(oracle.divergence(divergence, p, q)) for p, q in pairs)
    assert value <= whole + 1e-5 * max(1.0, whole)
    if divergence.kind != "reverse_kl" or not more:
        coarse = expected(p_NV, targets.ids_NK, logits_NV, divergence)[0]
        assert value == pytest.approx(coarse, abs=1e-5 * max(1.0, coarse))


@pytest.mark.parametrize(
    ("p", "count", "q", "kind", "value"),
    [
        ((0.501, 0.4989, 0.0001), 2, (0.6, 0.3, 0.1), "reverse_kl", 0.64638),
        ((0.501, 0.4989, 0.0001), 2, (0.6, 0.3, 0.1), "forward_kl", 0.16272),
        ((0.501, 0.4989, 0.0001), 1, (0.6, 0.3, 0.1), "reverse_kl", 0.01973),
        ((0.9999999, 1e-7, 0.0), 1, (0.9, 0.05, 0.05), "reverse_kl", 1.28673),
        ((0.7, 0.3 - 1e-12, 1e-12), 2, (0.5, 0.3, 0.2), "reverse_kl", 5.03608),
        ((0.7, 0.3, 0.0), 3, (0.5, 0.4, 0.1), "forward_kl", 0.14922),
    ],
)
def test_by_hand(p: tuple, count: int, q: tuple, kind: str, value: float) -> None:
    targets = top_k(torch.tensor([p]).double(), count)
    found, _ = loss_and_slope(targets, torch.tensor([q]).double().log(), Divergence(kind))
    assert found == pytest.approx(value, abs=2e-5)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(2, 8), st.integers(0, 2**31))
def test_what_a_reverse_kl_lacks_is_how_the_student_shares_out_the_rest(
    count: int, more: int, seed: int
) -> None:
    """KL(q || p) = coarse + q(rest) KL(q | rest || p | rest), in value and in gradient."""
    torch.manual_seed(seed)
    p_NV = teacher_rows(0.2, count + more, count, 2)
    targets, logits_NV = top_k(p_NV, count), torch.randn(2, count + more).double()
    value, gradient_NV = loss_and_slope(targets, logits_NV, Divergence("reverse_kl"))
    exact_NV = logits_NV.float().double().requires_grad_()
    q_NV = exact_NV.softmax(-1)
    rest_NV = torch.ones_like(q_NV).scatter(1, targets.ids_NK, 0.0)
    q_rest_N1 = (q_NV * rest_NV).sum(-1, keepdim=True)
    p_rest_N1 = (p_NV * rest_NV).sum(-1, keepdim=True)
    inside_NV = (q_NV / q_rest_N1).log() - (p_NV / p_rest_N1).log()
    lacking = (rest_NV * q_NV * inside_NV).sum()
    (lacking_NV,) = torch.autograd.grad(lacking, exact_NV, retain_graph=True)
    whole = sum(oracle.kl(q_V, p_V) for p_V, q_V in zip(p_NV, q_NV, strict=True))
    (whole_NV,) = torch.autograd.grad(whole, exact_NV)
    assert value + float(lacking.detach()) == pytest.approx(float(whole.detach()), abs=1e-5)
    assert torch.allclose(gradient_NV + lacking_NV, whole_NV, atol=2e-5)


def test_the_gradient_is_the_same_whatever_token_was_drawn_and_is_not_zero() -> None:
    """The value as a reward of the drawn token teaches nothing: over all draws it cancels."""
    torch.manual_seed(0)
    p_NV, logits_NV = teacher_rows(0.2, 9, 4, 1), torch.randn(1, 9).double()
    targets, divergence = top_k(p_NV, 4), Divergence("reverse_kl")
    value, gradient_NV = loss_and_slope(targets, logits_NV, divergence)
    _, _, wanted_NV = expected(p_NV, targets.ids_NK, logits_NV, divergence)
    expected_NV, rewarded_NV = torch.zeros(1, 9).double(), torch.zeros(1, 9).double()
    for token, q in enumerate(logits_NV.softmax(-1)[0]):
        _, drawn_NV = loss_and_slope(targets, logits_NV, divergence, label=token)
        assert torch.equal(drawn_NV, gradient_NV)
        expected_NV += q * drawn_NV
        logits = logits_NV.clone().requires_grad_()
        (score_NV,) = torch.autograd.grad(logits.log_softmax(-1)[0, token], logits)
        rewarded_NV += q * value * score_NV
    assert torch.allclose(expected_NV, wanted_NV, atol=1e-6)
    assert float(wanted_NV.norm()) > 0.1
    assert float(rewarded_NV.norm()) < 1e-12
