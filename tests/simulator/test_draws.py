"""Keys, names, fitted clients and failure rates, against what they are said to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from traffic import freeze

from potstill.simulator import columns
from potstill.simulator.covers import MODELS, hour_shares
from potstill.simulator.fit import FAILURES, clients, fitted, hours
from potstill.simulator.hashing import digit, keyed, mixed, names, uniform
from potstill.simulator.people import DAY_S
from potstill.simulator.phrases import book
from potstill.simulator.rows import OK, bursty, clock

KEYS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20)


def splitmix(state: int) -> int:
    """Return SplitMix64's first output, in Python's own integers."""
    z = (state + 0x9E3779B97F4A7C15) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    return z ^ z >> 31


@given(KEYS)
def test_mixed_is_splitmix64(keys: list[int]) -> None:
    found = mixed(np.array(keys, dtype=np.uint64))
    assert found.tolist() == [splitmix(key) for key in keys]


def test_mixed_gives_the_published_first_output() -> None:
    assert mixed(np.zeros(1, dtype=np.uint64)).tolist() == [0xE220A8397B1DCDAF]


@given(KEYS, st.booleans())
def test_names_are_hexadecimal(keys: list[int], hide: bool) -> None:
    missing = np.array([hide and key % 2 == 0 for key in keys])
    found = names("a_", np.array(keys, dtype=np.uint64), missing)
    found.validate(full=True)
    wanted = [None if m else f"a_{key:016x}" for key, m in zip(keys, missing, strict=True)]
    assert found.to_pylist() == wanted


def test_digits_and_uniforms_are_even_and_differ_from_place_to_place() -> None:
    keys = keyed(7, np.arange(60_000))
    for place in (0, 5, 90):
        counts = np.bincount(digit(keys, place, 6), minlength=6)
        assert abs(counts - 10_000).max() < 5 * (60_000 * 5 / 36) ** 0.5
        assert abs(uniform(keys, place).mean() - 0.5) < 5 * (1 / 12 / 60_000) ** 0.5
    assert abs(np.corrcoef(uniform(keys, 0), uniform(keys, 1))[0, 1]) < 0.02


def test_clients_have_servegens_quantiles_and_correlation() -> None:
    drawn = clients(np.random.default_rng(3), 40_000)
    kept = fitted()["pools"]["language"]
    for name in ("log_rate", "input_mu", "output_mu", "log_cv"):
        low, middle, high = np.interp(
            (0.25, 0.5, 0.75), fitted()["probabilities"], kept["quantiles"][name]
        )
        spread = high - low
        for share, wanted in ((0.25, low), (0.5, middle), (0.75, high)):
            assert abs(np.quantile(drawn[name], share) - wanted) < 0.05 * spread
    lengths = np.corrcoef(*(np.argsort(np.argsort(drawn[n])) for n in ("input_mu", "output_mu")))[
        0, 1
    ]
    assert 0.4 < lengths < 0.7
    assert fitted()["pools"]["language"]["clients"] > 200


def test_days_follow_the_hours_they_are_given() -> None:
    assert abs(hours().sum() - 1) < 1e-9
    moments = np.random.default_rng(5).random(50_000)
    for day in ("fitted", "office", "lessons", "night", "even"):
        second = clock(moments, day, np.zeros(50_000, dtype=np.bool_), np.full(50_000, 8.0))
        local = np.bincount(((second + 8 * 3_600) % DAY_S // 3_600).astype(int), minlength=24)
        assert np.abs(local / 50_000 - hour_shares(day)).max() < 0.01


def test_gaps_are_as_bursty_as_they_are_asked_to_be() -> None:
    rng = np.random.default_rng(9)
    for cv in (0.5, 1.0, 3.0):
        moments = bursty(rng, np.array([40_000, 3]), np.array([cv, 1.0], dtype=np.float32))
        assert len(moments) == 40_003
        gaps = np.diff(moments[:40_000])
        assert (gaps >= 0).all()
        assert abs(gaps.std() / gaps.mean() / cv - 1) < 0.1


def test_requests_fail_at_burstgpts_rates() -> None:
    key = keyed(21, np.arange(60_000))
    fine = np.full(len(key), OK, dtype=np.int16)
    for name, rate in (("still-base", FAILURES[0]), ("still-large", FAILURES[1])):
        model = np.full(len(key), MODELS.index(name))
        status = columns._statuses(key, fine, model, np.zeros(len(key), dtype=np.bool_))
        failed = int((status != OK).sum())
        interval = binomtest(failed, len(key)).proportion_ci(0.999)
        assert interval.low <= rate <= interval.high
        assert set(status.tolist()) == {200, 400, 429, 500, 503}


def test_every_place_of_every_grammar_has_phrases() -> None:
    words = book()
    last = words.first_GLIK + words.width_GLIK
    assert last.max() <= len(words.plain)
    assert words.first_GLIK.min() >= 0
    # Only the places behind a grammar's end are empty.
    empty = words.first_GLIK == 0
    assert (np.diff(empty.astype(int), axis=-1) >= 0).all()
    assert not empty[..., 0].any()


def test_the_simulator_is_frozen() -> None:
    """A change of its sources needs a new VERSION: raise it in spec.py, then run freeze.py."""
    *_, today = freeze.frozen()[freeze.version()]
    assert (today.sources, today.place) == (freeze.digest(), freeze.PLACE)
    assert freeze.version() == max(freeze.frozen())


def test_sources_of_one_version_make_the_same_rows_wherever_they_were() -> None:
    """The first line of version 1 was computed by the modules in benchmarks/traffic."""
    every = freeze.frozen()[1]
    assert [one.place for one in every] == ["benchmarks/traffic", "src/potstill/simulator"]
    assert len({one.sources for one in every}) == 2
    assert {one.rows for one in every} == {freeze.rows_digest()}


def test_a_changed_row_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = freeze.rows_digest()
    monkeypatch.setattr(columns, "_ADDRESSES_A_NETWORK", 9)
    assert freeze.rows_digest() != before


def test_a_changed_source_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    copy = tmp_path / "simulator"
    shutil.copytree(freeze.SOURCES, copy)
    monkeypatch.setattr(freeze, "SOURCES", copy)
    before = freeze.digest()
    words = copy / "words" / "de.json"
    words.write_text(words.read_text(encoding="utf-8").replace("Danke.", "Dank."), encoding="utf-8")
    assert freeze.digest() != before
