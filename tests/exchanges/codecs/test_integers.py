"""Integers come back as they went in, in the bits that their codes promise."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.exchanges.codecs import integers


@settings(max_examples=200)
@given(st.integers(1, 10**7), st.data())
def test_ascending_values_come_back_and_the_length_is_told(
    universe: int, data: st.DataObject
) -> None:
    values = sorted(data.draw(st.sets(st.integers(0, universe - 1), max_size=60)))
    bits = integers.ascending_bits(np.array(values, np.int64), universe)
    padded = np.concatenate([bits, np.ones(5, np.uint8)])
    found, end = integers.ascending_from(padded, len(values), universe)
    assert found.tolist() == values
    assert end == len(bits)


@settings(max_examples=200)
@given(st.lists(st.integers(1, 2**40), max_size=60))
def test_counts_come_back_in_gamma_codes_length(counts: list[int]) -> None:
    bits = integers.count_bits(np.array(counts, np.int64))
    assert len(bits) == sum(2 * (count.bit_length() - 1) + 1 for count in counts)
    padded = np.concatenate([bits, np.ones(5, np.uint8)])
    found, end = integers.counts_from(padded, len(counts))
    assert found.tolist() == counts
    assert end == len(bits)


@given(st.integers(1, 40), st.lists(st.integers(0, 2**40), max_size=20))
def test_fixed_fields_come_back(width: int, values: list[int]) -> None:
    kept = np.array([value % 2**width for value in values], np.int64)
    assert integers.fixed_from(integers.fixed_bits(kept, width), width).tolist() == kept.tolist()


def test_spread_ids_cost_what_elias_and_fano_say() -> None:
    """At most 2 + log2(universe / N) bits a value, and a bit for rounding."""
    rng = np.random.default_rng(0)
    universe = 151_936 * 100
    values = np.sort(rng.choice(universe, 1500, replace=False))
    bits = integers.ascending_bits(values, universe)
    assert len(bits) / len(values) < 2 + np.log2(universe / len(values)) + 1


@given(st.lists(st.integers(0, 1), max_size=40))
def test_bits_come_back_from_bytes(bits: list[int]) -> None:
    data = integers.to_bytes(np.array(bits, np.uint8))
    assert len(data) == -(-len(bits) // 8)
    assert integers.from_bytes(data)[: len(bits)].tolist() == bits
