"""What a plan takes from the table of what tests found in controls: what is about its own tests."""

from __future__ import annotations

import bundles
import pytest

from potstill.trace.finding import TraceRecord
from potstill.trace.limits import KnownLimit, limits_for, limits_of, packaged_limits
from potstill.trace.marks import PlannedMark
from potstill.trace.marks_in_choices import MarksInChoicesPlanned, PlannedReading
from potstill.trace.plan import ChainPlace, Tried
from potstill.trace.twins import ServedExchange, TwinsPlanned
from potstill.trace.weights import Shape, WeightsPlanned

PLACE = ChainPlace(records=1, head="h", tried=Tried())
_POINT = {"what": "with all of the text marked", "share": 1.0, "found": 1, "of": 2, "scores": 9}


def known(**values: object) -> KnownLimit:
    base = {"parameters": 10, "alpha": 1e-4, "points": [_POINT], "measured": "a zoo"}
    return KnownLimit.model_validate({"test": "watermark-reading", **base, **values})


def reading(configuration: str, scheme: str, parameters: dict[str, float]) -> TraceRecord:
    mark = PlannedMark(
        scheme=scheme,
        parameters=parameters,
        window=1,
        key_id="k",
        tokenizer="t",
        vocabulary=9,
        rate=0.5,
    )
    readings = (PlannedReading(text="-", positions=(1,)),)
    return MarksInChoicesPlanned(configuration=configuration, mark=mark, readings=readings, n=1)


def twins(configuration: str, mark: str | None) -> TwinsPlanned:
    return TwinsPlanned(
        configuration=configuration,
        exchanges=(ServedExchange(prompt="a", served="b", twins=3),),
        snapshot="s",
        temperature=1.0,
        marked_with=mark,
    )


def test_a_limit_is_of_the_same_mark_with_the_same_settings() -> None:
    settings = {"window": 1.0, "gamma": 0.5, "delta": 2.0}
    table = (
        known(scheme="green", settings=settings),
        known(scheme="green", settings=settings, parameters=200),
        known(scheme="green", settings=settings, test="watermark-text"),
        known(scheme="gumbel", settings={"window": 1.0}),
    )
    same = reading("a", "green", {"window": 1, "gamma": 0.5, "delta": 2})
    weaker = reading("b", "green", {"window": 1, "gamma": 0.5, "delta": 1})
    found = limits_for([same, weaker], table)  # type: ignore[list-item]
    assert [(one.configuration, one.parameters) for one in found] == [("a", 10), ("a", 200)]
    assert found[0].points == table[0].points
    assert limits_of(found, "watermark-reading", "b") == []
    assert limits_of(found, "watermark-reading", "a") == list(found)


def test_twins_have_the_limit_of_a_log_that_is_marked_alike() -> None:
    table = (known(test="twins"), known(test="twins", scheme="green", parameters=11))
    found = limits_for([twins("plain", None), twins("marked", "green")], table)
    assert [(one.configuration, one.parameters) for one in found] == [("plain", 10), ("marked", 11)]


def test_a_test_without_a_mark_has_the_limit_of_its_name() -> None:
    shape = Shape(blocks=2, hidden=4, ffn=8, readers=2)
    weights = WeightsPlanned(parent="p", parent_shape=shape, suspect_shape=shape)
    (found,) = limits_for([weights], (known(test="weights"), known(test="order")))
    assert found.test == "weights"


@pytest.mark.parametrize("scheme", ["green", "gumbel"])
def test_the_packaged_table_is_of_several_shares_and_has_innocents(scheme: str) -> None:
    rows = [one for one in packaged_limits() if one.scheme == scheme]
    assert {"watermark-text", "watermark-reading"} <= {one.test for one in rows}
    for row in rows:
        assert row.innocents > 0
        assert all(point.found <= point.of for point in row.points)
    shares = {point.share for row in rows for point in row.points}
    assert {1.0, 0.05} <= shares


def test_a_plan_with_limits_is_spelt_and_read_again() -> None:
    mark = bundles.planned()
    rows = (known(test="watermark-text", scheme="green", settings=mark.mark.parameters),)
    (limit,) = limits_for([mark], rows)
    made = bundles.plan(PLACE, (mark,), limits=(limit,))
    assert type(made).model_validate_json(made.as_bytes()).limits == (limit,)
