"""Byte products are those of the rounded numbers, and a text's depend on no text beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from potstill.errors import PotstillError
from potstill.models import int8
from potstill.models.generate import Request, completions
from potstill.models.int8 import Int8Linear, in_int8, require_bytes
from potstill.models.load import body_of, head_of, load
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden

ABLE = any(torch.cpu.get_capabilities().get(name) for name in int8._FAST)
pytestmark = pytest.mark.skipif(not ABLE, reason="this CPU does not multiply bytes fast")

ROWS = [tuple(range(3, 3 + n)) for n in (5, 9, 14)]


def rounded_product(linear: nn.Linear, outliers_C: Tensor, input_NK: Tensor) -> Tensor:
    """Return what the map is said to be, in float64 and by other steps."""
    weight_OK, input_NK = linear.weight.detach().double(), input_NK.double()
    inside = torch.ones(linear.in_features, dtype=torch.bool)
    inside[outliers_C] = False
    plain_OK, plain_NK = weight_OK[:, inside], input_NK[:, inside]
    step_O1 = plain_OK.abs().amax(1, keepdim=True) / 127
    step_N1 = (plain_NK.abs().amax(1, keepdim=True) / 127).clamp(min=1e-14)
    found_NO = ((plain_NK / step_N1).round() * step_N1) @ ((plain_OK / step_O1).round() * step_O1).T
    found_NO += input_NK[:, outliers_C] @ weight_OK[:, outliers_C].T
    return found_NO if linear.bias is None else found_NO + linear.bias.detach().double()


@given(
    rows=st.integers(1, 9),
    width=st.integers(4, 70),
    out=st.integers(1, 40),
    outliers=st.integers(0, 3),
    bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
@settings(max_examples=40, deadline=None)
def test_a_map_is_the_product_of_the_rounded_numbers(
    rows: int, width: int, out: int, outliers: int, bias: bool, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    linear = nn.Linear(width, out, bias=bias)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    input_NK = torch.randn(rows, width, generator=generator)
    input_NK[:, 0] *= 50
    outliers_C = torch.arange(outliers)
    found_NO = Int8Linear(linear, outliers_C)(input_NK)
    wanted_NO = rounded_product(linear, outliers_C, input_NK)
    # A number on the edge between two steps may fall to either: at most one step of one product.
    edge = float(input_NK.abs().max() / 127 * linear.weight.detach().abs().max()) * 1.01
    assert float((found_NO - wanted_NO).abs().max()) <= edge + 1e-3
    apart = (found_NO.double() - wanted_NO).norm() / wanted_NO.norm().clamp(min=1e-9)
    assert float(apart) < 0.02


def test_shape_and_dtype_are_those_of_what_it_reads() -> None:
    linear = nn.Linear(12, 5)
    found = Int8Linear(linear, torch.tensor([2]))(torch.randn(2, 3, 12, dtype=torch.bfloat16))
    assert found.shape == (2, 3, 5) and found.dtype == torch.bfloat16
    assert Int8Linear(linear, torch.tensor([2]))(torch.zeros(1, 12)).isfinite().all()


@pytest.mark.parametrize("family", ["nano_llama", "nano_gemma", "nano_neox"])
def test_the_body_is_in_bytes_and_the_rest_is_shared(
    family: str, request: pytest.FixtureRequest
) -> None:
    model = load(str(request.getfixturevalue(family)), device="cpu", precision="fp32")
    made = in_int8(model, ROWS)
    maps = [m for m in body_of(made.model.network).modules() if isinstance(m, Int8Linear)]
    plain = [m for m in body_of(made.model.network).modules() if type(m) is nn.Linear]
    assert maps and not plain and made.model.int8 and not model.int8
    assert 0.9 < made.share < 1
    assert not any(isinstance(m, Int8Linear) for m in model.network.modules())
    assert head_of(made.model).weight_VD is head_of(model).weight_VD
    own = torch.cat(response_hidden(model, [(row[:2], row[2:]) for row in ROWS]))
    found = torch.cat(response_hidden(made.model, [(row[:2], row[2:]) for row in ROWS]))
    assert 0 < float((found - own).norm() / own.norm()) < 0.05


def test_what_a_row_gets_depends_on_no_row_beside_it() -> None:
    generator = torch.Generator().manual_seed(3)
    linear = nn.Linear(48, 20)
    made = Int8Linear(linear, torch.tensor([5, 40]))
    input_NK = torch.randn(7, 48, generator=generator) * torch.logspace(-3, 3, 7)[:, None]
    together_NO = made(input_NK)
    for row_K, found_O in zip(input_NK, together_NO, strict=True):
        assert torch.allclose(made(row_K[None])[0], found_O, rtol=1e-5, atol=1e-6)


def test_it_decodes(nano_llama: Path) -> None:
    model = in_int8(load(str(nano_llama), device="cpu", precision="fp32"), ROWS).model
    requests = [Request(f"key-{i}", row) for i, row in enumerate(ROWS)]
    found = completions(model, requests, Sampling(max_tokens=12, seed=1), keep_hidden=True)
    for request, one in zip(requests, found, strict=True):
        (read_RD,) = response_hidden(model, [(request.prompt_ids, one.token_ids)])
        assert one.hidden_RD is not None
        assert float((one.hidden_RD - read_RD).norm() / read_RD.norm()) < 0.02


def test_it_is_refused_where_bytes_are_not_fast(
    nano_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(PotstillError, match="is for CPUs, and this is cuda; leave"):
        require_bytes(torch.device("cuda"))
    model = load(str(nano_llama), device="cpu", precision="fp32")
    with pytest.raises(PotstillError, match="no linear maps of a kind"):
        in_int8(in_int8(model, ROWS).model, ROWS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    with pytest.raises(PotstillError, match=r"\(VNNI\), and this one does not; leave"):
        in_int8(model, ROWS)
