"""What of a tested group is named, and with whom it is compared."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")

from potstill.watch.campaigns import Grouping
from potstill.watch.find import named_parties
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


def test_who_uses_a_close_group_s_template_is_named_with_those_who_carry_it() -> None:
    names = tuple(f"a:{n}" for n in range(10))
    close = Grouping(names, keys=("h|k",), used=(*[40] * 8, 12, 40), close=True)
    assert named_parties(close, names[:2]) == (*names[:8], names[9])
    assert named_parties(close, names[:2], several={"a:9"}) == names[:8]
    assert named_parties(close, names[:1]) == names[:1]
    # Few have a card at all, and of these half share one.
    assert named_parties(close, names[:1], share=0.5) == (*names[:8], names[9])
    loose = replace(close, close=False)
    assert named_parties(loose, names[:2]) == names[:2]
    assert named_parties(loose, names[:5]) == (*names[:8], names[9])
    # Slot coverage alone tells nobody from another one: all who use it much.
    assert named_parties(loose, names) == (*names[:8], *names[8:])
