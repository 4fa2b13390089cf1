"""Every form of targets comes back as far as it keeps what went in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.exchanges.codecs import decode, encode, hidden
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.exchanges.targets import (
    Draws,
    ExchangeTargets,
    HiddenStates,
    LikeliestTokens,
    TargetValues,
)
from top_k_layouts import first_layout


def back(spec: TargetSpec, values: TargetValues) -> tuple[TargetValues, int]:
    """Return the values after a way through bytes, and how many bytes those were."""
    row = encode(ExchangeTargets("e", "s", spec, values))
    assert (row.exchange_id, row.scorer, row.spec) == ("e", "s", spec.name)
    return decode(TargetSpec.parse(row.spec), row.rows, row.dim, row.data), len(row.data)


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        (HIDDEN_FP16, "hidden-fp16"),
        (HIDDEN_INT8, "hidden-int8"),
        (TargetSpec("sampled", 64), "sampled-64"),
        (TargetSpec("sampled", 64, 0.3), "sampled-64@0.3"),
        (TargetSpec("sampled", 64, 2e-05), "sampled-64@2e-05"),
        (TargetSpec("top-k", 8), "top-k-8"),
    ],
)
def test_a_spec_and_its_name_are_one(spec: TargetSpec, name: str) -> None:
    assert spec.name == name
    assert TargetSpec.parse(name) == spec


@pytest.mark.parametrize("name", ["", "hidden", "sampled", "hidden-fp16-4", "top-k-8@2", "x-4"])
def test_what_names_no_form_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"names no form|with count|have no temperature"):
        TargetSpec.parse(name)


@pytest.mark.parametrize("dim", [1, 3, 64, 576, 896, 1111])
def test_the_rotation_is_orthogonal_and_goes_back(dim: int) -> None:
    eye_DD = torch.eye(dim)
    turned_DD = hidden.rotated(eye_DD)
    assert torch.allclose(turned_DD @ turned_DD.T, eye_DD, atol=1e-5)
    assert torch.allclose(hidden.rotated(turned_DD, back=True), eye_DD, atol=1e-5)


def test_the_rotation_is_the_same_on_every_machine() -> None:
    """Stored states are read elsewhere: these figures must never change."""
    row = hidden.rotated(torch.arange(12.0)[None])[0]
    expected = [
        -1.154701, 4.242640, -5.715476, -9.237604, -4.242640, 5.715477,
        6.350853, -11.313707, 3.265986, 7.505553, 8.485281, -3.265986,
    ]  # fmt: skip
    assert torch.allclose(row, torch.tensor(expected), atol=1e-5)


@given(st.integers(0, 5), st.sampled_from([1, 6, 48, 576]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_int8_keeps_each_row_within_half_a_step(rows: int, dim: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Rows of very different sizes, some of their axes far larger than the others.
    values_RD = rng.normal(size=(rows, dim)) * np.exp(rng.normal(size=(1, dim)))
    hidden_RD = torch.from_numpy(values_RD * 10.0 ** rng.uniform(-4, 2, (rows, 1))).float()
    got, size = back(HIDDEN_INT8, HiddenStates(hidden_RD))
    assert isinstance(got, HiddenStates)
    assert size == rows * (dim + 4)
    turned_RD = hidden.rotated(hidden_RD)
    step_R = turned_RD.abs().amax(dim=1) / 127
    error_R = (got.hidden_RD - hidden_RD).square().mean(dim=1).sqrt()
    # Rounding alone, with the largest value kept, leaves at most half a step.
    assert bool((error_R <= 0.5 * step_R + 1e-6).all())


def test_int8_with_the_rotation_beats_int8_without_where_axes_differ() -> None:
    generator = torch.Generator().manual_seed(0)
    hidden_RD = torch.randn(50, 576, generator=generator)
    hidden_RD[:, 7] *= 200
    got, _ = back(HIDDEN_INT8, HiddenStates(hidden_RD))
    assert isinstance(got, HiddenStates)
    scale_R1 = hidden_RD.abs().amax(dim=1, keepdim=True) / 127
    plain_RD = (hidden_RD / scale_R1).round() * scale_R1
    others = torch.arange(576) != 7
    error = (got.hidden_RD - hidden_RD)[:, others].square().mean()
    assert error < 0.05 * (plain_RD - hidden_RD)[:, others].square().mean()


@pytest.mark.parametrize("spec", [HIDDEN_FP16, HIDDEN_INT8])
def test_a_row_of_zeros_stays_one(spec: TargetSpec) -> None:
    got, _ = back(spec, HiddenStates(torch.zeros(2, 8)))
    assert isinstance(got, HiddenStates)
    assert torch.equal(got.hidden_RD.float(), torch.zeros(2, 8))


@pytest.mark.parametrize("spec", [HIDDEN_FP16, HIDDEN_INT8])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e6])
def test_states_that_are_not_finite_are_refused(spec: TargetSpec, value: float) -> None:
    with pytest.raises(PotstillError, match="not finite or beyond fp16's range"):
        back(spec, HiddenStates(torch.full((1, 4), value)))


@st.composite
def draws(draw: st.DrawFn) -> tuple[Draws, int]:
    width = draw(st.sampled_from([1, 2, 50, 49_152, 151_936, 262_144]))
    number = draw(st.integers(1, 70))
    rows = []
    for _ in range(draw(st.integers(0, 4))):
        picks = draw(st.lists(st.integers(0, width - 1), min_size=number, max_size=number))
        rows.append(np.unique(picks, return_counts=True))
    most = max((len(ids) for ids, _ in rows), default=0)
    ids_RU = torch.zeros(len(rows), most, dtype=torch.long)
    count_RU = torch.zeros_like(ids_RU)
    for r, (ids, counts) in enumerate(rows):
        ids_RU[r, : len(ids)] = torch.from_numpy(ids)
        count_RU[r, : len(ids)] = torch.from_numpy(counts)
    entropy_R = torch.linspace(0, 11, len(rows))
    return Draws(ids_RU, count_RU, entropy_R, width), number


@settings(max_examples=150, deadline=None)
@given(draws())
def test_draws_come_back_exactly(drawn: tuple[Draws, int]) -> None:
    values, number = drawn
    got, _ = back(TargetSpec("sampled", number), values)
    assert isinstance(got, Draws)
    assert torch.equal(got.ids_RU, values.ids_RU)
    assert torch.equal(got.count_RU, values.count_RU)
    assert torch.allclose(got.entropy_R, values.entropy_R, rtol=5e-4)
    assert got.width == values.width


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_likeliest_tokens_come_back(rows: int) -> None:
    generator = torch.Generator().manual_seed(1)
    logp_RV = torch.randn(rows, 500, generator=generator).mul(3).log_softmax(-1)
    values = likeliest(logp_RV, 6)
    got, _ = back(TargetSpec("top-k", 6), values)
    assert isinstance(got, LikeliestTokens)
    assert torch.equal(got.ids_RK, values.ids_RK)
    assert torch.equal(got.logp_RK, values.logp_RK)
    assert torch.equal(got.rest_R, values.rest_R)


@pytest.mark.parametrize("rest", [1e-7, 1e-12, 1e-30, 0.0])
def test_a_small_rest_comes_back(rest: float) -> None:
    """In fp16 the two tokens have all of the mass, or more."""
    p_RV = torch.tensor([[0.501, 0.499 - rest, rest], [0.7, 0.3 - rest, rest]]).double()
    values = likeliest(p_RV.log(), 2)
    got, _ = back(TargetSpec("top-k", 2), values)
    assert isinstance(got, LikeliestTokens)
    assert torch.equal(got.rest_R, torch.full((2,), rest, dtype=torch.float64).log().float())


@settings(max_examples=80, deadline=None)
@given(
    st.integers(0, 4), st.integers(1, 9), st.integers(0, 60), st.sampled_from([0.3, 3.0, 30.0]),
    st.integers(0, 2**31),
)  # fmt: skip
def test_stores_of_the_first_layout_are_read_with_the_rest_that_they_leave(
    rows: int, count: int, more: int, spread: float, seed: int
) -> None:
    torch.manual_seed(seed)
    width = count + more
    logp_RV = (torch.randn(rows, width).double() * spread).log_softmax(-1)
    values = likeliest(logp_RV, count)
    got = decode(TargetSpec("top-k", count), rows, width, first_layout(values))
    assert isinstance(got, LikeliestTokens)
    assert torch.equal(got.ids_RK, values.ids_RK)
    if not more:
        assert bool((got.rest_R == float("-inf")).all())
        return
    error_R = (values.logp_RK.exp() * values.logp_RK.abs().mul(2.0**-11)).sum(1) + 1e-6
    assert bool(
        (got.logp_RK - values.logp_RK)
        .abs()
        .le(values.logp_RK.abs() / 1000 + 2 * error_R[:, None])
        .all()
    )
    assert bool(((got.rest_R.exp() - values.rest_R.exp()).abs() <= 2 * error_R).all())
    assert bool(got.rest_R.isfinite().all())
    total_R = got.logp_RK.double().exp().sum(1) + got.rest_R.double().exp()
    assert torch.allclose(total_R, torch.ones(rows).double(), atol=1e-6)


def test_a_later_layout_is_refused() -> None:
    values = likeliest(torch.randn(2, 9).log_softmax(-1), 3)
    row = encode(ExchangeTargets("e", "s", TargetSpec("top-k", 3), values))
    with pytest.raises(PotstillError, match="top-k targets have layout 3"):
        decode(TargetSpec("top-k", 3), 2, 9, b"\x03" + row.data[1:])


def likeliest(logp_RV: torch.Tensor, count: int) -> LikeliestTokens:
    ids_RK = logp_RV.topk(count, dim=-1).indices.sort(-1).values
    rest_R = logp_RV.scatter(1, ids_RK, float("-inf")).logsumexp(-1)
    logp_RK = logp_RV.gather(1, ids_RK)
    return LikeliestTokens(ids_RK, logp_RK.float(), rest_R.float(), logp_RV.shape[1])


def test_values_of_another_form_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="cannot be kept as sampled-4"):
        back(TargetSpec("sampled", 4), HiddenStates(torch.zeros(1, 4)))
