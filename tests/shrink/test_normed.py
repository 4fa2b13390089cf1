"""The refit before a norm makes the loss that it states as small as a float64 search does."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from potstill.shrink.normed import refit_normed
from potstill.shrink.writing import RMSNorm

EPS = 1e-6


def stated_loss(
    weight_DF: Tensor,
    gain_D: Tensor,
    start: tuple[Tensor, Tensor],
    x: Tensor,
    r: Tensor,
    ridge: float,
) -> Tensor:
    """Return L as the docstring has it, token by token."""
    old_DF, old_D = start
    total = torch.zeros((), dtype=torch.float64)
    gram = torch.zeros(x.shape[1], x.shape[1], dtype=torch.float64)
    for x_F, r_D in zip(x, r, strict=True):
        y_D, old_y_D = weight_DF @ x_F, old_DF @ x_F
        total = total + (r_D - gain_D * y_D / (y_D.square().mean() + EPS).sqrt()).square().sum()
        gram += torch.outer(x_F, x_F) / (old_y_D.square().mean() + EPS)
    held_D = old_D.square() + 0.01 * old_D.square().mean()
    pull = ridge * torch.trace(gram) / len(gram)
    total = total + pull * (held_D * (weight_DF - old_DF).square().sum(1)).sum()
    return total + 0.01 * len(x) * (gain_D - old_D).square().sum()


def searched(start: tuple[Tensor, Tensor], x: Tensor, r: Tensor, ridge: float) -> float:
    """Return L where L-BFGS ends that sets out from the old weights."""
    free = [part.clone().requires_grad_() for part in start]
    search = torch.optim.LBFGS(free, max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        found = stated_loss(free[0], free[1], start, x, r, ridge)
        found.backward()
        return found

    search.step(loss)
    return stated_loss(free[0], free[1], start, x, r, ridge).item()


@settings(max_examples=8)
@given(
    st.integers(0, 2**31), st.integers(2, 5), st.integers(3, 6), st.sampled_from([0.03, 0.3, 1.0])
)
def test_the_refit_ends_about_where_a_search_ends(
    seed: int, features: int, outputs: int, ridge: float
) -> None:
    generator = torch.Generator().manual_seed(seed)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    x, weight, gain = drawn(40, features), drawn(outputs, features), 1 + 0.3 * drawn(outputs)
    # Towards another map and another gain, with something that no map can give.
    y = x @ (weight + 0.5 * drawn(outputs, features)).T
    r = (gain + 0.3) * y / y.square().mean(1, keepdim=True).sqrt() + 0.3 * drawn(40, outputs)
    module = nn.RMSNorm(outputs, eps=EPS)
    module.weight.data = gain.float()
    norm = RMSNorm(module, 0.0, EPS)
    parts = [slice(0, 13), slice(13, 40)]
    with torch.no_grad():
        found = refit_normed(
            weight.float(),
            None,
            norm,
            [x[p].float() for p in parts],
            [r[p].float() for p in parts],
            ridge,
        )
    start = weight, gain
    before = float(stated_loss(*start, start, x, r, ridge))
    after = float(stated_loss(found.weight_DF.double(), found.gain_D.double(), start, x, r, ridge))
    assert abs(after - found.losses[-1]) < 1e-4 * before
    assert list(found.losses) == sorted(found.losses, reverse=True)
    assert after < before
    # A search may end in another valley: what it wins more is less than what was won.
    assert after - searched(start, x, r, ridge) < 0.5 * (before - after)


def test_a_map_that_does_what_is_wanted_stays() -> None:
    torch.manual_seed(0)
    x, weight = torch.randn(30, 4), torch.randn(3, 4)
    norm = RMSNorm(nn.RMSNorm(3, eps=EPS), 0.0, EPS)
    with torch.no_grad():
        found = refit_normed(weight, None, norm, [x], [norm(x @ weight.T)], 0.1)
    assert torch.allclose(found.weight_DF, weight, atol=1e-5)
    assert torch.allclose(found.gain_D, torch.ones(3), atol=1e-5)
