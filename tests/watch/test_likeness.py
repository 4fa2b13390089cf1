"""Parties with templates in common are one group, whatever else they ask and in whatever order."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.watch.campaigns import Grouping
from potstill.watch.likeness import profiles_of

SEED = 5
PARTIES = 300


def profiles(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows of pieces: two templates of 20 pieces for 12 parties each, one piece that all
    parties have, and 20 of each one's own out of 2,000. Parties 0 to 11 ask other things too."""
    rows = []
    for party in range(PARTIES):
        rows.append((party, 9_999, 1.0))
        own = rng.choice(2_000, 20, replace=False)
        rows += [(party, 100 + int(piece), 0.3 + 0.2 * rng.random()) for piece in own]
        if party < 24:
            shift = 10_000 + 100 * (party // 12)
            share = 0.5 if party < 12 else 0.8
            rows += [(party, shift + n, share * (0.8 + 0.2 * rng.random())) for n in range(20)]
    party, piece, share = map(np.asarray, zip(*rows, strict=True))
    return party, piece, share


def groups(seed: int | None = None) -> list[Grouping]:
    party, piece, share = profiles(np.random.default_rng(SEED))
    if seed is not None:
        order = np.random.default_rng(seed).permutation(len(party))
        party, piece, share = party[order], piece[order], share[order]
    names = [f"a:{n:03d}" for n in range(PARTIES)]
    return profiles_of(names, party, piece, share, PARTIES).groups


def test_two_templates_are_two_groups_and_strangers_are_in_none() -> None:
    found = [set(one.parties) for one in groups()]
    assert found == [
        {f"a:{n:03d}" for n in range(12)},
        {f"a:{n:03d}" for n in range(12, 24)},
    ]


def test_groups_do_not_hang_on_the_order_of_rows() -> None:
    first = groups()
    assert all(groups(seed) == first for seed in range(3))


def test_what_all_have_joins_nobody() -> None:
    names = [f"a:{n:03d}" for n in range(PARTIES)]
    party, piece = np.arange(PARTIES), np.zeros(PARTIES, np.int64)
    assert profiles_of(names, party, piece, np.ones(PARTIES), PARTIES).groups == []
    assert profiles_of([], party[:0], piece[:0], np.ones(0), PARTIES).groups == []


def test_what_a_group_has_in_common_is_its_template_alone() -> None:
    party, piece, share = profiles(np.random.default_rng(SEED))
    names = [f"a:{n:03d}" for n in range(PARTIES)]
    known = profiles_of(names, party, piece, share, PARTIES)
    assert known.pieces_of(names[:12]).tolist() == list(range(10_000, 10_020))
    # A template of half of the group is still one that it has in common; one of strangers is none.
    assert set(known.pieces_of(names[:24])) == {*range(10_000, 10_020), *range(10_100, 10_120)}
    assert not len(known.pieces_of(names[100:110]))
    assert not len(known.pieces_of(["a:nobody"]))
    halves = [names[:6], names[6:12], names[12:24], ["a:nobody"]]
    assert known.pairs(halves, 0.6) == [(0, 1)]
    assert known.pairs([["a:nobody"]], 0.6) == []


def test_shares_of_the_parties_find_the_same_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(SEED)
    party, piece, share = profiles(rng)
    # Parties 100 to 219 have a template too, which is common: they lie in four shares.
    many = [(who, 20_000 + n, 0.9) for who in range(100, 220) for n in range(30)]
    extra = map(np.asarray, zip(*many, strict=True))
    rows = [np.concatenate(both) for both in zip((party, piece, share), extra, strict=True)]
    names = [f"a:{n:03d}" for n in range(PARTIES)]

    def found() -> list[Grouping]:
        return profiles_of(names, rows[0], rows[1], rows[2], 20 * PARTIES).groups

    whole = found()
    assert sorted(len(one.parties) for one in whole) == [12, 12, 120]
    monkeypatch.setattr("potstill.watch.likeness._SHARE", PARTIES // 4)
    monkeypatch.setattr("potstill.watch.likeness._COMMON_TO", 50)
    assert found() == whole
