"""Groups by keys of clients: a pool among strangers, whatever else its accounts ask."""

from __future__ import annotations

import random
import tracemalloc

import numpy as np
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.watch import keys
from potstill.watch.campaigns import Grouping
from potstill.watch.keys import key_groups

SEED = 3


def grouped(uses: list[tuple[str, str, int]], every: int) -> list[Grouping]:
    """Return the groups that uses (party, key, times) make."""
    parties = sorted({party for party, _, _ in uses})
    keys = sorted({key for _, key, _ in uses})
    return key_groups(
        parties,
        keys,
        np.array([parties.index(party) for party, _, _ in uses]),
        np.array([keys.index(key) for _, key, _ in uses]),
        np.array([n for _, _, n in uses]),
        every,
    )


def strangers(rng: random.Random, count: int, keys: int) -> list[tuple[str, str, int]]:
    """Return uses of parties with three keys each, drawn from many."""
    return [
        (f"s{number}", f"s|own{key}", rng.randrange(1, 30))
        for number in range(count)
        for key in rng.sample(range(keys), 3)
    ]


def pool(rng: random.Random, count: int, templates: int, each: int) -> list[tuple[str, str, int]]:
    """Return uses of parties that work with some of a pool's templates, two keys a template."""
    return [
        (f"p{number}", f"{end[0]}|pool{template}\n{end}", rng.randrange(2, 5))
        for number in range(count)
        for template in rng.sample(range(templates), each)
        for end in ("head", "tail")
    ]


@pytest.mark.parametrize(("templates", "each"), [(1, 1), (8, 3), (64, 12)])
def test_a_pool_is_one_group_however_much_else_its_parties_ask(templates: int, each: int) -> None:
    rng = random.Random(SEED)
    uses = strangers(rng, 800, 1_200) + pool(rng, 60, templates, each)
    # Each of the pool also has keys as strangers have.
    uses += [(f"p{n}", f"s|own{key}", 50) for n in range(60) for key in rng.sample(range(1_200), 3)]
    found = grouped(uses, 860)
    mine = max(found, key=lambda one: sum(party.startswith("p") for party in one.parties))
    inside = sum(party.startswith("p") for party in mine.parties)
    assert inside >= 57 and inside >= 0.9 * len(mine.parties)
    assert len(mine.used) == len(mine.parties) and min(mine.used) >= 2


def test_strangers_make_no_group_to_speak_of() -> None:
    rng = random.Random(SEED)
    found = grouped(strangers(rng, 900, 1_200), 900)
    assert all(len(one.parties) <= 8 for one in found)


def test_two_pools_that_some_parties_join_stay_two() -> None:
    rng = random.Random(SEED)
    one, other = pool(rng, 40, 4, 3), pool(rng, 40, 4, 3)
    other = [(f"q{party}", f"{key[:2]}q{key[2:]}", n) for party, key, n in other]
    bridge = [
        (party, f"{key[:2]}q{key[2:]}", n) for party, key, n in one if party in ("p1", "p2", "p3")
    ]
    found = grouped(one + other + bridge + strangers(rng, 800, 3_000), 880)
    sizes = [
        (sum(p.startswith("p") for p in g.parties), sum(p.startswith("q") for p in g.parties))
        for g in found
    ]
    assert (40, 0) in sizes and any(q == 40 and p <= 3 for p, q in sizes)


def test_the_order_of_rows_decides_nothing() -> None:
    rng = random.Random(SEED)
    uses = strangers(rng, 300, 400) + pool(rng, 30, 8, 3)
    once = grouped(uses, 330)
    rng.shuffle(uses)
    assert grouped(uses, 330) == once


def test_a_key_that_was_tried_once_makes_no_member() -> None:
    uses = [(f"p{n}", key, 3) for n in range(6) for key in ("h|one", "t|one")]
    uses += [("tried", "h|one", 1)]
    (found,) = grouped(uses, 200)
    # Seven have one of the two keys, six the other one.
    assert "tried" not in found.parties and found.used == (13,) * 6
    assert found.keys == ("h|one", "t|one")


def test_a_client_in_two_languages_is_one_group_beside_both() -> None:
    uses = [
        (f"p{n}", f"{sort}|client{template}\n{n % 2}", 3)
        for n in range(12)
        for sort in ("h", "t")
        for template in range(2)
    ]
    found = grouped(uses, 400)
    assert sorted(len(one.parties) for one in found) == [6, 6, 12]


def test_what_parties_with_very_many_keys_have_in_common_is_counted_in_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(SEED)
    uses = strangers(rng, 400, 600) + pool(rng, 40, 8, 3)
    # As a gateway has: all pairs of its keys would be a million.
    uses += [(f"g{n}", f"s|own{key:04}", 1) for n in range(2) for key in range(1_000)]
    whole = grouped(uses, 442)
    monkeypatch.setattr(keys, "_PAIRS", 1_000)
    tracemalloc.start()
    try:
        assert grouped(uses, 442) == whole
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000
