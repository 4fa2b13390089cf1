"""TRL's `generalized_jsd_loss` as a second oracle (it writes beta as the paper does)."""

from __future__ import annotations

import os

import pytest
import torch

from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets
from potstill.models.head import Head

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
gkd = pytest.importorskip("trl.experimental.gkd", reason="TRL is not here: install extra `bench`")


@pytest.mark.parametrize(
    ("beta", "divergence"),
    [
        (0, Divergence("forward_kl")),
        (0.1, Divergence("jsd", beta=0.1)),
        (0.5, Divergence("jsd", beta=0.5)),
        (0.9, Divergence("jsd", beta=0.9)),
        (1, Divergence("reverse_kl")),
    ],
)
@pytest.mark.parametrize("masked", [0, 3, 12])
def test_value_and_gradient_agree_with_trl(
    beta: float, divergence: Divergence, masked: int
) -> None:
    torch.manual_seed(0)
    states, teacher = torch.randn(12, 8), torch.randn(12, 6)
    weight, teacher_weight = torch.randn(50, 8), torch.randn(50, 6)
    labels = torch.randint(50, (12,))
    trained = torch.arange(12) >= masked
    theirs = weight.clone().requires_grad_()
    expected = gkd.GKDTrainer.generalized_jsd_loss(
        (states @ theirs.T)[None],
        (teacher @ teacher_weight.T)[None],
        labels=labels.masked_fill(~trained, -100)[None],
        beta=beta,
    )
    expected.backward()
    mine = weight.clone().requires_grad_()
    loss, _ = distillation_loss(
        states[trained],
        Head(mine),
        DenseTargets(teacher[trained], Head(teacher_weight)),
        labels[trained],
        normaliser=max(1, int(trained.sum())),
        divergence=divergence,
    )
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5, abs=1e-7)
    assert torch.allclose(mine.grad, theirs.grad, atol=1e-6)
