"""Figures in words: how the report and the command line spell numbers.

Every function takes None for "not measured" and returns `NOTHING` then.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from potstill.work.figures import Estimate

NOTHING = "–"
Spell = Callable[[float | None], str]
# Nats a token that equal models come apart by in fp32.
_ROUNDING = 1e-7
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LARGE = (
    (1e12, "trillion", "T"),
    (1e9, "billion", "B"),
    (1e6, "million", "M"),
    (1e3, "thousand", "k"),
)
_BYTES = ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def known(value: Any) -> bool:
    """Return whether `value` is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def significant(value: float | None, digits: int = 3) -> str:
    """Return `value` with that many significant digits: 0.314, 12.3, 1,230."""
    if value is None or not known(value):
        return NOTHING
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(value)))
    rounded = round(value, places)
    return f"{rounded:,.{max(0, places)}f}"


def percent(share: float | None, places: int = 1) -> str:
    """Return a share as a percentage: 72.4%."""
    if share is None or not known(share):
        return NOTHING
    return f"{100 * share:.{places}f}%"


def whole(value: float | None) -> str:
    """Return a whole number with separators: 20,000."""
    return NOTHING if value is None or not known(value) else f"{value:,.0f}"


def count(value: float | None) -> str:
    """Return a large count in short: 107.1 M, 51.2 k, 960."""
    return _counted(value, 2)


def count_in_words(value: float | None) -> str:
    """Return a large count as people say it: 107.1 million, 2.1 billion, 960."""
    return _counted(value, 1)


def size(value: float | None) -> str:
    """Return bytes in binary units: 409 MiB."""
    if value is None or not known(value):
        return NOTHING
    for unit, name in _BYTES:
        if abs(value) >= unit:
            return f"{significant(value / unit)} {name}"
    return f"{value:,.0f} bytes"


def duration(seconds: float | None) -> str:
    """Return a duration: 31 days, 2 h 5 min, 11 min 32 s, 8.4 s."""
    if seconds is None or not known(seconds):
        return NOTHING
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    days = seconds / 86_400
    return f"{days:,.0f} days" if days < 730 else f"{days / 365.25:,.0f} years"


def scientific(value: float | None) -> str:
    """Return a power-of-ten number: 1.2 × 10¹⁵."""
    if value is None or not known(value):
        return NOTHING
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × {power_of_ten(int(exponent))}"


def power_of_ten(exponent: int) -> str:
    """Return 10¹⁵ for 15."""
    return "10" + str(exponent).translate(_SUPERSCRIPTS)


def money(value: float | None, currency: str = "USD") -> str:
    """Return an amount: 0.0071 USD, 0.019 USD, 1.91 USD, 1,230 USD."""
    if value is None or not known(value):
        return NOTHING
    if 0 < value < 1e-4:
        return f"under 0.0001 {currency}"
    if 0 < value < 1:
        return f"{significant(value, 2)} {currency}"
    return f"{value:,.2f} {currency}" if value < 100 else f"{value:,.0f} {currency}"


def fraction(ratio: float | None) -> str:
    """Return a ratio as people say it: 1/1,200 below a tenth, else 0.45."""
    if ratio is None or not known(ratio) or ratio < 0:
        return NOTHING
    return f"1/{significant(1 / ratio, 2)}" if 0 < ratio < 0.1 else significant(ratio, 2)


def share_of(ratio: float | None) -> str:
    """Return a ratio before a noun: `1/1,200 of`, `0.45 times`."""
    spelled = fraction(ratio)
    return f"{spelled} of" if spelled.startswith("1/") else f"{spelled} times"


def nats(value: float | None) -> str:
    """Return a divergence: three decimals where they say something, else three digits.

    What sums are rounded by is 0.
    """
    if value is None or not known(value):
        return NOTHING
    if abs(value) < _ROUNDING:
        return "0"
    return f"{value:.3f}" if 0.0095 <= abs(value) < 10 else significant(value)


def energy(joules: float | None) -> str:
    """Return energy: 12.3 kJ, 0.45 kWh."""
    if joules is None or not known(joules):
        return NOTHING
    if joules >= 1e6:
        return f"{significant(joules / 3.6e6)} kWh"
    return f"{significant(joules / 1e3)} kJ" if joules >= 1e3 else f"{significant(joules)} J"


def signed(value: float | None) -> str:
    """Return a difference in nats with its sign."""
    if value is None or not known(value):
        return NOTHING
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{nats(abs(value))}"


def value_of(figure: Estimate | None) -> float | None:
    """Return the value of a figure, None where it was not measured."""
    return None if figure is None else figure.value


def bounds_of(figure: Estimate | None) -> tuple[float, float] | None:
    """Return (low, high) of a figure's interval, None where there is none."""
    return None if figure is None else figure.ci95


def span(figure: Estimate | None, spell: Spell = significant) -> str:
    """Return the interval's bounds in words: `0.305 to 0.323`, with places enough to differ."""
    bounds = bounds_of(figure)
    if bounds is None:
        return NOTHING
    low, high = map(spell, bounds)
    for places in range(2, 9):
        if low != high or spell not in (percent, significant):
            break
        exact = percent if spell is percent else significant
        low, high = (exact(end, places + (exact is significant)) for end in bounds)
    # What still reads alike, as what is rounded to 0 does, has a width all the same.
    return f"within rounding of {low}" if low == high else f"{low} to {high}"


def interval(figure: Estimate | None, spell: Spell = significant) -> str:
    """Return what is said of a figure's interval: `95% interval 0.305 to 0.323`, or why none is.

    Empty where the figure was not measured.
    """
    if bounds_of(figure) is not None:
        return f"95% interval {span(figure, spell)}"
    return no_interval(figure)


def ends(figure: Estimate | None, spell: Spell = significant) -> str:
    """Return the bounds alone, as a table shows them, or why there are none."""
    return no_interval(figure) if bounds_of(figure) is None else span(figure, spell)


def with_ends(figure: Estimate | None, spell: Spell = percent) -> str:
    """Return a figure with its bounds: `72.4% (70.1% to 74.6%)`."""
    if figure is None:
        return NOTHING
    return spell(figure.value) + in_brackets(ends(figure, spell))


def no_interval(figure: Estimate | None) -> str:
    """Return why a figure that was measured has no interval; else nothing."""
    if figure is None or figure.ci95 is not None:
        return ""
    return (
        "no interval: one prompt"
        if figure.n == 1
        else f"no interval: all {figure.n:,} prompts alike"
    )


def in_brackets(text: str) -> str:
    """Return ` (text)`, nothing for nothing."""
    return f" ({text})" if text else ""


def _counted(value: float | None, spelling: int) -> str:
    if value is None or not known(value):
        return NOTHING
    for large in _LARGE:
        if abs(value) >= large[0]:
            return f"{value / large[0]:,.1f}".removesuffix(".0") + f" {large[spelling]}"
    return f"{value:,.0f}"
