"""Distances of hidden states against plain float64, and where they are 0."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from potstill.losses.hidden import DISTANCES, hidden_distance, least_squares

KINDS = st.sampled_from(sorted(DISTANCES))
SIZES = st.integers(1, 5)


def by_hand(kind: str, mine: list[float], theirs: list[float]) -> float:
    square = math.fsum((a - b) ** 2 for a, b in zip(mine, theirs, strict=True))
    if kind == "mse":
        return square / len(mine)
    long, other = (math.sqrt(math.fsum(a * a for a in state)) for state in (mine, theirs))
    if kind == "relative_mse":
        return square / other**2
    return 1 - math.fsum(a * b for a, b in zip(mine, theirs, strict=True)) / (long * other)


def drawn(shape: tuple[int, ...], seed: int, scale: float) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(shape, generator=generator, dtype=torch.float64)


@settings(max_examples=60, deadline=None)
@given(
    kind=KINDS,
    rows=SIZES,
    width=SIZES,
    theirs=SIZES,
    projected=st.booleans(),
    seed=st.integers(0, 2**31),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
)
def test_value_and_gradients_are_those_of_the_definition(
    kind: str, rows: int, width: int, theirs: int, projected: bool, seed: int, scale: float
) -> None:
    wide = theirs if projected else width
    mine_ND = drawn((rows, width), seed, scale).requires_grad_()
    teacher_NE = drawn((rows, wide), seed + 1, scale).requires_grad_()
    map_ED = drawn((wide, width), seed + 2, 1.0).requires_grad_() if projected else None
    found_N = hidden_distance(kind, mine_ND, teacher_NE, map_ED)
    mapped = mine_ND if map_ED is None else mine_ND @ map_ED.T
    states = zip(mapped.tolist(), teacher_NE.tolist(), strict=True)
    expected = [by_hand(kind, *pair) for pair in states]
    assert found_N.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12 * scale**2)
    if kind == "cosine" and wide == 1:
        return
    learnt = [mine_ND] if map_ED is None else [mine_ND, map_ED]

    def summed(*tensors: Tensor) -> Tensor:
        return hidden_distance(kind, tensors[0], teacher_NE.detach(), *tensors[1:]).sum() / scale

    assert torch.autograd.gradcheck(summed, learnt, eps=1e-6 * scale, atol=1e-4, rtol=1e-4)
    found_N.sum().backward()
    assert teacher_NE.grad is None


@settings(max_examples=30, deadline=None)
@given(kind=KINDS, dtype=st.sampled_from([torch.float32, torch.bfloat16]), seed=st.integers(0, 99))
def test_equal_states_have_no_distance_and_no_gradient(kind: str, dtype: Any, seed: int) -> None:
    state_ND = drawn((4, 7), seed, 3.0).to(dtype)
    mine_ND = state_ND.clone().requires_grad_()
    found_N = hidden_distance(kind, mine_ND, state_ND)
    assert found_N.dtype == torch.float32
    assert not found_N.any()
    found_N.sum().backward()
    assert mine_ND.grad is not None and not mine_ND.grad.any()


def test_relative_error_does_not_depend_on_how_large_states_are() -> None:
    mine_ND, theirs_ND = drawn((3, 8), 1, 1.0), drawn((3, 8), 2, 1.0)
    small = hidden_distance("relative_mse", mine_ND, theirs_ND)
    large = hidden_distance("relative_mse", 1000 * mine_ND, 1000 * theirs_ND)
    assert torch.allclose(small, large)
    nothing = hidden_distance("relative_mse", torch.zeros_like(theirs_ND), theirs_ND)
    assert torch.allclose(nothing, torch.ones(3, dtype=torch.float64))


def test_least_squares_is_numpys() -> None:
    mine_ND, theirs_NE = drawn((20, 4), 5, 1.0), drawn((20, 3), 6, 1.0)
    found_ED = least_squares(mine_ND.T @ mine_ND, mine_ND.T @ theirs_NE, 0.0)
    expected_DE = torch.linalg.lstsq(mine_ND, theirs_NE).solution
    assert torch.allclose(found_ED, expected_DE.T)
    # Fewer rows than columns have many answers; a ridge takes the shortest, nearly.
    few = least_squares(mine_ND[:2].T @ mine_ND[:2], mine_ND[:2].T @ theirs_NE[:2], 1e-9)
    assert torch.allclose(mine_ND[:2] @ few.T, theirs_NE[:2], atol=1e-5)
