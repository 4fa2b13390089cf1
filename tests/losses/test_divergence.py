"""Each divergence and its slope against the definition and autograd in float64."""

from __future__ import annotations

import math

import loss_oracle as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.losses.divergence import LEAST_SHARE, Divergence, forward_kl
from potstill.recipe import TrainConfig

KINDS = [
    "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl", "total_variation",
]  # fmt: skip
NEVER = float("-inf")
specs = st.builds(
    Divergence,
    st.sampled_from(KINDS),
    beta=st.sampled_from([0.01, 0.3, 0.5, 0.9]),
    alpha=st.sampled_from([0.01, 0.1, 0.5, 0.9]),
)


@settings(max_examples=150, deadline=None)
@given(specs, st.integers(1, 40), st.sampled_from([0.01, 1.0, 5.0, 30.0]), st.integers(0, 2**31))
def test_value_and_slope_are_the_definitions(
    spec: Divergence, tokens: int, spread: float, seed: int
) -> None:
    torch.manual_seed(seed)
    teacher = torch.randn(3, tokens).double() * spread
    student = (torch.randn(3, tokens).double() * spread).requires_grad_()
    logp, logq = teacher.log_softmax(-1), student.log_softmax(-1)
    value, slope = spec.function(logp.float(), logq.detach().float(), slope=True)
    expected = torch.stack(
        [oracle.divergence(spec, p.exp(), q.exp()) for p, q in zip(logp, logq, strict=True)]
    )
    expected.sum().backward()
    # Probabilities below 1e-38 are 0 in fp32, whose log-probabilities are off by 1e-7 of theirs.
    size = max(1.0, spread)
    assert torch.allclose(value.double(), expected.detach(), atol=3e-6 * size, rtol=1e-5)
    assert torch.allclose(slope.double(), student.grad, atol=3e-6 * size, rtol=1e-5)
    assert torch.equal(spec.function(logp.float(), logq.detach().float())[0], value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [1.0, 50.0])
def test_equal_rows_are_exactly_zero_in_value_and_slope(kind: str, spread: float) -> None:
    torch.manual_seed(0)
    logp = (torch.randn(50, 300) * spread).log_softmax(-1)
    logp[:, :7] = NEVER
    value, slope = Divergence(kind).function(logp, logp.clone(), slope=True)
    assert not value.any()
    assert not slope.any()


@pytest.mark.parametrize("kind", KINDS)
def test_rounding_alone_puts_a_divergence_below_zero(kind: str) -> None:
    torch.manual_seed(0)
    logits = torch.randn(400, 500) * 3
    nearly = logits + 1e-4 * torch.randn_like(logits)
    value, _ = Divergence(kind).function(logits.log_softmax(-1), nearly.log_softmax(-1))
    assert float(value.min()) >= -1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_ruled_out_on_either_side_give_the_definitions_limit(kind: str) -> None:
    spec = Divergence(kind, beta=0.3, alpha=0.2)
    certain = torch.tensor([[0.0, NEVER, NEVER]])
    spread = torch.tensor([[0.5, 0.5, 0.0]]).log()
    for one, other in ((certain, spread), (spread, certain)):
        value, slope = spec.function(one, other, slope=True)
        expected = oracle.divergence(spec, one[0].double().exp(), other[0].double().exp())
        assert float(value) == pytest.approx(float(expected), abs=1e-6)
        if math.isfinite(float(expected)):
            assert torch.isfinite(slope).all()


def test_what_is_no_number_is_not_hidden() -> None:
    rows = torch.tensor([[0.0, float("nan")]])
    assert math.isnan(float(forward_kl(rows, torch.zeros(1, 2).log_softmax(-1))[0]))


def test_jsd_weighs_the_teacher_by_beta() -> None:
    """Backwards beta is a known error: towards 0 it has to act like forward KL."""
    logp = torch.randn(4, 9).log_softmax(-1)
    logq = torch.randn(4, 9).log_softmax(-1)
    forward, _ = Divergence("forward_kl").function(logp, logq)
    reverse, _ = Divergence("reverse_kl").function(logp, logq)
    near_0, _ = Divergence("jsd", beta=1e-3).function(logp, logq)
    near_1, _ = Divergence("jsd", beta=1 - 1e-3).function(logp, logq)
    assert torch.allclose(near_0 / 1e-3, forward, rtol=0.02)
    assert torch.allclose(near_1 / 1e-3, reverse, rtol=0.02)


@pytest.mark.parametrize("name", ["beta", "alpha"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1e-9, 9e-4, 0.9995, 0.999999, math.nan])
def test_limits_and_what_fp32_cannot_tell_from_them_are_refused(name: str, value: float) -> None:
    with pytest.raises(PotstillError, match=f"{name} is .* has to lie between 0.001 and 0.999"):
        Divergence("jsd", **{name: value})


@pytest.mark.parametrize("name", ["beta", "alpha"])
def test_a_recipe_refuses_what_the_loss_refuses(name: str) -> None:
    for value in (LEAST_SHARE, 1 - LEAST_SHARE):
        assert getattr(TrainConfig.model_validate({name: value}), name) == value
        Divergence("jsd", **{name: value})
    for value in (1e-9, 9.9e-4, 0.9991, 0.999999):
        with pytest.raises(
            ValueError, match=r"should be (greater|less) than or equal to 0\.(001|999)"
        ):
            TrainConfig.model_validate({name: value})


@pytest.mark.parametrize("kind", ["skew_forward_kl", "skew_reverse_kl", "jsd"])
@pytest.mark.parametrize("share", [LEAST_SHARE, 1 - LEAST_SHARE])
def test_at_the_outermost_shares_fp32_still_knows_value_and_slope(kind: str, share: float) -> None:
    torch.manual_seed(0)
    spec = Divergence(kind, beta=share, alpha=share)
    logits = torch.randn(20, 30).double()
    student = torch.randn(20, 30).double().requires_grad_()
    logp, logq = logits.log_softmax(-1), student.log_softmax(-1)
    exact = torch.stack(
        [oracle.divergence(spec, p.exp(), q.exp()) for p, q in zip(logp, logq, strict=True)]
    )
    exact.sum().backward()
    value, slope = spec.function(logp.float(), logq.detach().float(), slope=True)
    assert torch.allclose(value.double(), exact.detach(), rtol=0.25)
    assert torch.allclose(
        slope.double(), student.grad, rtol=1e-2, atol=0.02 * float(student.grad.abs().max())
    )
