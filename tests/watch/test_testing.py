"""What of a tested group is named, and with whom it is compared."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")

from potstill.watch.strata import pooled
from potstill.watch.tally import HELD, Tested

PARTIES = ("a:1", "a:2", "a:3", "a:4")


def test_only_those_in_whom_something_shows_are_named() -> None:
    carriers = {"clock": frozenset({"a:1", "a:2"}), "means": frozenset({"a:2", "a:4"})}
    both = Tested({"clock": HELD, "means": 9.0, "places": -1.0}, (), carriers)  # type: ignore[arg-type]
    assert both.carried_by(PARTIES) == ("a:1", "a:2", "a:4")
    one = Tested({"clock": HELD - 0.1, "means": 9.0}, (), carriers)  # type: ignore[arg-type]
    assert one.carried_by(PARTIES) == ("a:2", "a:4")


def test_all_are_named_where_it_cannot_be_told_or_nothing_holds() -> None:
    carriers = {"means": frozenset({"a:2", "a:4"})}
    dealt = Tested({"sharding": 9.0, "means": 9.0}, (), carriers)  # type: ignore[arg-type]
    assert dealt.carried_by(PARTIES) == PARTIES
    assert dealt.carried_by(PARTIES, told=True) == ("a:2", "a:4")
    nothing = Tested({"means": -math.inf}, (), carriers)  # type: ignore[arg-type]
    assert nothing.carried_by(PARTIES) == PARTIES


def test_products_that_few_use_are_compared_within_the_zone() -> None:
    zones = ["Berlin"] * 60 + ["Berlin"] * 9 + ["Paris"] * 5
    products = ["api"] * 60 + ["batch"] * 4 + ["code"] * 5 + ["api"] * 5
    found = pooled(zones, products)
    assert found[:60] == ["Berlin|api"] * 60
    assert set(found[60:69]) == {"Berlin|"} and set(found[69:]) == {"Paris|"}
