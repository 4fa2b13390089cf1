"""The frame, under a small page that is no run's: nothing that it shows can act."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import ChoiceLoader, DictLoader, UndefinedError
from markupsafe import escape

from html_tags import Tags
from potstill.report import charts, frame, tables
from potstill.report.charts import Chart
from potstill.report.frame import MOST_BYTES, PageHead, document, fitting
from potstill.report.tables import Cell, FactList, Table, TableRow, Tile
from potstill.report.words import NOTHING, percent, with_ends
from potstill.work.figures import Estimate

# What a verdict or a case will bring: a template of its own on the frame, and a dataclass.
TEMPLATE = """
{% extends "frame.html.j2" %}
{% from "parts.html.j2" import charts, facts, notes, origin_of, table, tile_list %}
{% block main %}
<section aria-labelledby="finding">
  <h2 id="finding">{{ finding }}</h2>
{{ tile_list(figures) }}
  {{ charts(pictures) }}
  {{ table("Suspects", suspects) }}
  {{ facts(bounds) }}
  {{ notes(evidence) }}
  {% if more %}<p title="{{ finding }}">{{ more }} more in verdict.json.</p>{% endif %}
</section>
{{ origin_of(origin, packages, plan) }}
{% endblock %}
"""
HOSTILE = (
    "</p></script></style><script>window.ran=1</script><img src=http://x.invalid/a "
    'onerror=window.ran=1><iframe src=\'//x.invalid\'></iframe>" onload="window.ran=1" '
    "<!-- {{ 7*7 }} {% raw %} \ud800 \x00 &lt; \u202e javascript:alert(1)"
)


@dataclass(frozen=True)
class Verdict:
    """A page of another kind."""

    finding: str
    figures: list[Tile]
    pictures: list[Chart]
    suspects: Table | None
    bounds: FactList
    evidence: list[str]
    more: int
    origin: FactList
    packages: FactList
    plan: str


@pytest.fixture(autouse=True)
def template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the page's template beside those of the package."""
    environment = frame._environment()
    assert environment.loader is not None
    own = DictLoader({"verdict/page.html.j2": TEMPLATE.lstrip()})
    monkeypatch.setattr(environment, "loader", ChoiceLoader([own, environment.loader]))


def verdict(text: str, evidence: list[str] | None = None) -> Verdict:
    """Return a page that holds a text wherever there is text."""
    figure = Estimate(value=0.5, ci95=(0.4, 0.6), n=40)
    row = charts.dot_row(text, figure, percent, text)
    kept = fitting(evidence or [], lambda one: [one], 100_000)
    return Verdict(
        finding=text,
        figures=[Tile(text, text, with_ends(figure))],
        pictures=[charts.shares([row, row], text, text)],
        suspects=tables.table((text, text), [TableRow(text, [Cell(text, text)], text)]),
        bounds=[(text, text)],
        evidence=[tables.cut(one, 1_000) for one in kept] or [text],
        more=len(evidence or []) - len(kept),
        origin=tables.provenance({text: {text: text}, "signed": [text, text]}),
        packages=[(text, text)],
        plan=text,
    )


def written(text: str, evidence: list[str] | None = None) -> str:
    head = PageHead(text, "verdict", "verdict on a suspect", text)
    return document("verdict/page.html.j2", head, verdict(text, evidence))


def test_a_page_of_another_kind_stands_on_the_frame() -> None:
    page = written("plain")
    assert page.startswith("<!doctype html>\n<html") and page.endswith("</html>")
    assert "<title>plain · potstill verdict</title>" in page
    assert "Skip to the verdict" in page and "<span>verdict on a suspect</span>" in page
    assert "50.0% (40.0% to 60.0%)" in page and "<small>plain</small>" in page
    assert "<dt>Plain plain</dt><dd>plain</dd>" in page and "plain, plain" in page
    assert Tags(page).tags.count("svg") == 2 and "distillation" not in page


@given(st.text(st.characters(codec=None), min_size=1).filter(lambda text: text != NOTHING))
def test_text_stays_text_wherever_it_stands(text: str) -> None:
    page = written(text)
    page.encode("utf-8")
    assert sorted(Tags(page).tags) == sorted(Tags(written("plain")).tags)


def test_hostile_text_stays_text() -> None:
    parsed = Tags(written(HOSTILE))
    assert sorted(parsed.tags) == sorted(Tags(written("plain")).tags)
    assert not {"script", "img", "iframe", "form", "object"} & set(parsed.tags)
    assert set(parsed.links) == {"#main", "data:,"}
    assert "{{ 7*7 }} {% raw %} \ufffd \ufffd &lt;" in parsed.text
    assert "\x00" not in written(HOSTILE)


def test_the_policy_allows_the_style_sheet_and_nothing_else() -> None:
    page = written(HOSTILE)
    found = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert len(found) == 1 and page.count("Content-Security-Policy") == 1
    names = [part.split()[0] for part in found[0].replace("&#39;", "'").split("; ")]
    assert names == ["default-src", "style-src", "img-src", "base-uri", "form-action"]
    assert "default-src &#39;none&#39;; style-src &#39;sha256-" in found[0]
    assert "unsafe" not in found[0] and "http" not in found[0]


def test_what_others_wrote_fits() -> None:
    page = written("plain", evidence=["<&\x00" * 5_000] * 500)
    assert len(page.encode()) < MOST_BYTES
    assert "more in verdict.json" in page and "more characters]" in page


@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=8), st.integers(0, 200))
def test_the_first_items_that_fit_are_kept(items: list[str], most: int) -> None:
    kept = fitting(items, lambda one: [one, one], most)
    assert kept == items[: len(kept)]
    assert sum(_bytes(one) for one in kept) <= most
    assert len(kept) == len(items) or sum(map(_bytes, items[: len(kept) + 1])) > most


def _bytes(text: str) -> int:
    return 2 * len(str(escape(tables.clean(text))).encode())


def test_a_name_that_the_content_lacks_is_a_mistake() -> None:
    @dataclass(frozen=True)
    class Bare:
        finding: str

    with pytest.raises(UndefinedError):
        document("verdict/page.html.j2", PageHead("a", "b", "c"), Bare("x"))
