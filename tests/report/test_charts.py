"""Charts: ticks that cover, marks where the values are, names that stay names."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.report import charts
from potstill.report.words import percent
from potstill.work.figures import Estimate

finite = st.floats(-1e9, 1e9)


@given(finite, finite, st.integers(2, 8))
def test_ticks_cover_evenly(first: float, second: float, wanted: int) -> None:
    low, high = min(first, second), max(first, second)
    ticks = charts.nice_ticks(low, high, wanted)
    slack = 1e-6 * max(abs(low), abs(high), 1e-12)
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert 2 <= len(ticks) <= wanted + 2


@given(st.floats(1e-6, 1e20), st.floats(1.0, 1e9))
def test_log_ticks_cover(low: float, times: float) -> None:
    ticks = charts.log_ticks(low, low * times)
    assert ticks[0] <= low * 1.001 and ticks[-1] >= low * times * 0.999
    assert 2 <= len(ticks) <= 7


def test_dots_are_where_the_values_are() -> None:
    rows = [
        charts.DotRow("a", 0.25, "quarter", 0.2, 0.3),
        charts.DotRow("b", 1.0, "all", kind="student"),
    ]
    svg = ElementTree.fromstring(
        charts.dots(rows, title="shares", ticks=[0.0, 0.5, 1.0], spell=str)
    )
    centres = [float(dot.attrib["cx"]) for dot in svg.iter("circle")]
    left, right = 8, charts.WIDTH - 8
    assert centres == [left + 0.25 * (right - left), right]
    whiskers = [line for line in svg.iter("line") if line.attrib["class"] == "whisker"]
    assert float(whiskers[0].attrib["x1"]) == pytest.approx(left + 0.2 * (right - left), abs=0.1)
    assert svg.attrib["aria-label"] == "shares"
    assert {text.text for text in svg.iter("text")} >= {"a", "quarter", "b", "all", "0.5"}


def test_log_axis() -> None:
    row = charts.DotRow("a", 100.0, "hundred")
    svg = ElementTree.fromstring(
        charts.dots([row], title="", ticks=[1.0, 10_000.0], spell=str, log=True)
    )
    dot = next(svg.iter("circle"))
    assert float(dot.attrib["cx"]) == charts.WIDTH / 2


@given(st.lists(st.tuples(st.integers(0, 500), finite), min_size=1, max_size=30))
def test_curves_stay_inside(points: list[tuple[float, float]]) -> None:
    svg = ElementTree.fromstring(
        charts.lines(points, title="t", x_label="step", spell=lambda y: f"{y:.3g}", markers=True)
    )
    line = next(svg.iter("polyline"))
    for pair in line.attrib["points"].split():
        x, y = map(float, pair.split(","))
        assert 0 <= x <= charts.WIDTH
        assert 0 <= y <= 200
    assert len(list(svg.iter("circle"))) == len(points)


@given(st.text(min_size=1).filter(str.isprintable))
def test_names_never_become_markup(name: str) -> None:
    row = charts.DotRow(name, 1.0, name, kind=name)
    svg = charts.dots([row], title=name, ticks=[0.0, 2.0], spell=lambda _: name)
    tree = ElementTree.fromstring(svg)
    assert tree.attrib["aria-label"] == name
    assert {element.tag for element in tree.iter()} <= {"svg", "g", "line", "circle", "text"}


def test_smooth_and_thin_keep_the_mean_and_the_end() -> None:
    flat = [(float(step), 2.0) for step in range(1000)]
    assert charts.smooth(flat, 9) == flat
    thinned = charts.thin(flat, 100)
    assert len(thinned) == 100
    assert thinned[-1] == (999.0, 2.0)
    assert charts.smooth([(0, 0.0), (1, 3.0), (2, 6.0)], 3) == [(0, 1.5), (1, 3.0), (2, 4.5)]


def test_figures_become_rows_on_an_axis_of_shares() -> None:
    rows = [
        charts.dot_row("a", Estimate(value=0.5, ci95=(0.4, 0.6), n=9), percent),
        charts.dot_row("b", Estimate(value=0.9, ci95=None, n=1), percent, "student"),
    ]
    assert charts.span_of(rows) == (0.4, 0.9)
    assert charts.said("shares", rows) == "shares: a 50.0%, b 90.0%"
    chart = charts.shares(rows, "shares", "of rows")
    svg = ElementTree.fromstring(chart.svg)
    assert (chart.title, chart.note) == ("shares", "of rows")
    assert [text.text for text in svg.iter("text")][-1] == "90.0%"
    assert sum(line.attrib["class"] == "whisker" for line in svg.iter("line")) == 3


def test_what_no_markup_may_hold_is_replaced() -> None:
    rows = [charts.DotRow("a\x00", 1.0, "\ud800", kind="\x01")]
    svg = charts.dots(rows, title="\x02", ticks=[0.0, 2.0], spell=lambda _: "\x03")
    assert {text.text for text in ElementTree.fromstring(svg).iter("text")} == {
        "a\ufffd", "\ufffd"
    }  # fmt: skip
