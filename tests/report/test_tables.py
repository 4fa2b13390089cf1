"""Clean text, facts and tables."""

from __future__ import annotations

from potstill.report import words
from potstill.report.tables import (
    Cell,
    TableRow,
    clean,
    cut,
    flatten,
    measured,
    moment,
    provenance,
    row,
    table,
)


def test_text_is_made_fit_for_html() -> None:
    assert clean("a\x00b\ud800c\n\t") == "a\ufffdb\ufffdc\n\t"
    assert cut("abc", 3) == "abc" and cut("abcd", 3) == "abc … [1 more characters]"


def test_moments_are_in_words() -> None:
    assert moment("2026-11-25T10:20:30+00:00") == "25 November 2026, 10:20 UTC"
    assert moment("yesterday\x00") == "yesterday\ufffd"


def test_nested_facts_are_labelled_by_their_path() -> None:
    assert flatten({"teacher": {"file_name": "x", "none": None}, "seeds": [1, 2]}) == [
        ("Teacher file name", "x"),
        ("Seeds", "1, 2"),
    ]
    assert provenance({"a": {"b": "\x00", "c": ""}, "d": 0}) == [("A b", "\ufffd"), ("D", "0")]


def test_columns_in_which_nothing_was_measured_go() -> None:
    made = table(
        ("Model", "A", "B", "C"),
        [row("x", "1", words.NOTHING, words.NOTHING), row("y", words.NOTHING, "", "2", key="k")],
    )
    assert made is not None
    assert made.heads == ["Model", "A", "B", "C"]
    made = table(("Model", "A", "B"), [TableRow("x", [Cell(words.NOTHING), Cell("2", "1 to 3")])])
    assert made is not None and made.heads == ["Model", "B"]
    assert made.rows == [TableRow("x", [Cell("2", "1 to 3")], "plain")]
    assert table(("Model",), []) is None


def test_facts_that_were_not_measured_go() -> None:
    assert measured(("a", "1"), ("b", words.NOTHING), ("c", "0")) == [("a", "1"), ("c", "0")]
