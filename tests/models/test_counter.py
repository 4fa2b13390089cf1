"""The numbers of a key: today's stream of numpy's Generator, and a stream of its own for each."""

from __future__ import annotations

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from potstill.models.counter import more_uniforms, more_uniforms_of, uniforms

PINNED = ["0x1.5fef1c16ace07p-1", "0x1.236743881e3cep-1", "0x1.fbd4a127a6acbp-1"]


@given(key=st.text(max_size=80), count=st.integers(0, 300))
def test_numbers_are_those_of_numpy_s_generator_bit_by_bit(key: str, count: int) -> None:
    """What stored exchanges were drawn with, before numbers were made of the raw stream."""
    digest = blake3(key.encode()).digest(length=16)
    generator = np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))
    assert uniforms(key, count).tobytes() == generator.random(count).tobytes()


def test_numbers_are_pinned() -> None:
    """A version of numpy with another stream would draw other texts under the same ids."""
    assert [float(x).hex() for x in uniforms("exchange", 3)] == PINNED


@given(key=st.text(max_size=20), counts=st.tuples(st.integers(0, 60), st.integers(0, 60)))
def test_a_position_s_number_does_not_depend_on_how_many_are_asked_for(
    key: str, counts: tuple[int, int]
) -> None:
    few, many = sorted(counts)
    assert uniforms(key, many)[:few].tolist() == uniforms(key, few).tolist()


def test_keys_have_numbers_of_their_own() -> None:
    assert uniforms("a", 8).tolist() != uniforms("b", 8).tolist()
    every = np.concatenate([uniforms(str(i), 50) for i in range(200)])
    assert len(set(every.tolist())) == len(every)
    assert stats.kstest(every, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("position", [0, 1, 3, 4, 5])
def test_numbers_at_one_position_are_uniform_over_keys(position: int) -> None:
    """Philox makes four numbers at a time: none of them may lean on its place among them."""
    column = [float(uniforms(f"exchange-{i}", position + 1)[position]) for i in range(2_000)]
    assert min(column) >= 0
    assert max(column) < 1
    assert stats.kstest(column, "uniform").pvalue > 1e-4


MORE = {0: "0x1.d3f71793f85a0p-5", 700: "0x1.e8f1188f5a9ccp-2"}


def test_more_numbers_are_pinned() -> None:
    for position, first in MORE.items():
        assert float(more_uniforms("exchange", position, 1)[0]).hex() == first


def test_more_numbers_of_a_position_are_shared_with_nothing() -> None:
    every = [uniforms("a", 2_000), *(more_uniforms("a", position, 40) for position in range(100))]
    numbers = np.concatenate(every)
    assert len(set(numbers.tolist())) == len(numbers)
    assert stats.kstest(np.concatenate(every[1:]), "uniform").pvalue > 1e-3
    assert more_uniforms("a", 7, 9)[:4].tolist() == more_uniforms("a", 7, 4).tolist()
    assert more_uniforms("b", 7, 4).tolist() != more_uniforms("a", 7, 4).tolist()


def test_rows_have_the_numbers_that_each_has_alone() -> None:
    """Also the ones that numpy gives where a counter starts as the page says."""
    keys, positions = ["a", "b", "a", "c"], [7, 0, 8, 2**40]
    found = more_uniforms_of(keys, positions, 9)
    for row, (key, position) in enumerate(zip(keys, positions, strict=True)):
        assert found[row].tolist() == more_uniforms(key, position, 9).tolist()
        digest = int.from_bytes(blake3(key.encode()).digest(length=16), "little")
        counter = np.random.Philox(key=digest, counter=(position + 1) << 128)
        assert found[row].tolist() == np.random.Generator(counter).random(9).tolist()
    assert more_uniforms_of([], [], 9).shape == (0, 9)
