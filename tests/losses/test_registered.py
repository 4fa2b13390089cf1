"""Divergences of one's own: derived slopes, the chunked loss, and recipes that name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses import (
    Divergence,
    differentiated,
    distillation_loss,
    register_divergence,
    unregister_divergence,
)
from potstill.losses.part import LossScales, loss_of_part
from potstill.losses.row_terms import term_of
from potstill.losses.targets import DenseTargets, SampledTargets, TopKTargets
from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.recipe.io import parse_recipe

BASE = "name: mine\nteacher:\n  model: some/model\n"
NEVER = float("-inf")


def _kl(p_V: Tensor, q_V: Tensor) -> Tensor:
    return (p_V * (p_V.log() - q_V.log())).sum(-1)


def _mixed(share: float, p_V: Tensor, q_V: Tensor) -> Tensor:
    return share * p_V + (1.0 - share) * q_V


# Each of potstill's from its definition, in probability space.
DEFINED = {
    "forward_kl": lambda d, p, q: _kl(p, q),
    "reverse_kl": lambda d, p, q: _kl(q, p),
    "jsd": lambda d, p, q: (
        d.beta * _kl(p, _mixed(d.beta, p, q)) + (1.0 - d.beta) * _kl(q, _mixed(d.beta, p, q))
    ),
    "skew_forward_kl": lambda d, p, q: _kl(p, _mixed(d.alpha, p, q)),
    "skew_reverse_kl": lambda d, p, q: _kl(q, _mixed(d.alpha, q, p)),
    "total_variation": lambda d, p, q: 0.5 * (p - q).abs().sum(-1),
}


def hellinger(teacher_logp_NV: Tensor, student_logp_NV: Tensor) -> Tensor:
    shared_N = (0.5 * (teacher_logp_NV + student_logp_NV)).exp().sum(-1)
    return (1.0 - shared_N).clamp(min=0.0)


@pytest.fixture
def registered() -> Iterator[Divergence]:
    register_divergence("hellinger", differentiated(hellinger))
    try:
        yield Divergence("hellinger")
    finally:
        unregister_divergence("hellinger")


@settings(max_examples=120)
@given(
    st.sampled_from(sorted(DEFINED)),
    st.integers(1, 4),
    st.integers(2, 40),
    st.sampled_from([0.05, 0.3, 0.5, 0.9]),
    st.sampled_from([0.1, 1.0, 4.0]),
    st.integers(0, 2**31),
)
def test_a_derived_slope_is_the_one_written_by_hand(
    kind: str, rows: int, tokens: int, share: float, spread: float, seed: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    teacher_NV, student_NV = (
        (torch.randn(rows, tokens, generator=draw, dtype=torch.float64) * spread).log_softmax(-1)
        for _ in range(2)
    )
    chosen = Divergence(kind, beta=share, alpha=share)
    derived = differentiated(lambda p_NV, q_NV: DEFINED[kind](chosen, p_NV.exp(), q_NV.exp()))
    by_hand_N, by_hand_NV = chosen.function(teacher_NV, student_NV.clone(), slope=True)
    found_N, found_NV = derived(teacher_NV, student_NV, slope=True)
    assert torch.allclose(found_N, by_hand_N, atol=1e-9, rtol=1e-9)
    assert torch.allclose(found_NV, by_hand_NV, atol=1e-9, rtol=1e-9)
    assert derived(teacher_NV, student_NV)[1] is None
    assert not student_NV.requires_grad
    # Also where gradients are off, as they are within the loss.
    with torch.no_grad():
        assert torch.equal(derived(teacher_NV, student_NV, slope=True)[1], found_NV)


def test_a_token_that_the_student_rules_out_has_no_slope() -> None:
    teacher_NV = torch.tensor([[0.5, 0.25, 0.25]]).log()
    student_NV = torch.tensor([[0.5, 0.5, 0.0]]).log()
    value_N, slope_NV = differentiated(hellinger)(teacher_NV, student_NV, slope=True)
    assert torch.isfinite(value_N).all()
    assert torch.isfinite(slope_NV).all()
    assert slope_NV[0, 2] == 0


@pytest.mark.parametrize("memory", [1, 10**9])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_chunked_loss_is_the_plain_one(
    registered: Divergence, memory: int, temperature: float
) -> None:
    torch.manual_seed(0)
    hidden_ND = torch.randn(9, 6, requires_grad=True)
    weight_VD = torch.randn(30, 6, requires_grad=True)
    teacher_ND, teacher_VD = torch.randn(9, 6), torch.randn(30, 6)
    label_N = torch.randint(0, 30, (9,))
    loss, sums = distillation_loss(
        hidden_ND,
        Head(weight_VD),
        DenseTargets(teacher_ND, Head(teacher_VD)),
        label_N,
        normaliser=9,
        divergence=registered,
        temperature=temperature,
        cross_entropy_weight=0.25,
        memory_bytes=memory,
    )
    loss.backward()
    found = hidden_ND.grad, weight_VD.grad
    hidden_ND.grad = weight_VD.grad = None
    logits_NV = hidden_ND @ weight_VD.T
    p_NV = (teacher_ND @ teacher_VD.T / temperature).log_softmax(-1)
    plain = hellinger(p_NV, (logits_NV / temperature).log_softmax(-1)).sum()
    ce = torch.nn.functional.cross_entropy(logits_NV, label_N, reduction="sum")
    expected = (0.75 * temperature**2 * plain + 0.25 * ce) / 9
    expected.backward()
    assert torch.allclose(loss, expected, atol=1e-6)
    assert torch.allclose(sums.divergence_sum, plain.detach(), atol=1e-5)
    for one, other in zip(found, (hidden_ND.grad, weight_VD.grad), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_likeliest_tokens_and_draws_take_it_or_refuse_it(registered: Divergence) -> None:
    hidden_ND, head = torch.randn(3, 6), Head(torch.randn(30, 6))
    label_N = torch.randint(0, 30, (3,))
    logp_NK, ids_NK = (torch.randn(3, 30).log_softmax(-1)).topk(4)
    rest_N = (1 - logp_NK.exp().sum(-1)).log()
    targets = TopKTargets(ids_NK, logp_NK, rest_N)
    loss, _ = distillation_loss(
        hidden_ND, head, targets, label_N, normaliser=3, divergence=registered
    )
    assert torch.isfinite(loss)
    drawn = SampledTargets(ids_NK, torch.full((3, 4), 0.25), torch.ones(3))
    with pytest.raises(PotstillError, match="sampled targets give hellinger with a bias"):
        distillation_loss(hidden_ND, head, drawn, label_N, normaliser=3, divergence=registered)


def test_it_may_stand_in_what_is_compiled(registered: Divergence) -> None:
    """A GPU compiles what is done with a few rows; here the compiler's reading of it is checked."""

    torch.manual_seed(0)
    raw_NV, label_N = torch.randn(5, 20), torch.randint(0, 20, (5,))
    logp_NK, ids_NK = torch.randn(5, 20).log_softmax(-1).topk(4)
    targets = TopKTargets(ids_NK, logp_NK, (1 - logp_NK.exp().sum(-1)).log())
    term = term_of(targets, slice(0, 5), registered, 1.0, Workspace())
    plain, compiled = raw_NV.clone(), raw_NV.clone()
    weights = LossScales(1.0, None, 1.0, 0.0)
    expected = loss_of_part(plain, label_N, term, weights, True)
    with torch.no_grad():
        found = torch.compile(loss_of_part, backend="eager")(compiled, label_N, term, weights, True)
    assert torch.allclose(found, expected)
    assert torch.allclose(compiled, plain)


