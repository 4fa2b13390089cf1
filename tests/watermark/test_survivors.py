"""The keyed function of what survives: the same from many threads and from one call."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_keys import key_of

from potstill.watermark import survivors
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.survivors import behind, of_tokens, winners

KEY = key_of("survivors")


@pytest.mark.parametrize("piece", [7, 100, 100_000])
@pytest.mark.parametrize("window", [1, 3])
def test_the_winner_has_the_least_cost_of_all(
    piece: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of many survivors, of few and of one, in pieces on threads and all in one call."""
    monkeypatch.setattr(survivors, "_PIECE", piece)
    scheme = Gumbel(KEY, window)
    rng = np.random.default_rng(window)
    weight_RV = (rng.random((6, 300)) ** 8).astype(np.float32)
    weight_RV[1:3][rng.random((2, 300)) < 0.9] = 0
    weight_RV[3] = 0
    weight_RV[3, 17] = 1e-30
    windows = [tuple(rng.integers(0, 300, window).tolist()) for _ in range(6)]
    found = winners(scheme, torch.from_numpy(weight_RV), windows).tolist()
    for row, given in enumerate(windows):
        alive = np.flatnonzero(weight_RV[row])
        columns = [np.full(len(alive), i) for i in given]
        u = scheme.uniforms(scheme.inputs(columns, alive))
        cost = -np.log(u) / weight_RV[row, alive].astype(float)
        assert found[row] == alive[cost.argmin()]
    assert found[3] == 17


@pytest.mark.parametrize("scheme", [GreenList(KEY, 2, 0.25, 2.0), Gumbel(KEY, 2)])
def test_tokens_of_many_rows_are_those_of_each_row(scheme: GreenList | Gumbel) -> None:
    windows = [(5, 6), (6, 5), (0, 2**31)]
    row_P = torch.arange(3).repeat_interleave(50)
    found = of_tokens(scheme, windows, row_P, torch.arange(50).repeat(3))
    expected = np.concatenate([behind(scheme, window, np.arange(50)) for window in windows])
    assert found.numpy().tolist() == expected.tolist()
