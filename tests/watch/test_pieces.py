"""Pieces are counted party by party, whatever the order of rows and wherever batches are cut."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from potstill.watch.pieces import PieceUse, piece_use

SEED = 13
SLOTS = (0, 2, 7)
NAMES = tuple(f"a:{n:02d}" for n in range(40))


def counted(
    folder: Path, party_R: np.ndarray, value_RS: np.ndarray, cuts: int, used: int = 2
) -> PieceUse:
    parts = np.array_split(np.arange(len(party_R)), cuts)
    batches = [(party_R[part], value_RS[part]) for part in parts]
    folder.mkdir()
    return piece_use(NAMES, batches, SLOTS, folder, used, 10)


def test_counts_are_those_of_a_plain_count(tmp_path: Path) -> None:
    rng = np.random.default_rng(SEED)
    party_R = rng.integers(0, len(NAMES) - 3, 3_000)
    value_RS = rng.choice(
        np.array([0, 5, 9, 65_535], np.uint16), (3_000, 3), p=(0.7, 0.2, 0.08, 0.02)
    )
    use = counted(tmp_path / "one", party_R, value_RS, 1)
    count = Counter(
        (who, int(value) + (slot << 16))
        for who, row in zip(party_R.tolist(), value_RS, strict=True)
        for slot, value in zip(SLOTS, row, strict=True)
    )
    asked = Counter(party_R.tolist())
    expected = {key: n for key, n in count.items() if n >= 2 and 10 * n >= asked[key[0]]}
    pairs = zip(use.party_E.tolist(), use.piece_E.tolist(), strict=True)
    assert dict(zip(pairs, use.n_E.tolist(), strict=True)) == expected
    assert use.asked_P.tolist() == [asked[n] for n in range(len(NAMES))]
    order = rng.permutation(3_000)
    again = counted(tmp_path / "other", party_R[order], value_RS[order], 7)
    for name in ("party_E", "piece_E", "n_E", "asked_P"):
        assert (getattr(use, name) == getattr(again, name)).all()


@pytest.mark.parametrize("rows", [0, 1])
def test_nothing_is_used_where_nobody_asks_twice(tmp_path: Path, rows: int) -> None:
    use = counted(tmp_path / "none", np.zeros(rows, np.int64), np.zeros((rows, 3), np.uint16), 1)
    assert not len(use.n_E) and use.asked_P.sum() == rows
    assert not len(use.of_parties(4, 100).n_E)


def test_pieces_of_few_or_very_many_are_left_out(tmp_path: Path) -> None:
    party_R = np.repeat(np.arange(8), 2)
    value_RS = np.stack([np.repeat(np.array([1] * 3 + [2] * 5), 2)] * 3, axis=1).astype(np.uint16)
    use = counted(tmp_path / "some", party_R, value_RS, 2)
    assert len(use.n_E) == 24
    kept = use.of_parties(4, 5)
    assert set(kept.party_E.tolist()) == {3, 4, 5, 6, 7} and len(kept.n_E) == 15
    assert not len(use.of_parties(6, 9).n_E)
