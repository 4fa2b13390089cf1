"""A scorer's head comes back as it was stored, and a damaged one is not taken for it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.head import Head

SCORER = "blake3:teacher"


@pytest.mark.parametrize(
    "head",
    [
        Head(torch.randn(7, 4)),
        Head(torch.randn(7, 4).bfloat16(), torch.randn(7), softcap=30.0, scale=0.1, tokens=5),
    ],
)
def test_the_head_comes_back(tmp_path: Path, head: Head) -> None:
    store = ExchangeStore(tmp_path)
    assert not store.has_head(SCORER)
    store.save_head(SCORER, head)
    assert store.has_head(SCORER)
    loaded = store.head(SCORER)
    assert loaded.weight_VD.dtype == head.weight_VD.dtype
    hidden_ND = torch.randn(3, 4)
    if head.bias_V is None:
        assert torch.equal(loaded.logits(hidden_ND), head.logits(hidden_ND))
    assert torch.equal(loaded.weight_VD, head.weight_VD)
    assert (loaded.bias_V is None) == (head.bias_V is None)
    assert (loaded.softcap, loaded.scale, loaded.tokens) == (head.softcap, head.scale, head.tokens)
    with pytest.raises(PotstillError, match="no output head of another"):
        store.head("another")


def test_a_damaged_head_is_named_and_stored_again(tmp_path: Path) -> None:
    store = ExchangeStore(tmp_path)
    head = Head(torch.randn(7, 4))
    store.save_head(SCORER, head)
    (path,) = (tmp_path / "targets").glob("head-*")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert not store.has_head(SCORER)
    with pytest.raises(PotstillError, match=f"{path.name} is damaged"):
        store.head(SCORER)
    assert store.repair() == [f"targets/{path.name}"]
    store.save_head(SCORER, head)
    assert torch.equal(store.head(SCORER).weight_VD, head.weight_VD)
