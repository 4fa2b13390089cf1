"""How figures are spelled."""

from __future__ import annotations

import pytest

from potstill.report import words
from potstill.work.figures import Estimate


def measured(value: float, *ends: float, n: int = 20) -> Estimate:
    return Estimate.model_validate({"value": value, "ci95": ends or None, "n": n})


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        (words.significant(0.31416), "0.314"),
        (words.significant(1234.5), "1,230"),
        (words.significant(-0.00052), "-0.000520"),
        (words.significant(0), "0"),
        (words.nats(0.07), "0.070"),
        (words.nats(0.00031), "0.000310"),
        (words.percent(0.72361), "72.4%"),
        (words.count(107_060_544), "107.1 M"),
        (words.count(160_000), "160 k"),
        (words.count(960), "960"),
        (words.count_in_words(2.14e9), "2.1 billion"),
        (words.size(428_242_176), "408 MiB"),
        (words.duration(8.42), "8.4 s"),
        (words.duration(59.7), "1 min 0 s"),
        (words.duration(691), "11 min 31 s"),
        (words.duration(7_500), "2 h 5 min"),
        (words.duration(2_678_400), "31 days"),
        (words.scientific(1.375e18), "1.4 × 10¹⁸"),
        (words.scientific(2.5e-7), "2.5 × 10⁻⁷"),
        (words.money(0.0192), "0.019 USD"),
        (words.money(1.907, "EUR"), "1.91 EUR"),
        (words.money(1e-6), "under 0.0001 USD"),
        (words.money(0), "0.00 USD"),
        (words.share_of(1.69e-4), "1/5,900 of"),
        (words.share_of(0.45), "0.45 times"),
        (words.energy(12_300), "12.3 kJ"),
        (words.energy(3.6e6), "1.00 kWh"),
        (words.span(measured(1, 0.305, 0.323)), "0.305 to 0.323"),
        (words.span(measured(1e-9, 1e-10, 2e-9), words.nats), "within rounding of 0"),
        (words.span(measured(0.1, -1e-9, 2e-9), words.nats), "within rounding of 0"),
        (
            words.span(measured(0.5, 0.5000001, 0.5000002), words.nats),
            "within rounding of 0.500",
        ),
        (words.span(measured(0, 1e-9, 0.5), words.nats), "0 to 0.500"),
    ],
)
def test_spelling(spelled: str, expected: str) -> None:
    assert spelled == expected


@pytest.mark.parametrize("spell", [
    words.significant, words.nats, words.percent, words.count, words.count_in_words, words.size,
    words.duration, words.scientific, words.money, words.fraction, words.energy,
])  # fmt: skip
@pytest.mark.parametrize("nothing", [None, float("nan"), float("inf")])
def test_nothing_measured_is_a_dash(spell: object, nothing: float | None) -> None:
    assert callable(spell)
    assert spell(nothing) == words.NOTHING


def test_what_was_not_measured_has_no_interval() -> None:
    assert words.value_of(None) is None and words.bounds_of(None) is None
    assert words.span(None) == words.with_ends(None) == words.NOTHING
    assert words.interval(None) == words.ends(None) == words.no_interval(None) == ""


def test_an_interval_says_where_it_lies_or_why_there_is_none() -> None:
    assert words.interval(measured(0.5, 0.4, 0.6)) == "95% interval 0.400 to 0.600"
    assert words.interval(measured(0.5, n=1)) == "no interval: one prompt"
    assert words.interval(measured(0.5, n=1200)) == "no interval: all 1,200 prompts alike"
    assert words.ends(measured(0.5, 0.4, 0.6)) == "0.400 to 0.600"
    assert words.ends(measured(0.5, n=1)) == "no interval: one prompt"
    assert words.with_ends(measured(0.5, 0.4, 0.6)) == "50.0% (40.0% to 60.0%)"
    assert words.with_ends(measured(0.5, n=1), words.nats) == "0.500 (no interval: one prompt)"
    # Places enough to tell the ends apart.
    assert words.span(measured(0.9998, 0.9996, 0.99995), words.percent) == "99.96% to 100.00%"
    assert words.span(measured(1, 1.00001, 1.00002)) == "1.00001 to 1.00002"


def test_differences_have_a_sign() -> None:
    assert words.signed(0.3) == "+0.300" and words.signed(-0.3) == "−0.300"
    assert words.signed(0.0) == "0" and words.signed(None) == words.NOTHING
