"""What a dry run prints adds up."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest

from potstill.cli.budget import estimate_lines
from potstill.collect.served.pending import AskingEstimate


def parts(*money: float | None) -> list[tuple[str, AskingEstimate]]:
    return [
        (f"part {n}", AskingEstimate(1_000 + n, 2_000 + n, 30_000 + n, 400_000 + n, amount))
        for n, amount in enumerate(money)
    ]


@pytest.mark.parametrize(
    "money",
    [
        (0.0071, 0.00049, 0.0132),
        (0.005, 0.005, 0.005),
        (1.004, 1.004),
        (1234.5678, 0.001),
        (0.00001234, 0.00000011),
        (0.0, 0.0),
        (3.0,),
        (1e-12,),
    ],
)
def test_the_lines_sum_to_the_last_and_no_line_says_less_than_it_may_cost(
    money: tuple[float, ...],
) -> None:
    *lines, last = estimate_lines(parts(*money), "USD")
    assert len(lines) == len(money)
    for pattern in (r"([\d,]+) responses", r"about ([\d,]+)", r"at most ([\d,]+) response"):
        found = [int(re.findall(pattern, line)[0].replace(",", "")) for line in [*lines, last]]
        assert sum(found[:-1]) == found[-1]
    shown = [Decimal(re.findall(r"at most ([\d.]+) USD", line)[0]) for line in [*lines, last]]
    assert sum(shown[:-1]) == shown[-1]
    for amount, said in zip(money, shown, strict=False):
        assert Decimal(repr(amount)) <= said <= Decimal(repr(amount)) + Decimal("0.01")
    assert last.endswith("nothing was asked")


@pytest.mark.parametrize("money", [(None,), (None, None), (0.5, None)])
def test_without_all_prices_there_is_no_total(money: tuple[float | None, ...]) -> None:
    *lines, last = estimate_lines(parts(*money), "EUR")
    assert "no prices stated" in last and "EUR" not in last
    assert ["EUR" in line for line in lines] == [amount is not None for amount in money]
