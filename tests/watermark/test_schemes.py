"""Schemes: bits and numbers as pinned, independent, at their rate; what they expect of a mark."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_keys import key_of
from scipy import stats
from siphash_oracle import OWN

from potstill.errors import PotstillError
from potstill.stats.exact import BinomialLaw, GammaLaw
from potstill.watermark.keys import MasterKey
from potstill.watermark.schemes import GreenList, Gumbel, Scheme, falling_chances

KEY = key_of("a")
BOTH = [GreenList(KEY, 2, 0.25, 2.0), Gumbel(KEY, 2)]


def rows(scheme: Scheme, count: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 49_152, (scheme.window + 1, count), dtype=np.uint32)
    return scheme.inputs(list(ids[:-1]), ids[-1])


def test_bits_and_numbers_are_pinned() -> None:
    epoch = MasterKey(bytes.fromhex(OWN["master"])).epoch(OWN["epoch"])
    for row in OWN["schemes"]["green"]["rows"]:
        columns = [np.array([i], dtype=np.uint32) for i in row["ids"]]
        for rate in (0.25, 0.5):
            scheme = GreenList(epoch, len(columns) - 1, rate, 2.0)
            scored = scheme.scores(scheme.inputs(columns[:-1], columns[-1]))
            assert scored.tolist() == [float(row[f"green_at_{rate}"])]
    for row in OWN["schemes"]["gumbel"]["rows"]:
        columns = [np.array([i], dtype=np.uint32) for i in row["ids"]]
        scheme = Gumbel(epoch, len(columns) - 1)
        inputs = scheme.inputs(columns[:-1], columns[-1])
        u = float.fromhex(row["uniform"])
        assert scheme.uniforms(inputs).tolist() == [u]
        assert scheme.scores(inputs).tolist() == pytest.approx([-math.log(1 - u)], rel=1e-12)


@pytest.mark.parametrize("scheme", BOTH, ids=lambda s: s.name)
def test_scores_follow_their_law(scheme: Scheme) -> None:
    scores = scheme.scores(rows(scheme, 100_000))
    if isinstance(scheme, Gumbel):
        assert stats.kstest(scores, "expon").pvalue > 1e-3
    else:
        assert stats.binomtest(int(scores.sum()), len(scores), 0.25).pvalue > 1e-3
    assert scores.mean() == pytest.approx(scheme.law.mean, abs=0.02)
    assert scores.std() == pytest.approx(scheme.law.spread, abs=0.02)


@pytest.mark.parametrize("scheme", BOTH, ids=lambda s: s.name)
def test_the_tokens_of_one_window_have_numbers_that_know_nothing_of_each_other(
    scheme: Scheme,
) -> None:
    """A permuted list would be greener here where it is less green there."""
    tokens = np.arange(20_000, dtype=np.uint32)
    window = [np.zeros_like(tokens)] * 2
    one = scheme.scores(scheme.inputs(window, tokens))
    other = scheme.scores(scheme.inputs([window[0], window[1] + 1], tokens))
    assert abs(np.corrcoef(one[:-1], one[1:])[0, 1]) < 0.025
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.025


@pytest.mark.parametrize("scheme", BOTH, ids=lambda s: s.name)
def test_decoys_are_other_keys_of_the_same_scheme(scheme: Scheme) -> None:
    decoys = [scheme.decoy(i) for i in (0, 1, 1)]
    assert len({scheme.key_id, *(d.key_id for d in decoys)}) == 3
    assert all(d.parameters() == scheme.parameters() for d in decoys)
    inputs = rows(scheme, 2_000)
    assert abs(np.corrcoef(scheme.scores(inputs), decoys[0].scores(inputs))[0, 1]) < 0.1


def test_what_a_text_is_stored_under_names_key_scheme_and_parameters() -> None:
    schemes = [
        GreenList(KEY, 1, 0.5, 2.0),
        GreenList(KEY, 2, 0.5, 2.0),
        GreenList(KEY, 1, 0.25, 2.0),
        GreenList(KEY, 1, 0.5, 1.0),
        GreenList(key_of("b"), 1, 0.5, 2.0),
        Gumbel(KEY, 1),
    ]
    assert len({s.mark_id for s in schemes}) == len(schemes)
    assert schemes[0].mark_id == GreenList(KEY, 1, 0.5, 2.0).mark_id
    assert KEY.secret.hex() not in repr(schemes)


def test_laws_are_those_of_the_schemes() -> None:
    assert GreenList(KEY, 1, 0.3, 2.0).law == BinomialLaw(0.3)
    assert Gumbel(KEY, 1).law == GammaLaw(1)


@pytest.mark.parametrize(
    ("gamma", "delta", "window", "why"),
    [
        (0.0, 2.0, 1, "gamma lies between 0 and 1"),
        (1.0, 2.0, 1, "gamma lies between 0 and 1"),
        (0.5, 0.0, 1, "delta is a number above 0"),
        (0.5, math.inf, 1, "delta is a number above 0"),
        (0.5, math.nan, 1, "delta is a number above 0"),
        (0.5, 2.0, 0, "window is 1 to 16 tokens"),
        (0.5, 2.0, 17, "window is 1 to 16 tokens"),
    ],
)
def test_parameters_out_of_range_are_refused(
    gamma: float, delta: float, window: int, why: str
) -> None:
    with pytest.raises(PotstillError, match=why):
        GreenList(KEY, window, gamma, delta)


@pytest.mark.parametrize("entropy", [0.0, 0.1, 1.0, 3.0, 6.0])
def test_assumed_chances_have_the_entropy_that_is_asked_for(entropy: float) -> None:
    p = falling_chances(entropy)
    assert p.sum() == pytest.approx(1)
    assert -(p[p > 0] * np.log(p[p > 0])).sum() == pytest.approx(entropy, abs=2e-3)


@pytest.mark.parametrize("entropy", [0.0, 0.5, 2.0, 4.0])
def test_the_expected_score_is_what_marking_such_text_gives(entropy: float) -> None:
    """By simulation, with plain numbers in place of the keyed function."""
    p, rng = falling_chances(entropy), np.random.default_rng(3)
    u = rng.random((20_000, len(p)))
    green = u < 0.25
    tilted = np.where(green, math.e**2, 1.0) * p
    share = ((tilted * green).sum(1) / tilted.sum(1)).mean()
    assert BOTH[0].expected(entropy) == pytest.approx(share, abs=0.01)
    won = u[np.arange(len(u)), np.argmin(-np.log(u) / p, axis=1)]
    assert BOTH[1].expected(entropy) == pytest.approx(-np.log1p(-won).mean(), rel=0.03)


def test_a_sure_model_s_text_is_expected_to_show_nothing() -> None:
    assert BOTH[0].expected(0.0) == pytest.approx(0.25, abs=0.01)
    assert BOTH[1].expected(0.0) == pytest.approx(1.0)
    assert BOTH[1].expected(50.0) == BOTH[1].expected(7.0)
