"""The short way to forward KL against a float64 definition, and where it leaves the matter."""

from __future__ import annotations

import pytest
import torch

from potstill.losses.forward_kl import forward_kl_and_slope


@pytest.mark.parametrize("weight", [0.0, 0.3])
@pytest.mark.parametrize("spread", [0.1, 5.0, 40.0])
def test_value_and_slope(weight: float, spread: float) -> None:
    generator = torch.Generator().manual_seed(int(10 * spread))
    teacher, student = (spread * torch.randn(5, 301, generator=generator) for _ in range(2))
    label = torch.randint(301, (5,), generator=generator)
    exact = student.double().requires_grad_()
    log_p, log_q = teacher.double().log_softmax(-1), exact.log_softmax(-1)
    kl = (log_p.exp() * (log_p - log_q)).sum()
    ce = -log_q[torch.arange(5), label].sum()
    (slope,) = torch.autograd.grad((1 - weight) * kl + weight * ce, exact)
    found = forward_kl_and_slope(
        teacher.clone(), student.clone(), label, cross_entropy=weight, slope=True
    )
    assert found is not None
    assert float(found[0]) == pytest.approx(kl.item(), rel=1e-5, abs=1e-5)
    assert float(found[1]) == pytest.approx(ce.item(), rel=1e-5)
    torch.testing.assert_close(found[2], slope.float(), rtol=1e-5, atol=2e-7)


def test_equal_rows_give_exactly_nothing() -> None:
    rows = 7 * torch.randn(4, 100, generator=torch.Generator().manual_seed(3))
    found = forward_kl_and_slope(
        rows.clone(), rows.clone(), torch.zeros(4, dtype=torch.long), cross_entropy=0.0, slope=True
    )
    assert found is not None
    assert float(found[0]) == 0.0
    assert not found[2].any()


def test_a_token_without_a_logit_is_left_to_the_general_way() -> None:
    rows = torch.randn(2, 10)
    rows[0, 3] = float("-inf")
    args = (torch.randn(2, 10), rows, torch.zeros(2, dtype=torch.long))
    assert forward_kl_and_slope(*args, cross_entropy=0.0, slope=True) is None
