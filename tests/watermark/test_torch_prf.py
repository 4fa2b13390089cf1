"""The keyed function in torch: the bits of numpy's, which are those of the published vectors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from siphash_oracle import OWN

from potstill.watermark import prf, torch_prf


@pytest.mark.parametrize("name", ["green", "gumbel"])
def test_own_vectors(name: str) -> None:
    key = bytes.fromhex(OWN["schemes"][name]["subkey"])
    for row in OWN["schemes"][name]["rows"]:
        hashes = torch_prf.siphash([torch.tensor([i]) for i in row["ids"]], key)
        assert f"{int(hashes[0]) % 2**64:016x}" == row["hash"]
        assert float(torch_prf.uniforms_of(hashes)[0]).hex() == row["uniform"]
        for rate in (0.25, 0.5):
            assert bool(torch_prf.below(hashes, rate)[0]) is row[f"green_at_{rate}"]


@given(
    key=st.binary(min_size=16, max_size=16),
    width=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    rate=st.floats(0.01, 0.99),
)
def test_torch_and_numpy_have_equal_bits(key: bytes, width: int, seed: int, rate: float) -> None:
    ids = np.random.default_rng(seed).integers(0, 2**32, (width, 40))
    hashes = prf.siphash(list(ids), key)
    found = torch_prf.siphash([torch.from_numpy(column) for column in ids], key)
    assert (found.numpy().view(np.uint64) == hashes).all()
    assert (torch_prf.uniforms_of(found).numpy() == prf.uniforms_of(hashes)).all()
    assert (torch_prf.below(found, rate).numpy() == prf.below(hashes, rate)).all()
