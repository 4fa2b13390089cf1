"""How figures are spelled."""

from __future__ import annotations

import pytest

from potstill.report import words


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
        (words.span({"value": 1, "ci95": [0.305, 0.323]}), "0.305 to 0.323"),
        (words.span({"value": 1e-9, "ci95": [1e-10, 2e-9]}, words.nats), "within rounding of 0"),
        (words.span({"value": 0.1, "ci95": [-1e-9, 2e-9]}, words.nats), "within rounding of 0"),
        (
            words.span({"value": 0.5, "ci95": [0.5000001, 0.5000002]}, words.nats),
            "within rounding of 0.500",
        ),
        (words.span({"value": 0, "ci95": [1e-9, 0.5]}, words.nats), "0 to 0.500"),
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


def test_missing_and_malformed_intervals() -> None:
    assert words.value_of(None) is None
    assert words.value_of({"value": None}) is None
    assert words.bounds_of({"value": 1.0, "ci95": [None, 2.0]}) is None
    assert words.bounds_of({"value": 1.0, "ci95": [1.0]}) is None
    assert words.span(None) == words.NOTHING
    assert words.at({"a": {"b": 3}}, "a.b") == 3
    assert words.at({"a": 3}, "a.b.c") is None
