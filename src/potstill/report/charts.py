"""Small inline SVG charts, drawn by pure functions.

They carry classes and no colours, so that the page's style sheet themes them for light, dark
and paper. Every text goes through markupsafe, so a name can never become markup.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from potstill.report import words
from potstill.report.tables import clean
from potstill.report.words import Spell

if TYPE_CHECKING:
    from potstill.work.figures import Estimate

WIDTH = 460
Point = tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A chart with its heading and what to know of its numbers."""

    title: str
    note: str
    svg: Markup


@dataclass(frozen=True)
class DotRow:
    """One row of a dot chart: `text` is the value in words, `low` and `high` the whiskers."""

    label: str
    value: float
    text: str
    low: float | None = None
    high: float | None = None
    kind: str = "plain"


def tag(name: str, *children: str | Markup, **attributes: str | float) -> Markup:
    """Return an element; children that are not markup, and attributes, are escaped."""
    spelled = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(clean(_number(value)))}"'
        for key, value in attributes.items()
    )
    inside = Markup("").join(
        child if isinstance(child, Markup) else escape(clean(child)) for child in children
    )
    return Markup(f"<{name}{spelled}>{inside}</{name}>")


def dot_row(label: str, figure: Estimate, spell: Spell, kind: str = "plain") -> DotRow:
    """Return a figure as a row, its interval as whiskers."""
    low, high = figure.ci95 or (None, None)
    return DotRow(label, figure.value, spell(figure.value), low, high, kind)


def said(title: str, rows: Sequence[DotRow]) -> str:
    """Return what a chart is called where it cannot be seen: its title and every value."""
    return f"{title}: " + ", ".join(f"{row.label} {row.text}" for row in rows)


def span_of(rows: Sequence[DotRow]) -> tuple[float, float]:
    """Return the lowest and the highest number of rows, whiskers included."""
    return (
        min(row.value if row.low is None else row.low for row in rows),
        max(row.value if row.high is None else row.high for row in rows),
    )


def shares(rows: Sequence[DotRow], title: str, note: str) -> Chart:
    """Return a chart of shares, on an axis that ends at 1."""
    svg = dots(
        rows,
        title=said(title, rows),
        ticks=nice_ticks(span_of(rows)[0], 1.0, 5),
        spell=lambda tick: words.percent(tick, 0),
    )
    return Chart(title, note, svg)


def nice_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return round numbers (steps of 1, 2, 2.5 or 5) that cover [low, high]."""
    size = max(abs(low), abs(high))
    if high - low <= 1e-6 * size or size < 1e-12:  # flat, as far as a reader can tell
        high = low + max(size, 1e-9)
    rough = (high - low) / max(1, wanted - 1)
    scale = 10.0 ** math.floor(math.log10(rough))
    step = next(scale * unit for unit in (1, 2, 2.5, 5, 10) if scale * unit >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [index * step for index in range(first, last + 1)]


def log_ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    """Return powers of ten that cover [low, high], both positive."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = max(1, math.ceil((last - first) / wanted))
    last = first + step * math.ceil((last - first) / step)
    return [10.0**exponent for exponent in range(first, last + 1, step)]


def dots(
    rows: Sequence[DotRow],
    *,
    title: str,
    spell: Callable[[float], str],
    ticks: Sequence[float],
    log: bool = False,
) -> Markup:
    """Return one line a row: its name, its value, a dot and the 95% interval as whiskers."""
    left, right, top, pitch = 8, WIDTH - 8, 6, 44
    bottom = top + pitch * len(rows)
    place = _scale(ticks[0], ticks[-1], left, right, log=log)
    parts: list[Markup] = []
    for tick in ticks:
        x = place(tick)
        anchor = "start" if tick == ticks[0] else "end" if tick == ticks[-1] else "middle"
        parts.append(tag("line", class_="grid", x1=x, x2=x, y1=top, y2=bottom + 4))
        parts.append(
            tag("text", spell(tick), class_="tick", x=x, y=bottom + 20, text_anchor=anchor)
        )
    for index, row in enumerate(rows):
        parts.append(_dot_row(row, place, left, right, top + pitch * index))
    return _svg(title, bottom + 28, parts)


