"""What of a tested group is named, and with whom it is compared."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

pytest.importorskip("ibis", reason="campaigns are found with the extra `watch`")

from potstill.watch.evidence import Part
from potstill.watch.strata import pooled
from potstill.watch.tally import HELD, Tested
from potstill.watch.testing import coded

PARTIES = ("a:1", "a:2", "a:3", "a:4")


def found_with(carriers: dict[Part, set[str]], **parts: float) -> Tested:
    return Tested(
        {part.replace("_", "-"): log_e for part, log_e in parts.items()},  # type: ignore[misc]
        (),
        {part: frozenset(names) for part, names in carriers.items()},
    )


def test_only_those_in_whom_something_shows_are_named() -> None:
    carriers: dict[Part, set[str]] = {"clock": {"a:1", "a:2"}, "means": {"a:2", "a:4"}}
    both = found_with(carriers, clock=HELD, means=9.0, places=-1.0)
    assert both.carried_by(PARTIES, "templates") == ("a:1", "a:2", "a:4")
    one = found_with(carriers, clock=HELD - 0.1, means=9.0)
    assert one.carried_by(PARTIES, "templates") == ("a:2", "a:4")


def test_who_shows_what_convicts_nobody_is_not_named() -> None:
    """A hackathon's people share a place, and a template with a campaign on one relay."""
    carriers: dict[Part, set[str]] = {"places": {"a:1", "a:2", "a:3"}, "means": {"a:4"}}
    beside = found_with(carriers, places=9.0, means=9.0)
    assert beside.carried_by(PARTIES, "templates") == ("a:4",)
    # With hand-offs places are a pair.
    pair = found_with(carriers | {"hand-off": {"a:4"}}, places=9.0, hand_off=9.0)
    assert pair.carried_by(PARTIES, "templates") == PARTIES
    chosen = found_with({"intent": {"a:1"}, "clock": {"a:2"}}, intent=9.0, clock=9.0)
    assert chosen.carried_by(PARTIES, "means") == ("a:1", "a:2")
    assert chosen.carried_by(PARTIES, "places") == PARTIES


def test_all_are_named_where_it_cannot_be_told_or_nothing_holds() -> None:
    carriers: dict[Part, set[str]] = {"means": {"a:2", "a:4"}}
    dealt = found_with(carriers, sharding=9.0, means=9.0)
    assert dealt.carried_by(PARTIES, "templates") == PARTIES
    assert dealt.carried_by(PARTIES, "templates", told=True) == ("a:2", "a:4")
    nothing = found_with(carriers, means=-math.inf)
    assert nothing.carried_by(PARTIES, "templates") == PARTIES


def test_products_that_few_use_are_compared_within_the_zone() -> None:
    zones = ["Berlin"] * 60 + ["Berlin"] * 9 + ["Paris"] * 5
    products = ["api"] * 60 + ["batch"] * 4 + ["code"] * 5 + ["api"] * 5
    found = pooled(zones, products)
    assert found[:60] == ["Berlin|api"] * 60
    assert set(found[60:69]) == {"Berlin|"} and set(found[69:]) == {"Paris|"}


def test_values_of_several_batches_are_numbered_together() -> None:
    parts = [pa.array(["b", "a"]), pa.array(["c", "a"])]
    for column in (parts, [one.dictionary_encode() for one in parts]):
        names, places = coded(pa.chunked_array(column))
        assert names == ["a", "b", "c"] and places.tolist() == [1, 0, 2, 0]