def test_recipes_name_it_as_long_as_it_is_there(registered: Divergence) -> None:
    recipe = parse_recipe(BASE, "r.yaml", ["train.objective=hellinger"])
    assert recipe.train.objective == "hellinger"
    for name, said in (("helinger", "did you mean hellinger?"), ("forward_lk", "forward_kl?")):
        with pytest.raises(PotstillError) as caught:
            parse_recipe(BASE, "r.yaml", [f"train.objective={name}"])
        assert said in str(caught.value)
        assert "or hellinger" in str(caught.value)
    unregister_divergence("hellinger")
    with pytest.raises(PotstillError, match=r"train\.objective must be forward_kl, .*total_var"):
        parse_recipe(BASE, "r.yaml", ["train.objective=hellinger"])
    with pytest.raises(PotstillError, match="there is no divergence hellinger; there are"):
        Divergence("hellinger")


def test_names_are_plain_and_taken_once(registered: Divergence) -> None:
    for name, said in (
        ("hellinger", "already"),
        ("forward_kl", "already"),
        ("Not a name", "cannot name a divergence"),
    ):
        with pytest.raises(PotstillError, match=said):
            register_divergence(name, differentiated(hellinger))
    unregister_divergence("forward_kl")
    assert Divergence("forward_kl").kind == "forward_kl"
    unregister_divergence("never there")


def test_one_that_is_infinite_needs_overlap() -> None:
    register_divergence("mine", differentiated(hellinger), needs_overlap=True)
    try:
        assert Divergence("mine").needs_overlap
        assert not Divergence("forward_kl").needs_overlap
    finally:
        unregister_divergence("mine")


@pytest.mark.parametrize("slope", [True, False])
def test_a_value_for_all_rows_together_is_refused(slope: bool) -> None:
    whole = differentiated(lambda p, q: (p.exp() * (p - q)).sum())
    logp_NV = torch.randn(4, 7).log_softmax(-1)
    with pytest.raises(PotstillError, match=r"shape \(\) for 4 rows; have it return one value a"):
        whole(logp_NV, logp_NV, slope=slope)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (lambda p, q: q.sum(-1), "class Tensor; have it return a pair"),
        (lambda p, q: None, "class NoneType; have it return a pair"),
        (lambda p, q: (0.5, q), "class tuple; have it return a pair"),
        (lambda p, q: (q.sum(-1), None), "was asked for its slope and gave none"),
        (lambda p, q: (q.sum(-1), q.sum(-1)), "was asked for its slope and gave none"),
        (lambda p, q: (q.sum(), q), "returned values of shape"),
    ],
)
def test_what_is_no_divergence_is_said_when_it_is_first_asked(
    returned: Callable[[Tensor, Tensor], Any], said: str
) -> None:
    register_divergence("odd", lambda p, q, *, slope: returned(p, q))
    try:
        logp_NV = torch.randn(3, 5).log_softmax(-1)
        with pytest.raises(PotstillError, match=said):
            Divergence("odd").function(logp_NV, logp_NV, slope=True)
    finally:
        unregister_divergence("odd")
    with pytest.raises(
        PotstillError, match="has to be a function, but an object of class int was given"
    ):
        register_divergence("odd", 3)  # type: ignore[arg-type]