def lines(
    points: Sequence[Point],
    *,
    title: str,
    x_label: str,
    spell: Callable[[float], str],
    faint: Sequence[Point] = (),
    markers: bool = False,
) -> Markup:
    """Return a curve; `faint` is drawn behind it, `markers` puts a dot on every point."""
    left, right, top, bottom = 46, WIDTH - 12, 12, 190
    everything = [*points, *faint]
    x_ticks = nice_ticks(0, max(x for x, _ in everything), 6)
    y_ticks = nice_ticks(min(y for _, y in everything), max(y for _, y in everything), 5)
    # The axis ends where the data does: a round number far beyond it would waste the width.
    x_end = max(max(x for x, _ in everything), 1.0)
    across = _scale(0.0, x_end, left, right)
    down = _scale(y_ticks[0], y_ticks[-1], bottom, top)
    parts: list[Markup] = []
    for tick in y_ticks:
        y = down(tick)
        parts.append(tag("line", class_="grid", x1=left, x2=right, y1=y, y2=y))
        parts.append(
            tag("text", spell(tick), class_="tick", x=left - 8, y=y + 4, text_anchor="end")
        )
    for tick in x_ticks:
        if tick <= x_end:
            parts.append(
                tag(
                    "text",
                    f"{tick:,.10g}",
                    class_="tick",
                    x=across(tick),
                    y=bottom + 18,
                    text_anchor="middle",
                )
            )
    parts.append(tag("text", x_label, class_="tick", x=right, y=bottom + 36, text_anchor="end"))
    if faint:
        parts.append(_path(faint, across, down, "curve faint"))
    parts.append(_path(points, across, down, "curve"))
    for x, y in points if markers else points[-1:]:
        mark = tag("circle", tag("title", f"{x:,.0f}: {spell(y)}"), **_disc(across(x), down(y)))
        parts.append(mark)
    return _svg(title, bottom + 44, parts)


def bars(rows: Sequence[tuple[str, int]], *, title: str) -> Markup:
    """Return one bar a row, from the left, with its name and its count."""
    left, right, top, pitch = 96, WIDTH - 56, 4, 22
    longest = max(count for _, count in rows)
    parts: list[Markup] = []
    for index, (label, count) in enumerate(rows):
        y, width = top + pitch * index, (right - left) * count / max(1, longest)
        parts += [
            tag("text", label, class_="tick", x=left - 8, y=y + 14, text_anchor="end"),
            tag("rect", class_="bar", x=left, y=y + 3, width=max(width, 1.0), height=pitch - 8),
            tag("text", f"{count:,}", class_="tick", x=left + width + 6, y=y + 14),
        ]
    return _svg(title, top + pitch * len(rows) + 4, parts)


def smooth(points: Sequence[Point], window: int) -> list[Point]:
    """Return the running mean of y over `window` points, centred, shorter at the ends."""
    half = max(0, window // 2)
    result = []
    for index, (x, _) in enumerate(points):
        near = points[max(0, index - half) : index + half + 1]
        result.append((x, sum(y for _, y in near) / len(near)))
    return result


def thin(points: Sequence[Point], most: int = 240) -> list[Point]:
    """Return at most `most` points, each the mean of its neighbours: the page stays small."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / most)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(group[-1][0], sum(y for _, y in group) / len(group)) for group in groups]


def _dot_row(
    row: DotRow, place: Callable[[float], float], left: float, right: float, y: float
) -> Markup:
    axis = y + 30
    parts = [
        tag("text", row.label, class_="label", x=left, y=y + 16),
        tag("text", row.text, class_="value", x=right, y=y + 16, text_anchor="end"),
        tag("line", class_="track", x1=left, x2=right, y1=axis, y2=axis),
    ]
    if row.low is not None and row.high is not None:
        low, high = place(row.low), place(row.high)
        parts.append(tag("line", class_="whisker", x1=low, x2=high, y1=axis, y2=axis))
        for x in (low, high):
            parts.append(tag("line", class_="whisker", x1=x, x2=x, y1=axis - 7, y2=axis + 7))
    parts.append(tag("circle", **_disc(place(row.value), axis, 4.5)))
    return tag("g", *parts, class_=f"row {row.kind}")


def _scale(
    start: float, end: float, out_start: float, out_end: float, *, log: bool = False
) -> Callable[[float], float]:
    shape = math.log10 if log else float

    def place(value: float) -> float:
        # Clamped, so that a whisker beyond the axis ends at its edge.
        share = (shape(value) - shape(start)) / (shape(end) - shape(start))
        return out_start + min(1.0, max(0.0, share)) * (out_end - out_start)

    return place


def _path(
    points: Sequence[Point],
    across: Callable[[float], float],
    down: Callable[[float], float],
    kind: str,
) -> Markup:
    spelled = " ".join(f"{across(x):.1f},{down(y):.1f}" for x, y in points)
    return tag("polyline", class_=kind, points=spelled)


def _disc(x: float, y: float, radius: float = 3) -> dict[str, str | float]:
    return {"class_": "dot", "cx": x, "cy": y, "r": radius}


def _svg(title: str, height: float, parts: Sequence[Markup]) -> Markup:
    return tag(
        "svg", *parts, viewBox=f"0 0 {WIDTH} {_number(height)}", role="img", aria_label=title
    )


def _number(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
