"""The output head: products, scale, soft cap and padding rows."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from potstill.models.head import Head, HeadForm


@given(data=st.data())
def test_logits_are_those_of_the_definition(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    rows, dim = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 6))
    width, padding = data.draw(st.integers(1, 20)), data.draw(st.integers(0, 3))
    weight, hidden = rng.normal(size=(width + padding, dim)), rng.normal(size=(rows, dim))
    bias = rng.normal(size=width + padding) if data.draw(st.booleans()) else None
    scale = data.draw(st.sampled_from([1.0, 0.25, 3.0]))
    softcap = data.draw(st.sampled_from([None, 0.5, 30.0]))
    head = Head(
        torch.from_numpy(weight).float(),
        None if bias is None else torch.from_numpy(bias).float(),
        softcap=softcap,
        scale=scale,
        tokens=data.draw(st.sampled_from([width, None])),
    )
    expected = (hidden @ weight.T + (0 if bias is None else bias)) * scale
    if softcap is not None:
        expected = softcap * np.tanh(expected / softcap)
    if head.tokens is not None:
        expected[:, head.tokens :] = -np.inf
    found = head.logits(torch.from_numpy(hidden).float())
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, rtol=2e-5, atol=2e-5)


def test_a_bf16_head_rounds_its_product_and_gives_fp32() -> None:
    generator = torch.Generator().manual_seed(1)
    weight, hidden = (torch.randn(n, 32, generator=generator).bfloat16() for n in (40, 9))
    found = Head(weight).logits(hidden.float())
    assert found.dtype == torch.float32
    assert torch.equal(found, found.bfloat16().float())
    torch.testing.assert_close(found, hidden.float() @ weight.float().T, rtol=2e-2, atol=2e-2)


def test_a_form_that_does_nothing_hands_its_products_on() -> None:
    raw = torch.randn(3, 4)
    assert HeadForm().applied(raw) is raw
    assert torch.equal(HeadForm(scale=0.5).applied(raw), raw * 0.5)
    assert HeadForm(softcap=2.0).applied(raw * 100).abs().max() <= 2


def test_rows_past_the_tokens_have_no_mass() -> None:
    p_NV = Head(torch.ones(5, 2), tokens=3).logits(torch.ones(1, 2)).softmax(-1)
    torch.testing.assert_close(p_NV, torch.tensor([[1 / 3, 1 / 3, 1 / 3, 0, 0]]))
    assert p_NV[0, 3:].tolist() == [0, 0]
