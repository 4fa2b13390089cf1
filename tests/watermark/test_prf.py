"""The keyed function: published vectors, committed vectors, a plain-Python one on drawn ids."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from siphash_oracle import OWN, PUBLISHED, message_of, siphash

from potstill.watermark import blocks, prf

KEY = bytes(range(16))


def test_the_oracle_has_the_authors_vectors() -> None:
    assert len(PUBLISHED) == 64
    for length, expected in enumerate(PUBLISHED):
        assert siphash(bytes(range(length)), KEY).to_bytes(8, "little") == expected


@pytest.mark.parametrize("ids", range(1, 16))
def test_ours_has_the_authors_vectors(ids: int) -> None:
    """Messages of ids have whole fours of bytes: fifteen of the published ones."""
    columns = np.frombuffer(bytes(range(4 * ids)), dtype="<u4").reshape(ids, 1)
    found = int(prf.siphash(list(columns), KEY)[0])
    assert found.to_bytes(8, "little") == PUBLISHED[4 * ids]


@pytest.mark.parametrize("name", ["green", "gumbel"])
def test_own_vectors(name: str) -> None:
    facts = OWN["schemes"][name]
    key = bytes.fromhex(facts["subkey"])
    for row in facts["rows"]:
        hashes = prf.siphash([np.array([i]) for i in row["ids"]], key)
        assert f"{int(hashes[0]):016x}" == row["hash"]
        assert float(prf.uniforms_of(hashes)[0]).hex() == row["uniform"]
        for rate in (0.25, 0.5):
            assert bool(prf.below(hashes, rate)[0]) is row[f"green_at_{rate}"]


@given(
    key=st.binary(min_size=16, max_size=16),
    rows=st.integers(1, 9).flatmap(
        lambda width: st.lists(
            st.lists(st.integers(0, 2**32 - 1), min_size=width, max_size=width),
            min_size=1,
            max_size=5,
        )
    ),
    dtype=st.sampled_from([np.int64, np.uint32, np.uint64]),
)
def test_ours_is_the_plain_one(key: bytes, rows: list[list[int]], dtype: type) -> None:
    columns = [np.array(column, dtype=dtype) for column in zip(*rows, strict=True)]
    expected = [siphash(message_of(row), key) for row in rows]
    assert prf.siphash(columns, key).tolist() == expected


@given(h=st.integers(0, 2**64 - 1), rate=st.floats(0.001, 0.999))
def test_a_hash_is_below_a_rate_where_its_number_is(h: int, rate: float) -> None:
    for near in (h, prf.bound_of(rate) - 1, prf.bound_of(rate), prf.bound_of(rate) + 2048):
        hashes = np.array([near], dtype=np.uint64)
        assert prf.below(hashes, rate)[0] == (prf.uniforms_of(hashes)[0] < rate)


@pytest.mark.parametrize("count", [0, 1, 32_767, 32_768, 32_769, 131_072, 131_073, 400_001])
def test_many_rows_are_each_what_they_are_alone(count: int) -> None:
    rng = np.random.default_rng(count)
    columns = list(rng.integers(0, 49_152, (3, count), dtype=np.uint32))
    found = prf.siphash(columns, KEY)
    assert found.shape == (count,)
    for at in {0, count // 2, count - 1} if count else set():
        ids = [int(column[at]) for column in columns]
        assert int(found[at]) == siphash(message_of(ids), KEY)


@pytest.mark.parametrize("count", [0, 1, 2, 40_000])
@pytest.mark.parametrize("width", [1, 2, 3, 4, 5])
def test_columns_that_are_one_number_are_hashed_like_any(count: int, width: int) -> None:
    """What messages begin, end or have in their middle alike is hashed once; bits are the same."""
    rng = np.random.default_rng(width)
    ids = rng.integers(0, 2**32, (width, count), dtype=np.uint64)
    for same in range(2**width):
        columns = list(ids)
        for place in range(width):
            if same >> place & 1:
                columns[place] = np.broadcast_to(np.uint64(place + 7), count)
        whole = [np.array(column) for column in columns]
        assert (prf.siphash(columns, KEY) == prf.siphash(whole, KEY)).all()
        assert prf.siphash(columns, KEY).shape == (count,)


def test_one_core_gives_what_many_give(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = [np.arange(300_000, dtype=np.uint32), np.arange(300_000, dtype=np.uint32)[::-1]]
    found = []
    for cores in (1, 4):
        monkeypatch.setattr(blocks, "_cores", lambda cores=cores: cores)
        found.append(prf.siphash(columns, KEY))
    assert (found[0] == found[1]).all()


def test_the_columns_that_are_given_stay_as_they_are() -> None:
    columns = [np.arange(5, dtype=np.uint64), np.arange(5, dtype=np.uint64)]
    prf.siphash(columns, KEY)
    assert columns[0].tolist() == columns[1].tolist() == [0, 1, 2, 3, 4]


def test_a_key_has_128_bits() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        prf.siphash([np.arange(3)], b"short")
