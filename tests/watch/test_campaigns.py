"""Groups are the same whatever the order of rows, and a public prompt joins nobody."""

from __future__ import annotations

import math
import random

import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.watch.campaigns import communities, most_parties, stable_id
from potstill.watch.judging import BESIDE_TEMPLATES, families_held, two_families_log_e

INF = math.inf


def edges() -> list[tuple[str, str]]:
    """Return two groups of six with five values each, one that all share, and a stranger."""
    found = [("public", f"a:{n}") for n in range(200)]
    for group in range(2):
        for value in range(5):
            found += [(f"v{group}{value}", f"a:{10 * group + n}") for n in range(6)]
    return [*found, ("v00", "a:99"), ("alone", "a:100"), ("alone", "a:101")]


def test_groups_do_not_hang_on_the_order_of_rows() -> None:
    first = communities(edges(), 1_000)
    for seed in range(5):
        rows = edges()
        random.Random(seed).shuffle(rows)
        assert communities(rows, 1_000) == first


def test_what_too_many_share_joins_nobody() -> None:
    assert most_parties(1_000) == 100
    found = communities(edges(), 1_000)
    assert [set(one.parties) - {"a:99"} for one in found] == [
        {f"a:{n}" for n in range(6)},
        {f"a:{n}" for n in range(10, 16)},
    ]
    assert found[1].values == tuple(f"v1{value}" for value in range(5))


def test_an_id_stays_with_who_came_first() -> None:
    assert stable_id("a:1") == stable_id("a:1") != stable_id("a:2")
    assert stable_id("a:1", "templates") != stable_id("a:1")


PARTS = ("spread", "sharding", "clock", "rounds", "hand-off", "means", "places", "intent")


def test_one_family_is_never_enough() -> None:
    for part in PARTS:
        parts = dict.fromkeys(PARTS, -INF)
        parts[part] = 100.0
        found = two_families_log_e("templates", parts)  # type: ignore[arg-type]
        # Templates chose the group: what no class has is a second family; its room is none.
        assert (found > 90) == (part in BESIDE_TEMPLATES)
        assert two_families_log_e("templates", parts, "content") == -INF  # type: ignore[arg-type]


def test_templates_are_a_family_beside_what_no_class_has() -> None:
    assert BESIDE_TEMPLATES == ("means", "hand-off", "rounds")
    parts = {"clock": 9.0, "means": 9.0}
    assert families_held("templates", parts, 8.0) == ("content", "infrastructure", "time")  # type: ignore[arg-type]
    parts = {"clock": 9.0, "places": 9.0}
    assert families_held("templates", parts, 8.0) == ("infrastructure", "time")  # type: ignore[arg-type]
    joined = {"spread": 9.0, "clock": -INF}
    assert two_families_log_e("means", joined) > 8  # type: ignore[arg-type]
    assert two_families_log_e("places", joined) == -INF  # type: ignore[arg-type]


def test_a_class_is_no_case_and_a_pool_is() -> None:
    room = {"sharding": -INF, "clock": 50.0, "hand-off": -INF, "places": 50.0, "intent": 50.0}
    assert two_families_log_e("templates", room) == -INF  # type: ignore[arg-type]
    assert two_families_log_e("places", room) == -INF  # type: ignore[arg-type]
    pool = {**room, "hand-off": 50.0}
    assert two_families_log_e("places", pool) > 48  # type: ignore[arg-type]
    assert two_families_log_e("places", pool, "time") == -INF  # type: ignore[arg-type]


def test_the_average_over_pairs_is_paid_for_each() -> None:
    parts = {"sharding": 9.0, "clock": 7.0, "means": -INF}
    # One pair and the means alone, of which one holds: half of the lesser e-value.
    found = two_families_log_e("templates", parts)  # type: ignore[arg-type]
    assert found == pytest.approx(7.0 - math.log(2))
    assert families_held("means", parts, 8.0) == ("content", "infrastructure")  # type: ignore[arg-type]
