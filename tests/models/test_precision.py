"""Which precision products are taken in."""

from __future__ import annotations

import torch

from potstill.models.precision import fast_products


def test_products_of_bf16_values_are_exact_and_the_setting_goes_back() -> None:
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(300, 64, generator=generator).bfloat16().float()
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_products(bf16=True):
        product = values.T @ values
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    assert torch.allclose(product, values.T @ values, rtol=1e-5, atol=1e-4)


def test_fp32_products_stay_those_of_fp32_and_the_setting_is_put_back() -> None:
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(300, 300, generator=generator) for _ in range(2))
    before = torch.backends.mkldnn.matmul.fp32_precision
    with fast_products():
        found = left @ right
    assert torch.backends.mkldnn.matmul.fp32_precision == before
    exact = left.double() @ right.double()
    assert (found - exact).norm() < 1e-6 * exact.norm()
